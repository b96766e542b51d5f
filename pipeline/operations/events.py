"""Choosing among what topics tell of messages, for whoever looks on. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pipeline.operations.reading import Row, decoded
from pipeline.operations.timeline import Origin, Step, step_of
from pipeline.records.reasons import TYPES

OUTBOUND: Final = "outbound-events"
INBOUND: Final = "inbound-events"
INBOUND_KINDS: Final = ("sent", "delivered", "read", "message", "preference")
KINDS: Final[tuple[str, ...]] = (*TYPES, *INBOUND_KINDS)
"""What a step can be called that a message's way is told by; `failed` is an end, and a status, too."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are meant; None or empty: any.

    Attributes:
        kinds: Of `KINDS`.
    """

    kinds: Collection[str] = ()
    number: str | None = None
    campaign: str | None = None
    request_id: str | None = None

    def fits(self, step: Step) -> bool:
        """Whether an event is one of them."""
        number, request_id = step.request
        asked = (self.number, self.campaign, self.request_id)
        found = (number, step.event.get("campaign"), request_id)
        is_kind = not self.kinds or step.kind in self.kinds
        return is_kind and all(one is None or one == other for one, other in zip(asked, found, strict=True))

    def topics(self, *, has_inbound: bool) -> list[str]:
        """Topics that can hold one of them.

        Args:
            has_inbound: Whether what came by webhooks is meant, too.
        """
        needs_inbound = has_inbound or any(kind in INBOUND_KINDS for kind in self.kinds)
        needs_outbound = not self.kinds or any(kind in TYPES for kind in self.kinds)
        return [OUTBOUND] * needs_outbound + [INBOUND] * needs_inbound


def step_at(row: Row) -> Step | None:
    """The event of a record of these topics; None: it holds none."""
    event = decoded(row)
    if event is None:
        return None
    origin: Origin = "inbound" if row.topic == INBOUND else "outbound"
    return step_of(origin, event, row.timestamp_ms, f"{row.topic}[{row.partition}]@{row.offset}")
