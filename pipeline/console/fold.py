"""What the events of a message come to: its state, and what it counts as in its campaign's funnel. Pure.

Any order of events, and any repetition, leads to the same state: a message reaches each stage once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.records.reasons import TERMINAL

QUEUED, ACCEPTED, SENT, DELIVERED, READ, UNDELIVERED = 1, 2, 4, 8, 16, 32
FUNNEL: Final = ("queued", "accepted", "delivered", "read")
SLOT_MS: Final = 10_000
"""A campaign's way over time is kept in steps of this length."""
_STATUSES: Final[Mapping[str, int]] = {"sent": SENT, "delivered": DELIVERED, "read": READ, "played": READ}
# What a later stage says of the earlier ones: who has read has been delivered to, whatever webhook was lost.
_IMPLIED: Final = {
    READ: READ | DELIVERED | SENT | ACCEPTED | QUEUED,
    DELIVERED: DELIVERED | SENT | ACCEPTED | QUEUED,
    SENT: SENT | ACCEPTED | QUEUED,
    ACCEPTED: ACCEPTED | QUEUED,
    QUEUED: QUEUED,
    UNDELIVERED: UNDELIVERED,
}
_SHARED: Final = ("business", "category", "priority", "campaign")


@dataclass(slots=True)
class Message:
    """One message: a row of the read model.

    Attributes:
        id: Ours; they ascend in the order in which messages were first heard of.
        person: Key of the recipient: all forms of one number have the same.
        recipient: As upstream wrote it; None: nobody said yet.
        stages: Bits of the stages that it reached.
        end: Type of its terminal event; None: it is open.
        reason: Of its end; of the last deferral while it is open.
        is_waiting: Whether the last that was heard of it is a deferral.
    """

    id: int
    number: str | None = None
    request_id: str | None = None
    person: str | None = None
    recipient: str | None = None
    business: str | None = None
    category: str | None = None
    priority: str | None = None
    campaign: str | None = None
    message_id: str | None = None
    stages: int = 0
    end: str | None = None
    reason: str | None = None
    is_waiting: bool = False
    first_ms: int = 0
    last_ms: int = 0

    @property
    def state(self) -> str:
        """One word for how it stands."""
        if self.stages & UNDELIVERED:
            return "undelivered"
        for bit, word in ((READ, "read"), (DELIVERED, "delivered"), (SENT, "sent")):
            if self.stages & bit and self.end in (None, "accepted"):
                return word
        if self.end is not None:
            return self.end
        return "deferred" if self.is_waiting else "queued"


def fold_outbound(message: Message, event: Mapping[str, Any], at_ms: int, person: str | None) -> None:
    """Take an outbound-event in.

    Args:
        person: Key of its recipient.
    """
    kind = event.get("type")
    _touch(message, at_ms)
    if kind == "duplicate":  # tells of another record with the same id
        return
    if message.recipient is None:
        message.recipient, message.person = event.get("recipient"), person
    for name in _SHARED:
        if getattr(message, name) is None:
            setattr(message, name, event.get(name))
    if message.message_id is None:
        message.message_id = event.get("message_id")
    if kind == "queued":
        message.stages |= QUEUED
    if kind == "undelivered":
        message.stages |= UNDELIVERED
    elif kind in TERMINAL:
        if message.end is None:  # the first one counts
            message.end, message.reason = str(kind), event.get("reason")
            message.stages |= _IMPLIED[ACCEPTED] if kind == "accepted" else 0
    elif message.end is None:
        message.is_waiting = kind == "deferred"
        message.reason = event.get("reason") if message.is_waiting else None


def fold_status(message: Message, event: Mapping[str, Any], at_ms: int) -> None:
    """Take a status webhook in."""
    _touch(message, at_ms)
    if message.message_id is None:
        message.message_id = event.get("message_id")
    bit = _STATUSES.get(str(event.get("status")))
    if bit is not None:
        message.stages |= _IMPLIED[bit]


def _touch(message: Message, at_ms: int) -> None:
    message.first_ms = min(message.first_ms or at_ms, at_ms)
    message.last_ms = max(message.last_ms, at_ms)


def counts_of(message: Message) -> frozenset[str]:
    """What a message counts as in its campaign: its funnel's stages, its end, and the reason of that."""
    found = {"all"}
    for name, bit in (("queued", QUEUED), ("accepted", ACCEPTED), ("delivered", DELIVERED), ("read", READ)):
        if message.stages & bit:
            found.add(name)
    if message.stages & UNDELIVERED:
        found.add("undelivered")
    if message.end is not None:
        found.add("ended")
        if message.end != "accepted":
            found.add(message.end)
        if message.reason is not None:
            found.add(f"reason:{message.reason}")
    return frozenset(found)
