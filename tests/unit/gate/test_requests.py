"""From a request's bytes to what the gate writes about it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.clock import rfc3339
from pipeline.gate.item import Out
from pipeline.gate.requests import Wait
from pipeline.records.codec import MAX_RECORD_BYTES
from pipeline.records.outbound import OutboundEvent
from pipeline.records.ready import Ready, parse_ready
from pipeline.records.returning import read_returning, returning_headers
from pipeline.streams.partition import partition_of
from tests.support.spans import PARENT
from tests.unit.gate import making
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, PARTITIONS, Tables, body

HOME = partition_of(ADA, PARTITIONS)
FIRST = {"topic": "outbound-requests-urgent", "partition": 3, "offset": 7, "timestamp_ms": NOW_MS - 9_000}


def outs_of(tables: Tables, value: Any, **fields: Any) -> dict[str, Out]:
    """What is written about a request, by topic."""
    outs = tables.judge(value, **fields)
    assert not isinstance(outs, Wait)
    return {out.topic: out for out in outs}


@pytest.fixture
def tables() -> Tables:
    """Tables in which Ada allows utility messages."""
    made = Tables()
    made.grant()
    return made


def test_admitted_request_goes_to_its_lane_with_a_queued_event(tables: Tables) -> None:
    """An admitted request becomes a ready record on its number's lane and a `queued` event, both complete."""
    trace = [("traceparent", PARENT)]
    outs = outs_of(tables, making.request(to="+1 (555) 010-9999"), headers=trace, offset=5)
    ready, event = outs["ready-normal"], outs["outbound-events"]
    record = Ready.model_validate(body(ready))
    assert (ready.key, ready.partition) in {(f"{NUMBER}#0", 4), (f"{NUMBER}#1", 5)}
    assert record.source.model_dump() == {
        "topic": "outbound-requests", "partition": HOME, "offset": 5, "timestamp_ms": NOW_MS,
    }  # fmt: skip
    assert record.request["to"] == ADA
    assert record.request["message"] == making.template()
    message = parse_ready(body(ready))
    assert (message.attempt, message.unknown, message.replay, message.due_ms) == (0, False, False, None)
    told = OutboundEvent.model_validate(body(event))
    assert (told.type, told.terminal, told.recipient, told.business) == ("queued", False, ADA, "acme")
    assert told.consent is not None
    assert (told.consent.update_id, told.metadata, event.key) == ("u-1", {"shop": "berlin"}, ADA)
    for out, schema in ((ready, b"ready/1"), (event, b"outbound-event/1")):
        headers = dict(out.headers)
        assert headers["schema"] == schema
        assert headers["content-type"] == b"application/json"
        assert headers["traceparent"] == PARENT


def test_the_same_record_twice_gives_the_same_events(tables: Tables) -> None:
    """Reading a record again writes an event with the same id, whatever the clock says by then."""
    first = tables.outcome(making.request())
    again = tables.outcome(making.request(), now_ms=NOW_MS + 60_000)
    other = tables.outcome(making.request(), offset=1)
    assert first["event_id"] == again["event_id"] != other["event_id"]


def test_refused_request_waits_until_the_topic_was_read(tables: Tables) -> None:
    """Nobody is refused for want of consent or window while that topic may hold something newer."""
    marketing = making.request(category="marketing")
    assert tables.judge(marketing, settled=False) == Wait("consent-updates")
    assert tables.outcome(marketing)["reason"] == "no_consent"
    free = making.request(message=making.text())
    assert tables.judge(free, settled=False) == Wait("inbound-events")
    assert tables.outcome(free)["reason"] == "template_required"
    assert tables.outcome(making.request(message={}), settled=False)["reason"] == "invalid"


def test_withdrawn_consent_is_told_with_its_revoke(tables: Tables) -> None:
    """The rejection names the opt-out that it rests on."""
    tables.grant(action="revoke", update_id="stop", at="2026-11-21T08:00:00Z")
    told = tables.outcome(making.request())
    assert (told["type"], told["reason"], told["retryable"]) == ("rejected", "consent_withdrawn", True)
    assert told["consent"]["update_id"] == "stop"


