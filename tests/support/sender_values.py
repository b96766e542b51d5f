"""Values for tests of the sender: ready messages, ledger records, answers."""

from __future__ import annotations

from typing import Any

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.records.ledger import ledger_record
from pipeline.records.ready import ReadyMessage, copy_of, parse_ready, ready_record
from pipeline.sender.jobs import Job

NUMBER, ADA, BOB = "200000000000001", "15550109999", "15550108888"
LANE = f"{NUMBER}#0"
NOW_MS = parse_rfc3339_ms("2026-11-22T10:00:00.000Z")
GRANTED_MS = parse_rfc3339_ms("2026-11-20T08:00:00.000Z")


def source(offset: int = 0, topic: str = "outbound-requests", partition: int = 3) -> dict[str, Any]:
    """A source record's identity."""
    return {"topic": topic, "partition": partition, "offset": offset, "timestamp_ms": NOW_MS}


def message(
    request_id: str = "r-1",
    offset: int = 0,
    *,
    recipient: str = ADA,
    priority: str = "normal",
    topic: str = "outbound-requests",
    category: str = "utility",
    purpose: str | None = None,
    granted_ms: int | None = GRANTED_MS,
    **fields: Any,
) -> ReadyMessage:
    """A ready message as the intake parses it."""
    consent = None
    if granted_ms is not None:
        consent = {
            "update_id": "u",
            "status": "granted",
            "at": rfc3339(granted_ms),
            "method": "checkbox",
            "source": "x",
        }
    request = {
        "request_id": request_id, "from": NUMBER, "to": recipient, "category": category, "purpose": purpose,
        "message": {"type": "text", "text": {"body": "hello"}}, "metadata": {},
    }  # fmt: skip
    values: dict[str, Any] = {
        "business": "acme", "lane": LANE, "priority": priority, "judged_ms": NOW_MS, "expires_ms": NOW_MS + 3_600_000,
        "valid_until_ms": NOW_MS + 3_600_000, "valid_cause": "expired", "consent": consent, **fields,
    }  # fmt: skip
    return parse_ready(ready_record(request, source(offset, topic), **values))


def copy(original: ReadyMessage, **fields: Any) -> ReadyMessage:
    """A durable copy of it."""
    values: dict[str, Any] = {
        "due_ms": NOW_MS, "reason": "throttled", "attempt": 1, "spent": 0, "unknown": False, "hops": 0, **fields,
    }  # fmt: skip
    return parse_ready(copy_of(original, **values))


def job(request_id: str = "r-1", offset: int = 0, priority: int = 1, **fields: Any) -> Job:
    """A job around a message."""
    return Job(message(request_id, offset, **fields), priority)


def record(
    kind: str, generation: int, request_id: str | None = "r-1", attempt: int | None = 1, **fields: Any
) -> dict[str, Any]:
    """A ledger record; its source offset is 0 unless said otherwise."""
    values: dict[str, Any] = {"recipient": ADA, "priority": "normal", "source": source(), "spent": 0, "digest": "d"}
    if kind == "opened":
        return ledger_record("opened", generation, owner="o")
    if kind == "settled":
        values.update(
            outcome="accepted", basis="answer", message_id=f"wamid.{request_id}.{attempt}", event={"type": "accepted"}
        )
    values.update(fields)
    return ledger_record(kind, generation, request_id=request_id, attempt=attempt, **values)
