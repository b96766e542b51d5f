"""An opt-out that reached Kafka keeps a judged message from leaving; a later yes lets it go."""

from __future__ import annotations

import asyncio
from typing import cast

import orjson
import pytest

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.records.confirmation import request_id_of
from pipeline.records.ready import ReadyMessage
from pipeline.sender.optouts import OptOutList, OptOuts
from pipeline.streams.follow import Follower

TO = "15550109999"
NOW_MS = parse_rfc3339_ms("2026-11-22T12:00:00.000Z")


def _message(
    category: str = "marketing", purpose: str | None = "offers", granted: str | None = "10:00"
) -> ReadyMessage:
    consent = {"at": f"2026-11-22T{granted}:00.000Z"} if granted else None
    record = {"consent": consent, "business": "acme", "request": {"purpose": purpose}}
    return ReadyMessage(
        record, "r1", TO, category, "bulk", "2#0", ("outbound-requests", 0, 7), NOW_MS, NOW_MS, NOW_MS + 9**9,
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


def _forbids(message: ReadyMessage, *updates: bytes) -> bool:
    found = OptOutList()
    for update in updates:
        found.apply(update, NOW_MS)
    return found.forbids(message, NOW_MS)


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


class FakeFollower:
    """A reader whose knowledge is as old as the test says."""

    fresh_as_of_s = 0.0

    def __init__(self, *_how: object) -> None:
        self.from_ms = 0

    def start(self) -> None:
        """Nothing to read."""

    def lag_s(self, now_s: float) -> float:
        """Age of the knowledge."""
        return now_s - FakeFollower.fresh_as_of_s


async def test_knowledge_from_before_a_standstill_is_not_fresh() -> None:
    """A process that was frozen for less than its lease sends nothing before it has read what was said meanwhile."""
    outs = OptOuts(Settings(), asyncio.get_running_loop(), lambda: None, cast("type[Follower]", FakeFollower))
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