def test_scheduled_request_goes_to_a_delayed_topic(tables: Tables) -> None:
    """`not_before` in two hours: a copy on the 1 h tier that comes back through the gate, and a `deferred` event."""
    due_ms = NOW_MS + 7_200_000
    outs = outs_of(tables, making.request(not_before=rfc3339(due_ms)))
    copy, told = parse_ready(body(outs["delayed-retry-1h"])), body(outs["outbound-events"])
    assert (copy.due_ms, copy.via_gate, copy.record["reason"]) == (due_ms, True, "scheduled")
    assert (told["type"], told["reason"], told["due_at"]) == ("deferred", "scheduled", rfc3339(due_ms))
    assert set(outs) == {"delayed-retry-1h", "outbound-events"}


def test_returning_request_stays_the_one_it_was(tables: Tables) -> None:
    """What comes back through the gate keeps its first source, its attempts and its unknown flag."""
    headers = [*returning_headers(FIRST, attempt=2, spent=1, unknown=True), ("wapipe-replay", b"1")]
    outs = outs_of(tables, making.request(), headers=headers)
    copy = parse_ready(body(outs["ready-normal"]))
    assert (copy.source, copy.source_ms) == (("outbound-requests-urgent", 3, 7), NOW_MS - 9_000)
    assert (copy.attempt, copy.spent, copy.unknown, copy.replay) == (2, 1, True, True)
    told = body(outs["outbound-events"])
    assert (told["attempt"], told["source"]["offset"]) == (2, 7)


def test_unknown_outcome_never_ends_as_if_nothing_was_sent() -> None:
    """An id with an attempt of unknown outcome ends as `failed`, not as `rejected` or `expired`."""
    headers = returning_headers(FIRST, attempt=2, unknown=True)
    told = Tables().outcome(making.request(), headers=headers)
    assert (told["type"], told["reason"], told["terminal"]) == ("failed", "outcome_unknown", True)
    assert "no_consent" in told["detail"]
    letter = outs_of(Tables(), making.request(), headers=headers)["dead-letter"]
    assert letter.value == orjson.dumps(making.request())
    kept = dict(letter.headers)
    assert (kept["errors.code"], kept["errors.attempts"]) == (b"outcome_unknown", b"2")
    assert all(kept[name] == value for name, value in headers), "a replay of it finds what was known of it"


def test_foreign_partition_is_re_routed_once(tables: Tables) -> None:
    """A record on a foreign partition is counted and goes home, once, with its first place in a header."""
    away = (HOME + 1) % PARTITIONS
    value = making.request()
    outs = outs_of(tables, value, partition=away, offset=9, key=None, headers=[("traceparent", PARENT)])
    out = outs["outbound-requests"]
    assert (out.key, out.partition, out.value) == (ADA, HOME, orjson.dumps(value))
    assert dict(out.headers)["traceparent"] == PARENT
    source = read_returning(out.headers).source
    assert source is not None
    assert (source["partition"], source["offset"], source["timestamp_ms"]) == (away, 9, NOW_MS)
    counted = tables.metrics.registry.get_sample_value("wapipe_rerouted_total", {"topic": "outbound-requests"})
    assert counted == 1
    assert parse_ready(body(outs_of(tables, value, headers=out.headers)["ready-normal"])).source[1:] == (away, 9)
    letter = outs_of(tables, value, partition=away, headers=out.headers)["dead-letter"]
    assert dict(letter.headers)["errors.code"] == b"misrouted"


def test_re_routing_a_returning_record_keeps_its_first_place(tables: Tables) -> None:
    """The first source stays the first, also across a re-route."""
    headers = returning_headers(FIRST, attempt=4)
    out = outs_of(tables, making.request(), partition=(HOME + 1) % PARTITIONS, headers=headers)["outbound-requests"]
    kept = read_returning(out.headers)
    assert (kept.source, kept.attempt) == (FIRST, 4)
    assert [name for name, _ in out.headers].count("wapipe-source") == 1


