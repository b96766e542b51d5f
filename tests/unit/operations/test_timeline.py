"""Events in time order, in words, and what is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.operations.timeline import as_json, describe, in_order, step_of, stops_of, unfinished, waits_for
from pipeline.records.outbound import outbound_event, undelivered_event

NOW_MS = 1_795_341_600_000
NUMBER = "200000000000001"
REQUEST = {"request_id": "r1", "from": NUMBER, "to": "15550109999", "category": "utility", "priority": "normal"}
SOURCE = {"topic": "outbound-requests", "partition": 3, "offset": 991}


def _outbound(kind: str, after_ms: int, **fields: Any) -> dict[str, Any]:
    return outbound_event(kind, REQUEST, SOURCE, at_ms=NOW_MS + after_ms, stage="sender", **fields)


def _status(status: str, after_ms: int, event_id: str = "s1", **fields: Any) -> dict[str, Any]:
    return {
        "event_id": event_id, "type": "status", "status": status, "number": NUMBER, "request_id": "r1",
        "at": rfc3339(NOW_MS), "received_at": rfc3339(NOW_MS + after_ms), **fields,
    }  # fmt: skip


def test_steps_are_in_time_order_and_once() -> None:
    """Events of all topics come in time order; one that was written twice, or redelivered, comes once."""
    accepted, queued = _outbound("accepted", 50, message_id="wamid.1"), _outbound("queued", 10)
    delivered = _status("delivered", 90)
    found = [
        step_of("inbound", delivered, 0),
        step_of("inbound", {**delivered, "received_at": rfc3339(NOW_MS + 900)}, 0),
        step_of("outbound", accepted, 0),
        step_of("outbound", accepted, 5),
        step_of("outbound", queued, 0),
        step_of("request", REQUEST, NOW_MS),
    ]
    assert [step.kind for step in in_order(found)] == ["request", "queued", "accepted", "delivered"]


def test_statuses_of_one_moment_are_in_their_natural_order() -> None:
    """Webhooks that came in the same millisecond are shown sent, delivered, read."""
    steps = [step_of("inbound", _status(name, 1, event_id=name), 0) for name in ("read", "sent", "delivered")]
    assert [step.kind for step in in_order(steps)] == ["sent", "delivered", "read"]


def test_a_failure_after_the_answer_is_part_of_the_story() -> None:
    """An undelivered event stands behind the answer of its second, says what its code means, and ends nothing."""
    failed = {**_status("failed", 300, event_id="s2"), "message_id": "wamid.1", "attempt": 1, "error_code": 131026}
    told = undelivered_event(
        failed, at=rfc3339(NOW_MS), recipient="15550109999", business="acme", error_code=131026, detail="Undeliverable"
    )
    accepted = step_of("outbound", _outbound("accepted", 50, message_id="wamid.1"), 0)
    steps = in_order([step_of("outbound", told, NOW_MS + 301), accepted, step_of("inbound", failed, 0)])
    assert [step.kind for step in steps] == ["accepted", "failed", "undelivered"]
    for step in steps[1:]:
        assert "code 131026 (undeliverable: not on WhatsApp" in describe(step)
    assert "wamid.1" in describe(steps[2])
    assert steps[2].request == (NUMBER, "r1")
    assert unfinished(steps) == []


def test_unreadable_time_is_replaced_by_the_brokers() -> None:
    """An event with a broken time keeps its place by the broker's time."""
    assert step_of("outbound", {"type": "queued", "at": "yesterday"}, 42).at_ms == 42
    assert step_of("inbound", {"type": "status"}, 43).at_ms == 43


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (_outbound("queued", 0), ["admitted", "priority normal"]),
        (_outbound("accepted", 0, message_id="wamid.1", queue_ms=12, api_ms=87), ["wamid.1", "queue 12 ms", "87 ms"]),
        (_outbound("rejected", 0, reason="no_consent"), ["no_consent: the person never opted in to this"]),
        (
            _outbound("failed", 0, reason="api_rejected", error_code=131026, http_status=400),
            ["code 131026", "HTTP 400"],
        ),
        (
            _outbound("deferred", 0, reason="throttled", due_at_ms=NOW_MS),
            ["the API refuses the number for now", "due 2026-11-22T10"],
        ),
        ({"type": "rejected", "reason": "of_the_future"}, ["of_the_future"]),
    ],
)
def test_outbound_events_are_told_in_words(event: dict[str, Any], words: list[str]) -> None:
    """Each type shows what matters about it; a reason of a later version does no harm."""
    text = describe(step_of("outbound", event, 0))
    for word in words:
        assert word in text


