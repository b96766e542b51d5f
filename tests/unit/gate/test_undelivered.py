"""A status `failed` after an accepted send: the event, the suppression, and what it does to the next request."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.clock import rfc3339
from pipeline.gate.item import Out
from pipeline.gate.requests import Wait
from pipeline.records.codec import check
from pipeline.records.inbound import KIND_HEADER, kind_of
from pipeline.records.outbound import OutboundEvent
from pipeline.streams.partition import partition_of
from pipeline.whatsapp.suppression import is_suppression
from tests.support.spans import PARENT
from tests.unit.gate import making
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, OTHER, Tables, body

SOFT, HARD = 131026, 130403
DAY_MS = 86_400_000
SOFT_DAYS = 7
"""`policy.unreachable_s`."""


def failed(code: int | None = SOFT, **fields: Any) -> dict[str, Any]:
    """A status `failed`, as the ingress writes it; a second ago unless said otherwise."""
    errors = [] if code is None else [{"code": code, "title": "Refused", "error_data": {"details": "so it is"}}]
    return {
        "event_id": "e-9", "type": "status", "status": "failed", "at": rfc3339(NOW_MS - 1000), "number": NUMBER,
        "recipient": ADA, "message_id": "wamid.9", "request_id": "r-9", "attempt": 2, "error_code": code,
        "errors": errors, **fields,
    }  # fmt: skip


def told(tables: Tables, event: dict[str, Any], **fields: Any) -> dict[str, Out]:
    """What is written about it, by topic."""
    return {out.topic: out for out in tables.inbound.apply(making.item("inbound", event, **fields))}


def test_it_is_told_with_its_code_and_request() -> None:
    """The event names request, attempt, message and code, and nothing that a status cannot know."""
    out = told(Tables(), failed(), headers=[("traceparent", PARENT)])["outbound-events"]
    event = body(out)
    check(OutboundEvent, event)
    assert out.key == ADA
    assert dict(out.headers)["traceparent"] == PARENT
    known = {name: value for name, value in event.items() if value not in (None, {})}
    assert known.pop("event_id")
    assert known == {
        "type": "undelivered", "terminal": False, "at": rfc3339(NOW_MS - 1000), "stage": "gate", "request_id": "r-9",
        "number": NUMBER, "recipient": ADA, "business": "acme", "attempt": 2, "message_id": "wamid.9",
        "reason": "api_async", "detail": "Refused: so it is", "retryable": False, "error_code": SOFT,
    }  # fmt: skip


def test_the_same_status_is_the_same_event() -> None:
    """A redelivered webhook, on another offset and a day later, leaves the same event again, not a second one."""
    tables = Tables()
    first = told(tables, failed())["outbound-events"].value
    again = told(tables, failed(), offset=77, timestamp_ms=NOW_MS + DAY_MS)["outbound-events"].value
    other = told(tables, failed(event_id="e-10"))["outbound-events"]
    assert first == again
    assert body(other)["event_id"] != orjson.loads(first or b"")["event_id"]


def test_v1_names_the_message_only() -> None:
    """Without callback data the message id is the tie; a status without a code still is an event."""
    event = body(told(Tables(), failed(None, number=OTHER, request_id=None, attempt=None))["outbound-events"])
    check(OutboundEvent, event)
    assert (event["request_id"], event["message_id"], event["error_code"], event["business"]) == (
        None, "wamid.9", None, "zeta",
    )  # fmt: skip


def test_what_a_person_cannot_get_suppresses() -> None:
    """Who is not on WhatsApp is left alone for days, whom the business blocked for good; others get the event only."""
    record = body(told(Tables(), failed())["suppressions"])
    assert record == {
        "recipient": ADA, "reason": "not_on_whatsapp", "at": rfc3339(NOW_MS - 1000),
        "until": rfc3339(NOW_MS - 1000 + SOFT_DAYS * DAY_MS),
    }  # fmt: skip
    assert is_suppression(record)
    assert body(told(Tables(), failed(HARD))["suppressions"])["until"] is None
    for code in (131049, 131050, 131053, 131047, 999, None):
        assert set(told(Tables(), failed(code))) == {"outbound-events"}, code


def test_a_shorter_suppression_takes_nothing_from_a_longer_one() -> None:
    """What holds longer stays; the same status again writes no second suppression."""
    tables = Tables()
    assert "suppressions" in told(tables, failed())
    assert "suppressions" not in told(tables, failed())
    assert "suppressions" in told(tables, failed(HARD))
    assert "suppressions" not in told(tables, failed(at=rfc3339(NOW_MS)))


def test_a_failure_whose_days_are_over_suppresses_nobody() -> None:
    """A webhook that comes a week late tells of what is over."""
    old = rfc3339(NOW_MS - SOFT_DAYS * DAY_MS)
    assert set(told(Tables(), failed(at=old))) == {"outbound-events"}


def test_a_clock_ahead_prolongs_nothing() -> None:
    """The days count from the broker's time at most."""
    record = body(told(Tables(), failed(at=rfc3339(NOW_MS + DAY_MS)))["suppressions"])
    assert record["until"] == rfc3339(NOW_MS + SOFT_DAYS * DAY_MS)


