"""An opt-out that reached Kafka keeps a judged message from leaving; a later yes lets it go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, cast

import orjson
import pytest
from structlog.testing import capture_logs

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import KafkaSettings, Settings
from pipeline.records.confirmation import request_id_of
from pipeline.records.ready import ReadyMessage
from pipeline.sender.optouts import KEEP_MS, LOOK_BACK_MS, REWIND_SLACK_MS, OptOuts
from pipeline.sender.withdrawn import Withdrawn
from pipeline.streams.follow import Follower

TO = "15550109999"
NOW_MS = parse_rfc3339_ms("2026-11-22T12:00:00.000Z")


def _message(
    category: str = "marketing", purpose: str | None = "offers", granted: str | None = "10:00",
    heard_ms: int | None = None, to: str = TO,
) -> ReadyMessage:  # fmt: skip
    consent = {"at": f"2026-11-22T{granted}:00.000Z"} if granted else None
    record = {"consent": consent, "business": "acme", "request": {"purpose": purpose}, "heard_ms": heard_ms}
    return ReadyMessage(
        record, "r1", to, category, "bulk", "2#0", ("outbound-requests", 0, 7), NOW_MS, NOW_MS, NOW_MS + 9**9,
        NOW_MS + 9**9, 0, 0, False, False, None, 0, False,
    )  # fmt: skip


def _update(action: str, at: str, categories: list[str], purposes: list[str] | None = None, to: str = TO) -> bytes:
    return orjson.dumps(
        {
            "update_id": f"{action}-{at}", "recipient": to, "business": "acme", "action": action,
            "categories": categories, "purposes": purposes or ["*"], "at": f"2026-11-22T{at}:00.000Z",
            "evidence": {"method": "keyword", "source": "wamid.1", "actor": "user"},
        }
    )  # fmt: skip


class FakeFollower:
    """A reader whose knowledge is as old as the test says, and that hears what the test lets it hear."""

    made: ClassVar[list[FakeFollower]] = []
    fresh_as_of_s: ClassVar[float] = 0.0

    def __init__(
        self, _kafka: object, topic: str, apply: Callable[[list[Any]], None], _loop: object, from_ms: int
    ) -> None:
        self.hear, self.from_ms, self.is_stopped = apply, from_ms, False
        self.caught_up = asyncio.Event()
        self.caught_up.set()
        if topic == "consent-updates":
            FakeFollower.made.append(self)

    def start(self) -> None:
        """Nothing to read."""

    async def stop(self) -> None:
        """Read no more."""
        self.is_stopped = True

    def lag_s(self, now_s: float) -> float:
        """Age of the knowledge."""
        return now_s - FakeFollower.fresh_as_of_s


@pytest.fixture
def make() -> Iterator[Callable[..., OptOuts]]:
    """Makes opt-outs over readers in memory, on a loop of their own."""
    FakeFollower.made, FakeFollower.fresh_as_of_s = [], 0.0
    loop = asyncio.new_event_loop()

    def made(**kafka: Any) -> OptOuts:
        settings = Settings(kafka=KafkaSettings(**kafka))
        return OptOuts(settings, loop, lambda: None, cast("type[Follower]", FakeFollower), lambda: NOW_MS)

    yield made
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


class Record(NamedTuple):
    """An update as Kafka's client hands it on."""

    raw: bytes
    time_ms: int

    def value(self) -> bytes:
        """As confluent's."""
        return self.raw

    def timestamp(self) -> tuple[int, int]:
        """As confluent's."""
        return 2, self.time_ms

    def headers(self) -> None:
        """As confluent's: none."""


def _hear(*updates: bytes, at_ms: int = NOW_MS) -> None:
    FakeFollower.made[-1].hear([Record(update, at_ms) for update in updates])


def _forbids(message: ReadyMessage, *updates: bytes) -> bool:
    found = Withdrawn()
    for update in updates:
        found.apply(update, NOW_MS)
    outs = OptOuts(Settings(), cast("asyncio.AbstractEventLoop", None), lambda: None, clock_ms=lambda: NOW_MS)
    outs._list = found
    return outs.forbids(message, NOW_MS)


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (_update("revoke", "11:00", ["*"]), True),
        (_update("revoke", "11:00", ["marketing"]), True),
        (_update("revoke", "11:00", ["marketing"], ["offers"]), True),
        (_update("revoke", "10:00", ["marketing"]), True),
        (_update("erase", "11:00", []), True),
        (_update("revoke", "09:00", ["marketing"]), False),
        (_update("revoke", "11:00", ["utility"]), False),
        (_update("revoke", "11:00", ["marketing"], ["news"]), False),
        (_update("revoke", "11:00", ["*"], to="15550100000"), False),
        (b"not json", False),
    ],
    ids=[
        "all",
        "category",
        "purpose",
        "tie",
        "erase",
        "older",
        "other-category",
        "other-purpose",
        "stranger",
        "garbage",
    ],
)
def test_what_an_update_forbids(update: bytes, expected: bool) -> None:
    """A matching revoke or erasure not older than the judged grant forbids the message; anything else does not."""
    assert _forbids(_message(), update) is expected


