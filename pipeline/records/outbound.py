"""outbound-event/1: what became of a request. Built as a plain object on the hot path; the model is for readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from pipeline.clock import rfc3339
from pipeline.logs import masked
from pipeline.records.codec import Record, TimeMs, stable_id
from pipeline.records.consent import Origin
from pipeline.records.reasons import REASONS, TERMINAL, TYPES

SCHEMA = "outbound-event/1"
MAX_DETAIL_CHARS = 500

EventType = Literal[
    "queued", "deferred", "accepted", "rejected", "failed", "expired", "cancelled", "duplicate", "undelivered"
]  # fmt: skip


class ConsentBasis(Record):
    """The consent entry that a decision rested on."""

    update_id: str
    status: Literal["granted", "revoked"]
    at: TimeMs
    method: str | None = None
    source: str | None = None


class OutboundEvent(Record):
    """One event of one request."""

    event_id: str
    type: EventType
    terminal: bool
    at: TimeMs
    stage: Literal["gate", "sender"]
    request_id: str | None
    number: str
    recipient: str | None
    business: str | None
    category: str | None
    purpose: str | None
    priority: str | None
    campaign: str | None
    attempt: int | None
    message_id: str | None
    wa_id: str | None
    reason: str | None
    detail: str | None
    retryable: bool | None
    http_status: int | None
    error_code: int | None
    due_at: TimeMs | None
    queue_ms: int | None
    api_ms: int | None
    consent: ConsentBasis | None
    source: Origin | None
    metadata: dict[str, str]

    @model_validator(mode="after")
    def _belongs_to_a_request(self) -> OutboundEvent:
        if self.type != "undelivered" and (self.request_id is None or self.source is None):
            raise ValueError("request_id and source: only an undelivered event may lack them")
        return self


def outbound_event(
    kind: str,
    request: Mapping[str, Any],
    source: Mapping[str, Any],
    *,
    at_ms: int,
    stage: str,
    business: str | None = None,
    reason: str | None = None,
    detail: str | None = None,
    attempt: int | None = None,
    message_id: str | None = None,
    wa_id: str | None = None,
    http_status: int | None = None,
    error_code: int | None = None,
    due_at_ms: int | None = None,
    queue_ms: int | None = None,
    api_ms: int | None = None,
    consent: Mapping[str, Any] | None = None,
    replay: bool = False,
) -> dict[str, Any]:
    """Build an event with every field of the contract.

    The id of a terminal event is a function of (number, request_id) alone, so that a re-written one is the same
    event; that of any other also names its type, attempt and place, so that reading a record twice changes nothing. A
    replay ends its request a second time, which is another event: its id names the attempt, too.

    Args:
        kind: One of `TYPES`.
        request: The request as a parsed object (`from`, `to`, `request_id`, … may be missing in a bad one).
        source: Topic, partition and offset of the request's record.
        replay: Whether an operator sent the request again.
    """
    assert kind in TYPES, kind  # noqa: S101  a programmer's error
    request_id, number = request.get("request_id"), request.get("from")
    terminal = kind in TERMINAL
    if terminal:
        again = ("replay", attempt) if replay else ()
        event_id = stable_id(number, request_id, "terminal", *again)
    else:
        place = (source["topic"], source["partition"], source["offset"])
        event_id = stable_id(number, request_id, kind, reason, attempt, due_at_ms, *place)
    return {
        "event_id": event_id,
        "type": kind,
        "terminal": terminal,
        "at": rfc3339(at_ms),
        "stage": stage,
        "request_id": request_id,
        "number": number,
        "recipient": _text(request.get("to")),
        "business": business,
        "category": _text(request.get("category")),
        "purpose": _text(request.get("purpose")),
        "priority": _text(request.get("priority")),
        "campaign": _text(request.get("campaign")),
        "attempt": attempt,
        "message_id": message_id,
        "wa_id": wa_id,
        "reason": reason,
        "detail": detail[:MAX_DETAIL_CHARS] if detail else None,
        "retryable": REASONS[reason].retryable if reason else None,
        "http_status": http_status,
        "error_code": error_code,
        "due_at": rfc3339(due_at_ms) if due_at_ms is not None else None,
        "queue_ms": queue_ms,
        "api_ms": api_ms,
        "consent": consent,
        "source": {"topic": source["topic"], "partition": source["partition"], "offset": source["offset"]},
        "metadata": _texts(request.get("metadata")),
    }


def log_fields(event: Mapping[str, Any], trace: bytes | None = None, *, wait_ms: int | None = None) -> dict[str, Any]:
    """What the log says of an end, in one line per request; the person is masked.

    Args:
        event: A terminal event, ours or what an earlier release left on the ledger.
        trace: W3C trace context of the message, if it has one: the line is found by its trace then.
        wait_ms: How long it waited, if the event does not tell: one that was never sent.
    """
    queue_ms = event.get("queue_ms")
    return {
        "number": event.get("number"),
        "request_id": event.get("request_id"),
        "recipient": masked(event.get("recipient")),
        "category": event.get("category"),
        "priority": event.get("priority"),
        "outcome": event.get("type"),
        "reason": event.get("reason"),
        "error_code": event.get("error_code"),
        "http_status": event.get("http_status"),
        "attempt": event.get("attempt"),
        "wamid": event.get("message_id"),
        "wait_ms": queue_ms if queue_ms is not None else wait_ms,
        "duration_ms": event.get("api_ms"),
        "trace_id": trace[3:35].decode() if trace is not None else None,
    }


def undelivered_event(
    inbound: Mapping[str, Any],
    *,
    at: str,
    recipient: str | None,
    business: str,
    error_code: int | None,
    detail: str | None,
) -> dict[str, Any]:
    """Build the `undelivered` event of a status `failed`: a follow-up on an accepted message, told by the gate.

    All of it is a function of the status, so that one that is read again, or delivered again, is the same event. What
    the request said is not known here: `request_id` is null where the API echoes no callback data (v1), and then
    `message_id` joins it with the `accepted` event.

    Args:
        inbound: The inbound-event/1 of the status.
        at: When WhatsApp said so, RFC 3339.
    """
    reason = "api_async"
    event: dict[str, Any] = dict.fromkeys(OutboundEvent.model_fields)
    event.update(
        event_id=stable_id("undelivered", inbound["event_id"]),
        type="undelivered",
        terminal=False,
        at=at,
        stage=REASONS[reason].stage,
        request_id=_text(inbound.get("request_id")),
        number=inbound["number"],
        recipient=recipient,
        business=business,
        attempt=inbound.get("attempt"),
        message_id=_text(inbound.get("message_id")),
        reason=reason,
        detail=detail[:MAX_DETAIL_CHARS] if detail else None,
        retryable=REASONS[reason].retryable,
        error_code=error_code,
        metadata={},
    )
    return event


def _text(value: Any) -> str | None:
    """What an invalid request holds in place of a text is not copied."""
    return value if isinstance(value, str) else None


def _texts(value: Any) -> dict[str, str]:
    return {name: text for name, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