@pytest.mark.parametrize("category", ["utility", "service"])
def test_nothing_goes_to_the_suppressed(category: str) -> None:
    """A request to a suppressed person is rejected with the reason, replies too; after its days it goes again."""
    tables = Tables()
    tables.grant()
    told(tables, failed())
    wanted = making.request(category=category)
    event = tables.outcome(wanted)
    assert (event["type"], event["reason"]) == ("rejected", "suppressed")
    assert event["detail"].startswith("not_on_whatsapp since")
    later = tables.outcome(wanted, now_ms=NOW_MS + SOFT_DAYS * DAY_MS, timestamp_ms=NOW_MS + SOFT_DAYS * DAY_MS)
    assert later["reason"] != "suppressed"


def test_the_settings_say_how_long() -> None:
    """`policy.unreachable_s`, for those who may be reachable again; for good stays for good."""
    tables = Tables(policy={"unreachable_s": 60})
    assert body(told(tables, failed())["suppressions"])["until"] == rfc3339(NOW_MS + 59_000)
    assert body(told(tables, failed(HARD))["suppressions"])["until"] is None


def test_what_is_over_leaves_its_topic() -> None:
    """The first request that passes an ended suppression writes its tombstone, once; a refused one writes none."""
    tables = Tables()
    tables.grant()
    told(tables, failed())
    later: dict[str, Any] = {"now_ms": NOW_MS + SOFT_DAYS * DAY_MS, "timestamp_ms": NOW_MS + SOFT_DAYS * DAY_MS}
    for fields, tombstones in (({"category": "marketing"}, 0), ({}, 1), ({}, 0)):
        outs = tables.judge(making.request(**fields), **later)
        assert not isinstance(outs, Wait)
        found = [(out.key, out.value, out.partition) for out in outs if out.topic == "suppressions"]
        assert found == [(ADA.encode(), None, partition_of(ADA, making.PARTITIONS))] * tombstones


def test_it_is_refused_only_when_what_people_said_was_read() -> None:
    """A message of the person that came before the request would lift the suppression: it is waited for."""
    tables = Tables()
    tables.grant()
    told(tables, failed())
    assert tables.judge(making.request(), settled=False) == Wait("inbound-events")


def test_who_writes_can_be_reached() -> None:
    """A message after the failure lifts a suppression of days by a tombstone; one for good stays."""
    tables = Tables()
    tables.grant()
    told(tables, failed())
    assert "suppressions" not in told(tables, making.message_event(at=rfc3339(NOW_MS - 2000)))
    lifted = told(tables, making.message_event(at=rfc3339(NOW_MS - 500)))["suppressions"]
    assert (lifted.key, lifted.value) == (ADA.encode(), None)
    assert tables.outcome(making.request())["type"] == "queued"
    told(tables, failed(HARD, at=rfc3339(NOW_MS)))
    assert "suppressions" not in told(tables, making.message_event(at=rfc3339(NOW_MS), message_id="wamid.2"))
    assert tables.outcome(making.request())["reason"] == "suppressed"


