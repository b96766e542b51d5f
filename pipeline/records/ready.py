"""ready/1: an admitted request on `ready-*`, and its durable copies on `delayed-retry*`. Internal to gate and sender.

The sender parses these without pydantic: they are ours, one is read per message, and `parse_ready` checks what it uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.errors import ContractError
from pipeline.records.canonical import canonical
from pipeline.records.codec import Record, TimeMs
from pipeline.records.outbound import ConsentBasis
from pipeline.records.request import PRIORITIES

SCHEMA = "ready/1"
ValidCause = Literal["expired", "consent_expired", "window_closed"]
VALID_CAUSES: tuple[ValidCause, ...] = get_args(ValidCause)


class Source(Record):
    """Identity and order of a request: the record of `outbound-requests*` that it came with first."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Ready(Record):
    """The wire form, for the schema."""

    request: dict[str, Any]
    source: Source
    business: str
    lane: str
    priority: Literal["urgent", "normal", "bulk"]
    judged_at: TimeMs
    expires_at: TimeMs
    valid_until: TimeMs
    valid_cause: ValidCause
    consent: ConsentBasis | None
    attempt: int
    spent: int
    unknown: bool
    replay: bool
    due_at: TimeMs | None
    reason: str | None
    hops: int
    via_gate: bool
    person: str | None = None
    aliases: list[str] = Field(default_factory=list)
    heard_ms: int | None = Field(
        default=None, description="Broker time up to which consent updates were merged when it was judged."
    )


FIELDS = frozenset(name for name, field in Ready.model_fields.items() if field.is_required())
"""Fields that every release writes."""


class ReadyMessage(NamedTuple):
    """A ready record in memory; a tuple, as a frozen dataclass of so many fields takes 5 µs to make instead of 1.

    Attributes:
        record: The parsed record, as it will be written again.
        source: (topic, partition, offset) of the first source record.
        source_ms: Broker time of that record, milliseconds.
        attempt: Number of the last attempt so far; 0: none.
        spent: Attempts that count against `max_attempts`.
        unknown: Whether an attempt of it never got an outcome.
        due_ms: Not sent before, by the host's clock; None: at once.
        hops: Copies made so far while the message was waiting in memory.
        via_gate: Whether it goes back through the gate when due.
        recipient: The person: the id that order, limits and opt-outs are kept by; `to` is what upstream wrote.
        aliases: Other ids of the person, as known when the message was judged: their opt-outs count, too.
    """

    record: dict[str, Any]
    request_id: str
    recipient: str
    category: str
    priority: str
    lane: str
    source: tuple[str, int, int]
    source_ms: int
    judged_ms: int
    valid_until_ms: int
    expires_ms: int
    attempt: int
    spent: int
    unknown: bool
    replay: bool
    due_ms: int | None
    hops: int
    via_gate: bool
    aliases: tuple[str, ...] = ()

    @property
    def to(self) -> str:
        """The recipient as upstream wrote it: whom the request names."""
        to: str = self.record["request"]["to"]
        return to


def ready_record(
    request: Mapping[str, Any],
    source: Mapping[str, Any],
    *,
    business: str,
    lane: str,
    priority: str,
    judged_ms: int,
    expires_ms: int,
    valid_until_ms: int,
    valid_cause: str,
    consent: Mapping[str, Any] | None,
    attempt: int = 0,
    spent: int = 0,
    unknown: bool = False,
    replay: bool = False,
    due_ms: int | None = None,
    reason: str | None = None,
    via_gate: bool = False,
    person: str | None = None,
    aliases: Sequence[str] = (),
    heard_ms: int | None = None,
) -> dict[str, Any]:
    """Build what the gate writes for an admitted request.

    Args:
        person: Whom `to` is an id of; None: `to` itself.
        aliases: Other ids of the person.
    """
    return {
        "request": request,
        "source": source,
        "business": business,
        "lane": lane,
        "priority": priority,
        "judged_at": rfc3339(judged_ms),
        "expires_at": rfc3339(expires_ms),
        "valid_until": rfc3339(valid_until_ms),
        "valid_cause": valid_cause,
        "consent": consent,
        "attempt": attempt,
        "spent": spent,
        "unknown": unknown,
        "replay": replay,
        "due_at": rfc3339(due_ms) if due_ms is not None else None,
        "reason": reason,
        "hops": 0,
        "via_gate": via_gate,
        "person": person,
        "aliases": list(aliases),
        "heard_ms": heard_ms,
    }


def copy_of(
    message: ReadyMessage, *, due_ms: int, reason: str, attempt: int, spent: int, unknown: bool, hops: int,
    via_gate: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Build the durable copy of a message that has to wait."""
    return {
        **message.record,
        "attempt": attempt,
        "spent": spent,
        "unknown": unknown,
        "due_at": rfc3339(due_ms),
        "reason": reason,
        "hops": hops,
        "via_gate": via_gate,
    }


def parse_ready(record: dict[str, Any]) -> ReadyMessage:
    """Take a parsed ready record apart.

    Raises:
        ContractError: a field that the sender needs is missing or of another type.
    """
    try:
        request, source, due = record["request"], record["source"], record["due_at"]
        message = ReadyMessage(
            record,
            request["request_id"],
            record.get("person") or canonical(request["to"]),
            request["category"],
            record["priority"],
            record["lane"],
            (source["topic"], source["partition"], source["offset"]),
            source["timestamp_ms"],
            parse_rfc3339_ms(record["judged_at"]),
            parse_rfc3339_ms(record["valid_until"]),
            parse_rfc3339_ms(record["expires_at"]),
            record["attempt"],
            record["spent"],
            record["unknown"],
            record["replay"],
            parse_rfc3339_ms(due) if due is not None else None,
            record["hops"],
            record["via_gate"],
            tuple(record.get("aliases") or ()),
        )
        message_type = request["message"]["type"]
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ContractError([f"ready record: {type(exc).__name__}: {exc}"]) from exc
    texts = (
        message.request_id, message.recipient, message.to, message.category, message.lane, message.source[0],
        message_type, *message.aliases,
    )  # fmt: skip
    numbers = (*message.source[1:], message.source_ms, message.attempt, message.spent, message.hops)
    flags = (message.unknown, message.replay, message.via_gate)
    if (
        not record.keys() >= FIELDS
        or type(record["business"]) is not str
        or record["valid_cause"] not in VALID_CAUSES
        or not _is_basis(record["consent"])
        or message.priority not in PRIORITIES
        or {*map(type, texts)} != {str}
        or {*map(type, numbers)} != {int}
        or {*map(type, flags)} != {bool}
        or type(record.get("heard_ms", 0)) not in (int, NoneType)
    ):
        raise ContractError(["ready record: a field is missing or not of its type"])
    return message


def _is_basis(consent: Any) -> bool:
    """Whether it is what a judgement may rest on: an entry with its time, or (for service messages) nothing."""
    if consent is None:
        return True
    try:
        return isinstance(consent, dict) and parse_rfc3339_ms(consent["at"]) >= 0
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        return False