def test_a_newer_grant_lifts_a_revoke() -> None:
    """Who said stop and then yes again gets the message, in whatever order the two arrive after the first stop."""
    stop, again = _update("revoke", "11:00", ["marketing"]), _update("grant", "11:30", ["marketing"])
    assert _forbids(_message(), stop)
    assert not _forbids(_message(), stop, again)


def test_service_messages_have_no_grant_but_a_stop() -> None:
    """A service message rests on a window; any standing revoke of service or all forbids it."""
    message = _message("service", None, granted=None)
    assert _forbids(message, _update("revoke", "09:00", ["*"]))
    assert not _forbids(message, _update("revoke", "09:00", ["marketing"]))


def test_the_answer_to_an_opt_out_goes_and_nothing_like_it() -> None:
    """A revoke lets through the message whose id follows from it, from the number written to; a newer one does not."""
    revoke = {**orjson.loads(_update("revoke", "11:00", ["*"])), "number": "200000000000001"}
    newer = {**revoke, "at": "2026-11-22T11:01:00.000Z", "evidence": {**revoke["evidence"], "source": "wamid.2"}}

    def forbidden(*updates: dict[str, object], **fields: str) -> bool:
        message = _message("service", None, granted=None)
        request = {"request_id": request_id_of("wamid.1"), "from": "200000000000001", "category": "service"}
        message.record["request"] = {**request, "purpose": None, **fields}
        return _forbids(message, *map(orjson.dumps, updates))

    assert not forbidden(revoke)
    assert forbidden(revoke, newer)
    assert forbidden({**revoke, "number": None})
    assert forbidden(revoke, request_id="opt-out-1")
    assert forbidden(revoke, **{"from": "200000000000002"})


def test_a_resume_lifts_a_stop_word() -> None:
    """START lets a message go that was judged on the grant of before; it lifts no revoke of another way."""
    start = _update("resume", "11:30", ["*"])
    assert _forbids(_message(), _update("revoke", "11:00", ["*"]))
    assert not _forbids(_message(), _update("revoke", "11:00", ["*"]), start)
    assert not _forbids(_message(), start, _update("revoke", "11:00", ["*"]))
    called = {
        **orjson.loads(_update("revoke", "11:10", ["*"])),
        "evidence": {"method": "call", "source": "x", "actor": "user"},
    }
    assert _forbids(_message(), _update("revoke", "11:00", ["*"]), orjson.dumps(called), start)


def test_knowledge_from_before_a_standstill_is_not_fresh(make: Callable[..., OptOuts]) -> None:
    """A process that was frozen for less than its lease sends nothing before it has read what was said meanwhile."""
    outs = make()
    outs.require(NOW_MS)
    outs.beat(100.0)
    FakeFollower.fresh_as_of_s = 100.2
    assert outs.is_fresh(100.4)
    outs.beat(101.3)
    assert outs.is_fresh(102.2), "0.9 s without a beat are no standstill"
    assert not outs.is_fresh(104.0)
    FakeFollower.fresh_as_of_s = 103.9
    assert not outs.is_fresh(104.2)
    FakeFollower.fresh_as_of_s = 104.1
    assert outs.is_fresh(104.3)


# -- what has to be known --------------------------------------------------------------------------------------------
def test_reading_begins_before_what_the_gate_had_merged(make: Callable[..., OptOuts]) -> None:
    """A gate that lags behind judges on old consents: the reading begins 60 s before what it had heard of."""
    outs = make()
    outs.require(NOW_MS - 3_600_000)
    outs.require(NOW_MS)
    assert [one.from_ms for one in FakeFollower.made] == [NOW_MS - 3_600_000 - LOOK_BACK_MS]


def test_an_older_message_has_the_reading_begin_anew(make: Callable[..., OptOuts]) -> None:
    """A backlog of hours behind a younger message: the old reader ends, the new one starts empty."""
    outs = make()
    outs.require(NOW_MS)
    outs.require(NOW_MS - 7_200_000)
    first, second = FakeFollower.made
    assert second.from_ms == NOW_MS - 7_200_000 - LOOK_BACK_MS - REWIND_SLACK_MS
    outs._loop.run_until_complete(asyncio.sleep(0))
    assert (first.is_stopped, second.is_stopped) == (True, False)
    first.hear([Record(_update("revoke", "11:00", ["*"]), NOW_MS)])
    assert outs.people == 0, "what the old reader still hears does not count"