def test_a_failure_that_is_heard_of_after_the_person_wrote_suppresses_nobody() -> None:
    """Webhooks come out of order: what counts is which of the two happened later."""
    tables = Tables()
    told(tables, making.message_event(at=rfc3339(NOW_MS - 500)))
    assert "suppressions" not in told(tables, failed())
    assert "suppressions" in told(tables, failed(HARD))


def test_a_notice_about_a_person_is_no_message_of_theirs() -> None:
    """That somebody changed their number opens no window and lifts nothing."""
    tables = Tables()
    told(tables, failed())
    assert told(tables, making.message_event(at=rfc3339(NOW_MS), body={"type": "system"})) == {}


def test_what_is_passed_over_is_not_even_parsed() -> None:
    """A status that the header names costs no parsing; without the header the value decides, as ever."""
    tables = Tables()
    header = [(KIND_HEADER, kind_of({"type": "status", "status": "delivered"}))]
    assert tables.inbound.apply(making.item("inbound", b"not JSON", headers=header)) == []
    assert [out.topic for out in tables.inbound.apply(making.item("inbound", b"not JSON"))] == ["dead-letter"]
    assert told(tables, {"type": "status", "status": "delivered"}) == {}
    named = [(KIND_HEADER, kind_of(failed()))]
    assert set(told(tables, failed(), headers=named)) == {"outbound-events", "suppressions"}
    assert set(told(tables, making.message_event(), headers=[(KIND_HEADER, b"message")])) == {"service-windows"}


def test_it_is_counted_by_the_method_of_the_newest_opt_in() -> None:
    """Which way of opting in leads to failures shows; whoever never opted in to this business counts as unknown."""
    tables = Tables()
    evidence = {"method": "qr", "actor": "user", "source": "poster", "text": "yes"}
    count = tables.metrics.registry.get_sample_value
    told(tables, failed())
    tables.grant()
    tables.grant(update_id="u-2", categories=["marketing"], at="2026-11-21T08:00:00.000Z", evidence=evidence)
    told(tables, failed())
    told(tables, failed(number=OTHER))
    counted = [count("wapipe_consent_undelivered_total", {"method": one}) for one in ("qr", "checkbox", "unknown")]
    assert counted == [1, None, 2]


def test_a_number_of_somebody_else_is_passed_over() -> None:
    """Other programs' numbers of the same account are not told of."""
    assert told(Tables(), failed(number="299999999999999")) == {}


def test_a_group_has_no_person_to_suppress() -> None:
    """A failure to a group is told, keyed as its status was."""
    outs = told(Tables(), failed(recipient="a group"), key=b"200000000000001")
    assert set(outs) == {"outbound-events"}
    assert (outs["outbound-events"].key, body(outs["outbound-events"])["recipient"]) == (b"200000000000001", None)


@pytest.mark.parametrize(
    "fields",
    [
        {"event_id": None}, {"event_id": "x" * 201}, {"number": 5}, {"at": "soon"}, {"at": "9" * 41}, {"attempt": "2"},
        {"attempt": True},
    ],
)  # fmt: skip
def test_a_broken_status_is_kept(fields: dict[str, Any]) -> None:
    """What cannot be told goes to dead-letter with its bytes."""
    assert set(told(Tables(), failed(**fields))) == {"dead-letter"}


def test_a_status_on_a_foreign_partition_is_re_routed_once() -> None:
    """It cannot be judged there, where another gate keeps the person's records."""
    moved = told(Tables(), failed(), partition=0)["inbound-events"]
    assert set(told(Tables(), failed(), partition=0, headers=moved.headers)) == {"dead-letter"}
