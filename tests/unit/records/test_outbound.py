"""Outbound events: complete, and with ids that do not change when an event is written again."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.records.outbound import MAX_DETAIL_CHARS, outbound_event

REQUEST = {
    "request_id": "r-1", "from": "200000000000001", "to": "15550109999", "category": "utility", "purpose": None,
    "priority": "normal", "campaign": "c", "metadata": {"shop": "berlin"},
}  # fmt: skip
SOURCE = {"topic": "outbound-requests", "partition": 3, "offset": 991, "timestamp_ms": 5}


def event(kind: str, source: dict[str, Any] = SOURCE, **fields: Any) -> dict[str, Any]:
    """An event about the request above."""
    return outbound_event(kind, REQUEST, source, **{"at_ms": 1000, "stage": "sender", **fields})


def test_event_carries_the_request() -> None:
    """What analytics groups by is copied from the request, and the place it came from."""
    made = event("accepted", attempt=2, message_id="wamid.1", http_status=200)
    assert {name: made[name] for name in ("request_id", "number", "recipient", "category", "campaign")} == {
        "request_id": "r-1", "number": "200000000000001", "recipient": "15550109999", "category": "utility",
        "campaign": "c",
    }  # fmt: skip
    assert made["metadata"] == {"shop": "berlin"}
    assert made["source"] == {"topic": "outbound-requests", "partition": 3, "offset": 991}
    assert made["at"] == "1970-01-01T00:00:01.000Z"
    assert (made["terminal"], made["attempt"], made["reason"], made["retryable"]) == (True, 2, None, None)


def test_terminal_id_depends_on_the_request_alone() -> None:
    """However and whenever a request ends, a second end would have the same id: readers can tell."""
    ends = [
        event("accepted", at_ms=1, attempt=1),
        event("accepted", at_ms=2, attempt=5),
        event("failed", reason="outcome_unknown"),
        event("expired", reason="expired", source={**SOURCE, "offset": 5}),
    ]
    assert len({end["event_id"] for end in ends}) == 1
    other = outbound_event("accepted", {**REQUEST, "request_id": "r-2"}, SOURCE, at_ms=1, stage="sender")
    assert other["event_id"] != ends[0]["event_id"]


def test_a_replay_ends_a_request_a_second_time() -> None:
    """The end of a replay is another event than the one before it, and the same one whenever it is written again."""
    ends = [event("accepted", attempt=2, replay=True, at_ms=at_ms) for at_ms in (1, 2)]
    assert ends[0]["event_id"] == ends[1]["event_id"]
    others = {
        event("failed", reason="outcome_unknown")["event_id"],
        event("accepted", attempt=3, replay=True)["event_id"],
    }
    assert len(others | {ends[0]["event_id"]}) == 3


def test_id_on_the_way_names_type_attempt_and_place() -> None:
    """Reading a record twice gives the same id; another attempt, due time or place gives another."""
    first = event("deferred", reason="throttled", attempt=1, due_at_ms=50)
    assert event("deferred", at_ms=9, reason="throttled", attempt=1, due_at_ms=50)["event_id"] == first["event_id"]
    others = [
        event("queued"),
        event("deferred", reason="overloaded", attempt=1, due_at_ms=50),
        event("deferred", reason="throttled", attempt=2, due_at_ms=50),
        event("deferred", reason="throttled", attempt=1, due_at_ms=60),
        event("deferred", reason="throttled", attempt=1, due_at_ms=50, source={**SOURCE, "offset": 1}),
        event("accepted", attempt=1),
    ]
    assert len({first["event_id"], *(other["event_id"] for other in others)}) == 7


def test_retryable_comes_from_the_table() -> None:
    """Whether upstream may send it again is the table's word, not the caller's."""
    assert event("rejected", reason="no_consent")["retryable"] is True
    assert event("rejected", reason="invalid")["retryable"] is False


def test_detail_is_bounded() -> None:
    """A long detail is cut; an empty one is null."""
    assert len(event("failed", reason="api_rejected", detail="x" * 9000)["detail"]) == MAX_DETAIL_CHARS
    assert event("failed", reason="api_rejected", detail="")["detail"] is None


def test_due_time_of_zero_is_a_time() -> None:
    """Zero milliseconds is a moment, not nothing."""
    assert event("deferred", reason="scheduled", due_at_ms=0)["due_at"] == "1970-01-01T00:00:00.000Z"


def test_unknown_type_is_a_programmers_error() -> None:
    """A type that is not in the table never reaches a topic."""
    with pytest.raises(AssertionError):
        event("sent")