def test_inbound_events_are_told_without_the_message() -> None:
    """A failed status names code and title; a person's message is mentioned, never quoted."""
    failed = _status("failed", 0, error_code=131026, errors=[{"code": 131026, "title": "Message undeliverable"}])
    text = describe(step_of("inbound", failed, 0))
    assert "code 131026" in text
    assert "Message undeliverable" in text
    message = {"type": "message", "recipient": "15550109999", "body": {"text": {"body": "my secret"}}, "errors": "odd"}
    text = describe(step_of("inbound", message, 0))
    assert "secret" not in text
    assert "15550109999" not in text


def test_unfinished_is_what_has_no_terminal_event() -> None:
    """A request is finished by its terminal event only, also when a late copy of another event follows."""
    other = {**_outbound("queued", 1), "request_id": "r2", "event_id": "other"}
    steps = [
        step_of("request", REQUEST, NOW_MS),
        step_of("outbound", _outbound("accepted", 20), 0),
        step_of("outbound", _outbound("queued", 30), 0),
        step_of("outbound", other, 0),
        step_of("inbound", _status("delivered", 40), 0),
    ]
    assert [step.request for step in unfinished(steps)] == [(NUMBER, "r2")]


def test_a_dead_letter_ends_a_message_until_it_is_replayed() -> None:
    """Who replayed it and why stands in the timeline; from then on it waits for a gate, until it has a new end."""
    told = {"request_id": "r1", "number": NUMBER, "letter": "3:991", "code": "outcome_unknown", "stage": "sender",
            "message": "no answer"}  # fmt: skip
    letter = step_of("letter", {**told, "type": "dead-letter"}, NOW_MS + 30)
    by = {"actor": "ada", "reason": "API is back", "at": rfc3339(NOW_MS + 40)}
    replayed = step_of("audit", {**told, **by, "type": "replay"}, 0)
    failed = step_of("outbound", _outbound("failed", 20, reason="outcome_unknown"), 0)
    assert "wapipe dead-letters show 3:991" in describe(letter)
    assert describe(replayed) == "3:991 by ada: API is back"
    assert unfinished([failed, letter]) == []
    assert unfinished([letter]) == []
    assert unfinished([letter, step_of("audit", {**told, **by, "type": "discard"}, 0)]) == []
    assert unfinished([failed, letter, replayed]) == [replayed]
    assert "was replayed and waits for a gate" in waits_for(replayed, (), NOW_MS + 50)
    assert unfinished([failed, letter, replayed, step_of("outbound", _outbound("accepted", 60), 0)]) == []


def test_waits_for_names_gate_sender_or_due_time() -> None:
    """What is waited for depends on the last step: a gate, the turn in a lane, or the time of the next try."""
    written = step_of("request", REQUEST, NOW_MS)
    assert "wapipe gate" in waits_for(written, (), NOW_MS + 5000)
    queued = step_of("outbound", _outbound("queued", 0), 0)
    text = waits_for(queued, (), NOW_MS + 5000)
    assert "wapipe sender" in text
    assert "for 5 s" in text
    deferred = step_of("outbound", _outbound("deferred", 0, reason="transient", due_at_ms=NOW_MS + 9000), 0)
    assert "tried again at 2026-11-22T10:00:09.000Z" in waits_for(deferred, (), NOW_MS)
    assert "stands still: throttled" in waits_for(queued, ["throttled: the API said so"], NOW_MS)


def test_stops_are_halts_that_last_and_a_missing_webhook() -> None:
    """A number stands still by a halt that has not ended, and while its webhook is not verified."""
    halt = {"halted": True, "reason": "throttled", "until": rfc3339(NOW_MS + 1000)}
    states: dict[str, dict[str, Any]] = {
        f"number:{NUMBER}/halt/0": halt,
        f"number:{NUMBER}/halt/1": {**halt, "until": rfc3339(NOW_MS - 1)},
        f"number:{NUMBER}/halt/2": {**halt, "halted": False},
        "number:9/halt/0": halt,
    }
    stops = stops_of(NUMBER, states, require_webhook=True, now_ms=NOW_MS)
    assert [stop.split(":")[0] for stop in stops] == ["throttled", "webhook"]
    assert stops_of("7", {}, require_webhook=False, now_ms=NOW_MS) == []
    verified = {f"number:{NUMBER}/webhook": {"verified": True}}
    assert stops_of(NUMBER, verified, require_webhook=True, now_ms=NOW_MS) == []


def test_json_of_a_step_holds_the_whole_record() -> None:
    """Machines get the record as it stands on the topic, its place and its moment."""
    event = _outbound("queued", 0)
    assert as_json(step_of("outbound", event, 0, "outbound-events[1]@2")) == {
        "at": "2026-11-22T10:00:00.000Z", "origin": "outbound", "what": "queued", "place": "outbound-events[1]@2",
        "event": event,
    }  # fmt: skip
