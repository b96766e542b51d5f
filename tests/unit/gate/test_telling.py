"""What the gate tells of a judgement: the span that all it writes continues from, and one log line per end."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline.gate.item import Item, Out
from pipeline.gate.requests import Prepared
from pipeline.gate.telling import begun, ended
from pipeline.records.codec import trace_of
from tests.support.spans import MALFORMED, PARENT, PARENT_ID, TRACE_ID, Recorder, ids_of, place_of
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, Tables, item, request


def judged(tables: Tables, one: Item) -> list[Out]:
    """What is written about a request."""
    prepared = tables.requests.prepare(one)
    if not isinstance(prepared, Prepared):
        return prepared
    outs = tables.requests.judge(prepared, NOW_MS, lambda _topic: True, NOW_MS)
    assert isinstance(outs, list)
    return outs


def test_all_that_a_request_leads_to_continues_from_its_span() -> None:
    """The gate's span is a child of the record's; the ready record and the event lead on from the gate's."""
    recorder, tables = Recorder(), Tables()
    tables.grant()
    one = begun(recorder.tracing, item("normal", request(), headers=[("traceparent", PARENT), ("x", b"kept")]))
    outs = judged(tables, one)
    ended([one])
    span = recorder.named("judge outbound-requests")
    trace_id, span_id, parent_id = place_of(span)
    assert (trace_id, parent_id) == (TRACE_ID, PARENT_ID)
    assert [out.topic for out in outs] == ["ready-normal", "outbound-events"]
    assert [ids_of(trace_of(out.headers)) for out in outs] == [(TRACE_ID, span_id)] * 2
    told = dict(span.attributes or {})
    assert (told["wapipe.outcome"], told["wapipe.number"], told["wapipe.priority"]) == ("queued", NUMBER, "normal")
    assert ADA not in str(told)
    assert ("x", b"kept") in list(one.headers)


def test_a_rejection_is_told_in_its_span() -> None:
    """A request that ends at the gate has its reason in the span, and its event continues the trace."""
    recorder = Recorder()
    one = begun(recorder.tracing, item("normal", request()))
    [out] = judged(Tables(), one)
    ended([one])
    told = dict(recorder.named("judge outbound-requests").attributes or {})
    assert (told["wapipe.outcome"], told["wapipe.reason"]) == ("rejected", "no_consent")
    assert ids_of(trace_of(out.headers)) == place_of(recorder.named("judge outbound-requests"))[:2]


def test_a_dead_letter_is_told_in_its_span() -> None:
    """What cannot be read has its code in the span."""
    recorder = Recorder()
    one = begun(recorder.tracing, item("urgent", b"{"))
    judged(Tables(), one)
    ended([one])
    told = dict(recorder.named("judge outbound-requests-urgent").attributes or {})
    assert (told["wapipe.outcome"], told["error.type"]) == ("dead-letter", "not_json")


@pytest.mark.parametrize("header", [PARENT, *MALFORMED], ids=lambda header: repr(header)[:24])
def test_without_tracing_a_sound_header_is_kept_and_any_other_is_left_out(header: bytes) -> None:
    """Who joins traces upstream gets its own header back; what is malformed stops nothing and goes nowhere."""
    tables = Tables()
    tables.grant()
    outs = judged(tables, item("normal", request(), headers=[("traceparent", header)]))
    assert {trace_of(out.headers) for out in outs} == {PARENT if header == PARENT else None}
    assert all(header == PARENT or "traceparent" not in dict(out.headers) for out in outs)


@pytest.mark.parametrize(
    ("value", "outcome", "reason"),
    [
        (request(), "rejected", "no_consent"),
        (request(**{"from": "999"}), "rejected", "unknown_number"),
        (request(category="odd"), "rejected", "invalid"),
        (request(expires_at="2026-11-22T09:00:00.000Z"), "expired", "expired"),
    ],
)
def test_each_end_at_the_gate_is_one_line(value: dict[str, Any], outcome: str, reason: str) -> None:
    """Once Kafka has the event of a request that ends here, the log says so, once, with the person masked."""
    with capture_logs() as lines:
        [out] = judged(Tables(), item("normal", value, headers=[("traceparent", PARENT)]))
        assert lines == [], "Kafka does not have it yet"
        assert out.stored is not None
        out.stored(0)
    [line] = lines
    assert (line["event"], line["log_level"]) == ("message_settled", "info")
    assert (line["outcome"], line["reason"], line["request_id"]) == (outcome, reason, value["request_id"])
    assert line["trace_id"] == TRACE_ID
    assert line["recipient"] == "1555•••9999"
    assert ADA not in str(line)


def test_what_goes_on_to_a_lane_is_no_line_yet() -> None:
    """A request that is queued has not ended: the sender's line tells of it."""
    tables = Tables()
    tables.grant()
    assert all(out.stored is None for out in judged(tables, item("normal", request())))


def test_dead_letters_are_told_now_and_then() -> None:
    """A record that cannot be read is named with its place; a flood of them is one line that counts."""
    tables = Tables()
    with capture_logs() as lines:
        for offset in range(3):
            judged(tables, item("normal", b"{", offset=offset))
    [line] = lines
    assert (line["event"], line["log_level"], line["code"]) == ("record_dead_lettered", "warning", "not_json")
    assert (line["topic"], line["offset"], line["suppressed"]) == ("outbound-requests", 0, 0)
