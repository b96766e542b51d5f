"""An opt-out under any id of a person keeps a judged message from leaving, with no gate at work."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast

import orjson
import pytest

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.records.alias import MAX_IDS, person_header
from pipeline.records.ready import ReadyMessage, parse_ready, ready_record
from pipeline.sender import aliases
from pipeline.sender.aliases import AliasList
from pipeline.sender.optouts import OptOuts
from pipeline.sender.withdrawn import Withdrawn
from pipeline.streams.follow import Follower

TO, NEW, USER = "15550109999", "15550108888", "US.134912"
BRAZIL, BRAZIL_ID = "5511987654321", "551187654321"
NOW_MS = parse_rfc3339_ms("2026-11-22T12:00:00.000Z")


def message(to: str = TO, *ids: str, granted: str | None = "10:00", category: str = "marketing") -> ReadyMessage:
    """A message that was judged on a grant of that time (None: on an open window), to a person with these ids."""
    request = {"request_id": "r", "to": to, "category": category, "message": {"type": "template"}}
    source = {"topic": "outbound-requests", "partition": 0, "offset": 7, "timestamp_ms": NOW_MS}
    record = ready_record(
        request, source, business="acme", lane="2#0", priority="bulk", judged_ms=NOW_MS, expires_ms=NOW_MS + 9**9,
        valid_until_ms=NOW_MS + 9**9, valid_cause="expired", aliases=ids,
        consent={"at": f"2026-11-22T{granted}:00.000Z"} if granted else None,
    )  # fmt: skip
    return parse_ready(record)


def said(to: str, action: str = "revoke", at: str = "11:00", categories: tuple[str, ...] = ("*",)) -> bytes:
    """A consent update of today."""
    return orjson.dumps(
        {
            "update_id": f"{action}-{at}", "recipient": to, "business": "acme", "action": action,
            "categories": categories, "at": f"2026-11-22T{at}:00.000Z",
            "evidence": {"method": "keyword", "source": "wamid.1", "actor": "user"},
        }
    )  # fmt: skip


def forbids(waiting: ReadyMessage, *updates: bytes, headers: Any = None) -> bool:
    """Whether these updates keep a message back."""
    found = Withdrawn()
    for update in updates:
        found.apply(update, NOW_MS, headers)
    return found.forbids(waiting, NOW_MS)


@pytest.mark.parametrize(("to", "stopped"), [(BRAZIL, BRAZIL_ID), (BRAZIL_ID, BRAZIL)])
def test_stop_from_the_other_form_of_a_number_is_obeyed(to: str, stopped: str) -> None:
    """Brazil's ninth digit: one person, whichever form upstream or WhatsApp uses."""
    assert forbids(message(to), said(stopped))
    assert not forbids(message(to), said("5511912345678"))


def test_stop_from_an_id_that_the_message_brings_is_obeyed() -> None:
    """User id and new number, as the gate knew them when it judged."""
    waiting = message(TO, USER, NEW)
    for one in (TO, USER, NEW):
        assert forbids(waiting, said(one))
    assert not forbids(message(TO), said(USER))


def test_stop_that_a_gate_translated_is_obeyed() -> None:
    """What a gate re-routed says in a header whose alias the recipient is."""
    assert forbids(message(TO), said(USER), headers=[person_header(TO, 1)])


def test_yes_under_one_name_lifts_a_no_under_another() -> None:
    """Names of one account are judged together, by date: a reply in the window goes after START, as at the gate."""
    reply = message(TO, USER, granted=None, category="service")
    stop, start = said(USER), said(TO, "grant", "11:30", ("service",))
    assert forbids(reply, said(TO), stop)
    assert not forbids(reply, said(TO), stop, start)
    assert forbids(reply, said(TO), stop, start, said(USER, at="11:45"))


def test_yes_to_another_number_lifts_no_stop_of_this_one() -> None:
    """Grants do not come back to a number that was given up."""
    waiting = message(TO, NEW)
    assert forbids(waiting, said(TO), said(NEW), said(NEW, "grant", "11:30", ("marketing",)))


def test_erasure_under_another_name_is_obeyed() -> None:
    """An erasure of the person ends what was judged on an older grant, under whatever id it was asked for."""
    assert forbids(message(TO, USER), said(TO, categories=("utility",)), said(USER, "erase"))


@pytest.mark.parametrize(
    ("stop", "grant_at"),
    [(said(TO), "12:06"), (said(TO), "10:30"), (said(TO, "erase", categories=()), "12:06"),
     (said(TO, "erase", categories=()), "10:30"), (said(USER), "12:06")],
    ids=["future", "older", "future-after-erase", "older-than-erase", "future-other-id"],
)  # fmt: skip
def test_no_grant_of_another_time_undoes_an_opt_out(stop: bytes, grant_at: str) -> None:
    """A grant dated in the future, or before the opt-out or erase, does not let a judged message go."""
    grant = said(TO, "grant", grant_at, ("marketing",))
    for order in ((stop, grant), (grant, stop)):
        assert forbids(message(TO, USER), *order)