@pytest.mark.parametrize(
    ("raw", "headers", "code"),
    [
        (None, [], "not_json"),
        (b"", [], "not_json"),
        (b"  ", [], "not_json"),
        (b"not json", [], "not_json"),
        (b'{"to":"\\ud800"}', [], "not_json"),
        (b"\xff\xfe{}", [], "not_utf8"),
        (b"[]", [], "contract"),
        (b'"text"', [], "contract"),
        (b"{}", [], "contract"),
        (b"[" * 40 + b"]" * 40, [], "too_deep"),
        (b'{"a":"' + b"x" * MAX_RECORD_BYTES + b'"}', [], "too_large"),
        (orjson.dumps(making.request()), [("schema", b"request/2")], "unsupported_schema"),
        (orjson.dumps(making.request(request_id="x" * 129)), [], "contract"),
        (orjson.dumps(making.request(request_id=...)), [], "contract"),
        (orjson.dumps(making.request(to=None)), [], "contract"),
    ],
)
def test_unreadable_record_becomes_a_dead_letter(tables: Tables, raw: Any, headers: Any, code: str) -> None:
    """What cannot be read keeps its bytes and key on dead-letter, with the code and the place."""
    letter = outs_of(tables, raw, headers=headers, offset=3, key=b"k")["dead-letter"]
    told = dict(letter.headers)
    assert (letter.key, letter.value, told["errors.code"]) == (b"k", raw, code.encode())
    assert (told["errors.topic"], told["errors.offset"], told["errors.stage"]) == (
        b"t-outbound-requests", b"3", b"gate",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"category": "spam"}, "category"),
        ({"category": ...}, "category"),
        ({"to": "Ada"}, "to"),
        ({"from": 200000000000001}, "from"),
        ({"to": 15550109999}, "to"),
        ({"priority": "asap"}, "priority"),
        ({"purpose": "Order Updates"}, "purpose"),
        ({"campaign": ""}, "campaign"),
        ({"message": "hello"}, "message"),
        ({"message": {"type": "fax"}}, "message.type"),
        ({"message": {"type": "text", "text": {}}}, "message.text"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": 1795341600}, "expires_at"),
        ({"not_before": "2026-11-22T10:00:00"}, "not_before"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(i): "x" for i in range(51)}}, "metadata"),
        ({"metadata": {"a": "x" * 501}}, "metadata.a"),
    ],
)
def test_readable_but_wrong_request_is_rejected_as_invalid(tables: Tables, fields: dict[str, Any], named: str) -> None:
    """If ids and recipient can be read, upstream gets `rejected: invalid` with the path of what is wrong."""
    told = tables.outcome(making.request(**fields))
    OutboundEvent.model_validate(told)
    assert (told["type"], told["reason"], told["terminal"]) == ("rejected", "invalid", True)
    assert named in told["detail"]
    assert told["request_id"] == "r-1"


def test_unknown_number_is_rejected(tables: Tables) -> None:
    """A number that is not in the settings ends the request, without a business."""
    told = tables.outcome(making.request(**{"from": "999"}))
    assert (told["reason"], told["business"], told["number"]) == ("unknown_number", None, "999")


def test_malformed_returning_header_is_invalid(tables: Tables) -> None:
    """A header of ours that cannot be read is told like any other mistake."""
    told = tables.outcome(making.request(), headers=[("wapipe-source", b"here")])
    assert (told["reason"], "wapipe-source" in told["detail"]) == ("invalid", True)


def test_an_operator_s_word_about_a_campaign_is_followed(tables: Tables) -> None:
    """Paused: a durable copy on the longest delay, told as held; cancelled: an end; running or another one: queued."""
    mine = making.request(campaign="spring")
    tables.account.put("campaign:spring", {"state": "paused"})
    outs = tables.judge(mine)
    assert not isinstance(outs, Wait)
    assert [out.topic for out in outs] == ["delayed-retry-1h", "outbound-events"]
    assert (body(outs[0])["reason"], body(outs[0])["via_gate"]) == ("held_campaign", True)
    assert (body(outs[1])["type"], body(outs[1])["reason"]) == ("deferred", "held_campaign")
    assert tables.outcome(making.request(campaign="summer"))["type"] == "queued"
    assert tables.outcome(making.request())["type"] == "queued"
    tables.account.put("campaign:spring", {"state": "cancelled"})
    assert [tables.outcome(mine)[name] for name in ("type", "reason")] == ["cancelled", "campaign_cancelled"]
    tables.account.put("campaign:spring", {"state": "running"})
    assert tables.outcome(mine)["type"] == "queued"