def test_what_kafka_does_not_keep_any_more_goes_back_to_the_gate(make: Callable[..., OptOuts]) -> None:
    """Opt-outs since an old judgement may have been deleted: that message is not covered, and is judged anew."""
    outs = make(retention_h={"consent-updates": 1})
    old, young = _message(heard_ms=NOW_MS - 7_200_000), _message(heard_ms=NOW_MS)
    outs.require(NOW_MS - 7_200_000)
    outs.require(NOW_MS - 7_200_000)
    assert len(FakeFollower.made) == 1, "what cannot be read is not asked for again and again"
    assert (outs.covers(old), outs.covers(young)) == (False, True)


def test_judgement_of_an_older_gate_counts_from_its_request(make: Callable[..., OptOuts]) -> None:
    """A gate of the release before does not say what it had merged: its request's time stands for it."""
    outs = make()
    outs.require(NOW_MS)
    assert outs.covers(_message(heard_ms=None))
    assert not outs.covers(_message(heard_ms=NOW_MS - 1))


# -- what is kept ----------------------------------------------------------------------------------------------------
def test_people_whose_last_word_was_judged_already_are_forgotten(
    make: Callable[..., OptOuts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What every unsent message was judged on is not kept; an older message has it all read again."""
    monkeypatch.setattr("pipeline.sender.optouts.TRIM_ABOVE", 1)
    outs, long_ago = make(), NOW_MS - 3 * KEEP_MS
    outs.require(long_ago)
    _hear(_update("revoke", "06:00", ["*"], to="15550000001"), at_ms=long_ago)
    _hear(_update("revoke", "06:00", ["*"], to="15550000002"), at_ms=NOW_MS - KEEP_MS - LOOK_BACK_MS)
    waiting = _message(heard_ms=NOW_MS - KEEP_MS - LOOK_BACK_MS)
    outs.trim([waiting])
    assert outs.people == 2 - 1
    assert outs.covers(waiting)
    outs.trim([])
    assert outs.people == 1, "few are not worth a look"
    outs.require(long_ago)
    assert len(FakeFollower.made) == 2


def test_beyond_the_bound_the_oldest_words_go_and_their_messages_with_them() -> None:
    """Memory has a bound: what no longer fits forbids nothing any more, and says for which judgements that matters."""
    few = Withdrawn(people_max=3)
    for index in range(4):
        few.apply(_update("revoke", "11:00", ["*"], to=f"1555000000{index}"), NOW_MS + index)
    assert len(few) == 3
    assert few.forgotten_ms == NOW_MS + 1

    def forbids(index: int) -> bool:
        return few.forbids(_message(to=f"1555000000{index}"), NOW_MS)

    assert [forbids(index) for index in range(4)] == [False, True, True, True]


def test_messages_judged_before_a_forgotten_word_are_not_covered(make: Callable[..., OptOuts]) -> None:
    """Too many opt-outs stop nobody's sending for ever: older judgements go back to the gate, newer ones are sent."""
    outs = make()
    outs.require(NOW_MS)
    outs._list.forgotten_ms = NOW_MS
    assert not outs.covers(_message(heard_ms=NOW_MS + LOOK_BACK_MS - 1))
    assert outs.covers(_message(heard_ms=NOW_MS + LOOK_BACK_MS))


def test_last_word_keeps_a_person_from_being_forgotten() -> None:
    """Who said something again lately is young, however long ago the first word was."""
    kept = Withdrawn()
    kept.apply(_update("revoke", "10:00", ["*"]), NOW_MS)
    kept.apply(_update("revoke", "10:00", ["*"], to="15550000001"), NOW_MS + 1)
    kept.apply(_update("grant", "11:00", ["utility"]), NOW_MS + 2)
    kept.forget_older(NOW_MS + 2)
    assert len(kept) == 1
    assert kept.forbids(_message(), NOW_MS)


# -- the named reason ------------------------------------------------------------------------------------------------
def test_log_says_when_sending_stops_and_resumes(make: Callable[..., OptOuts]) -> None:
    """One line for each turn, with the contract's reason, and no line a second in between."""
    outs = make()
    outs.require(NOW_MS)
    FakeFollower.fresh_as_of_s = 100.0
    with capture_logs() as lines:
        for now_s in (100.0, 100.9, 101.8, 102.7, 103.6, 104.5, 105.4, 106.3, 107.2):
            outs.tell(now_s)
        FakeFollower.fresh_as_of_s = 108.0
        for now_s in (108.1, 109.0):
            outs.tell(now_s)
    told = [(line["event"], line["reason"]) for line in lines]
    assert told == [("sending_stops", "opt_outs_stale"), ("sending_resumes", "opt_outs_stale")]