def alias(recipient: str, *ids: str, kind: str = "user_id") -> bytes:
    """A record of `recipient-aliases`."""
    return orjson.dumps(
        {"alias": "-", "recipient": recipient, "kind": kind, "at": "2026-11-22T11:00:00.000Z", "ids": ids}
    )


def test_ids_are_found_over_several_steps_in_both_directions() -> None:
    """Old number, new number and its user id are one person, whichever is asked for."""
    found = AliasList()
    assert found.of((TO,)) == (TO,)
    found.apply(TO.encode(), alias(NEW, kind="number"))
    found.apply(NEW.encode(), alias(NEW, TO, USER, kind="self"))
    for one in (TO, NEW, USER):
        assert set(found.of((one,))) == {TO, NEW, USER}
    assert found.of(("15550100000",)) == ("15550100000",)


def test_circle_ends_and_numbers_of_ids_are_bounded() -> None:
    """Records that lead round in a circle, or to very many ids, cost a bounded number of looks."""
    found = AliasList()
    found.apply(TO.encode(), alias(NEW))
    found.apply(NEW.encode(), alias(TO))
    assert set(found.of((TO,))) == {TO, NEW}
    for index in range(100):
        found.apply(f"US.{index}".encode(), alias(TO))
    assert len(found.of((TO,))) <= 2 * MAX_IDS


@pytest.mark.parametrize("raw", [b"nonsense", b"{}", b"[]", alias("nobody"), b'{"recipient":"15550108888","at":1}'])
def test_unreadable_alias_changes_nothing(raw: bytes) -> None:
    """What cannot be read is passed over; what is known stays."""
    found = AliasList()
    found.apply(USER.encode(), alias(TO))
    found.apply(USER.encode(), raw)
    found.apply(b"\xff", raw)
    assert set(found.of((TO,))) == {TO, USER}


def test_beyond_the_bound_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; the newest ids are known."""
    monkeypatch.setattr(aliases, "MAX_PEOPLE", 10)
    found = AliasList()
    for index in range(20):
        found.apply(f"US.{index}".encode(), alias(f"155501000{index:02}"))
    assert len(found) == 10
    assert set(found.of(("US.19",))) == {"US.19", "15550100019"}
    assert found.of(("US.0",)) == ("US.0",)


class Message:
    """A Kafka message."""

    def __init__(self, key: str, value: bytes) -> None:
        self._key, self._value = key.encode(), value

    def key(self) -> bytes:
        """Its key."""
        return self._key

    def value(self) -> bytes:
        """Its value."""
        return self._value

    def headers(self) -> None:
        """None."""

    def timestamp(self) -> tuple[int, int]:
        """Broker time."""
        return 1, NOW_MS


class FakeFollower:
    """A reader that a test hands its records to."""

    made: ClassVar[dict[str, FakeFollower]] = {}
    lags: ClassVar[dict[str, float]] = {}

    def __init__(self, _kafka: object, topic: str, apply: Any, _loop: object, from_ms: int) -> None:
        self.topic, self.apply, self.from_ms, self.is_stopped = topic, apply, from_ms, False
        FakeFollower.made[topic] = self

    def start(self) -> None:
        """Nothing to read."""

    def lag_s(self, _now_s: float) -> float:
        """As the test says."""
        return FakeFollower.lags.get(self.topic, 0.1)

    async def stop(self) -> None:
        """End."""
        self.is_stopped = True


async def test_alias_learned_after_the_judgement_is_followed() -> None:
    """Both topics are read from the same moment on, and a STOP under an id that was learned since is obeyed."""
    optouts = OptOuts(Settings(), asyncio.get_running_loop(), lambda: None, cast("type[Follower]", FakeFollower))
    optouts.require(NOW_MS)
    updates, people = (FakeFollower.made[topic] for topic in ("consent-updates", "recipient-aliases"))
    watched: dict[str, object] = {**optouts.readers}
    assert watched == {"consent-updates": updates, "recipient-aliases": people}
    assert updates.from_ms == people.from_ms == NOW_MS - 60_000
    updates.apply([Message(USER, said(USER))])
    assert not optouts.forbids(message(), NOW_MS)
    people.apply([Message(USER, alias(TO))])
    assert optouts.forbids(message(), NOW_MS)
    optouts.require(NOW_MS - 1_000_000)
    await optouts.stop()
    assert people.is_stopped
    assert FakeFollower.made["recipient-aliases"].is_stopped


async def test_nothing_goes_while_aliases_are_not_read_to_their_end() -> None:
    """Not to know who is who is not to know who opted out."""
    optouts = OptOuts(Settings(), asyncio.get_running_loop(), lambda: None, cast("type[Follower]", FakeFollower))
    optouts.require(NOW_MS)
    optouts.beat(100.0)
    FakeFollower.lags = {}
    assert optouts.is_fresh(100.5)
    FakeFollower.lags = {"recipient-aliases": float("inf")}
    assert not optouts.is_fresh(100.5)
    FakeFollower.lags = {}
