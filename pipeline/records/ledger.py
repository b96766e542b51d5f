"""ledger/1: what the owner of a lane did, on `send-ledger`, in the order it did it. Internal to the sender.

`opened` → [`attempt` → (`void` | `returned`)]* → `attempt` → `settled`; the rules are in `sender/ledger_state.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pipeline.records.codec import Record
from pipeline.records.ready import Source

SCHEMA = "ledger/1"
Basis = Literal["answer", "evidence", "policy", "check"]


class Place(Record):
    """Where the owner consumed the message from."""

    topic: str
    partition: int
    offset: int


class LedgerRecord(Record):
    """The wire form, for the schema. `opened` carries only kind, generation and owner."""

    kind: Literal["opened", "attempt", "void", "returned", "settled"]
    generation: int
    owner: str | None = None
    request_id: str | None = None
    attempt: int | None = None
    recipient: str | None = None
    priority: str | None = None
    source: Source | None = None
    place: Place | None = None
    digest: str | None = None
    reason: str | None = None
    outcome: str | None = None
    basis: Basis | None = None
    message_id: str | None = None
    event: dict[str, Any] | None = None
    spent: int | None = None
    age_ms: int | None = None


def ledger_record(
    kind: str,
    generation: int,
    *,
    request_id: str | None = None,
    attempt: int | None = None,
    recipient: str | None = None,
    priority: str | None = None,
    source: Mapping[str, Any] | None = None,
    place: tuple[str, int, int] | None = None,
    digest: str | None = None,
    reason: str | None = None,
    outcome: str | None = None,
    basis: Basis | None = None,
    message_id: str | None = None,
    event: Mapping[str, Any] | None = None,
    owner: str | None = None,
    spent: int | None = None,
    age_ms: int | None = None,
) -> dict[str, Any]:
    """Build a ledger record with every field.

    Args:
        kind: `opened`, `attempt`, `void`, `returned` or `settled`.
        generation: Of the consumer group, with which the writer got the lane.
        digest: Short hash of the message's body; tells a conflict from a duplicate.
        event: Of `settled`: the whole terminal event, so that any later owner can write it again unchanged.
        spent: Of `returned` and `attempt`: attempts that count against `max_attempts`, this one included.
        age_ms: Of `attempt`: how old it may be when its request is written.
    """
    return {
        "kind": kind,
        "generation": generation,
        "owner": owner,
        "request_id": request_id,
        "attempt": attempt,
        "recipient": recipient,
        "priority": priority,
        "source": source,
        "place": {"topic": place[0], "partition": place[1], "offset": place[2]} if place else None,
        "digest": digest,
        "reason": reason,
        "outcome": outcome,
        "basis": basis,
        "message_id": message_id,
        "event": event,
        "spent": spent,
        "age_ms": age_ms,
    }
