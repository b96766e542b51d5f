"""`topics:recipients/layout` on `account-state`: over how many partitions people are spread, and what is changed there.

Written by `wapipe topics scale`, which journals its steps here, so that it can be killed at any of them; followed by
every gate, which stands still while the layout is not open. Without a record it is as the topics have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import Field

from pipeline.clock import rfc3339
from pipeline.records.codec import Record, TimeMs, check

KEY: Final = "topics:recipients/layout"
MOVED_HEADER: Final = "wapipe-moved"
"""On a tombstone: the person's record has not ended, it stands on another partition from now on."""

SETTLE_MS: Final = 600_000
"""Producers look for new partitions every 5 min by default (Java: metadata.max.age.ms, librdkafka:
topic.metadata.refresh.interval.ms): twice that."""

Step = Literal["open", "pause", "move"]


class LayoutState(Record):
    """`topics:recipients/layout`: the partitions that people are spread over; gates run while `step` is `open`."""

    kind: Literal["topics"]
    id: Literal["recipients"]
    aspect: Literal["layout"]
    partitions: int = Field(ge=1, description="Partitions that people's records are on.")
    target: int | None = Field(description="Partitions that they are being moved to; null: nothing is changed.")
    step: Step
    moved: list[str] = Field(description="Tables of which everything is moved by now.")
    earlier: list[int] = Field(description="Counts of before, oldest first: what was appended then stands there.")
    settling_until: TimeMs | None = Field(description="Until then some producers may know the count of before only.")
    run: str | None = Field(description="The command that is at work; another one has taken over if it changes.")
    at: TimeMs
    by: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The same in memory; see `LayoutState`."""

    partitions: int
    target: int | None = None
    step: Step = "open"
    moved: tuple[str, ...] = ()
    earlier: tuple[int, ...] = ()
    settling_until_ms: int | None = None
    run: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether gates may run."""
        return self.step == "open"

    @property
    def counts(self) -> tuple[int, ...]:
        """Every count that records may be spread by, the present one last."""
        return (*self.earlier, *((self.target,) if self.target is not None else ()), self.partitions)

    def record(self, now_ms: int, by: str) -> dict[str, Any]:
        """What is written to the topic."""
        until_ms = self.settling_until_ms
        return {
            "kind": "topics", "id": "recipients", "aspect": "layout", "partitions": self.partitions,
            "target": self.target, "step": self.step, "moved": list(self.moved), "earlier": list(self.earlier),
            "settling_until": rfc3339(until_ms) if until_ms is not None else None, "run": self.run,
            "at": rfc3339(now_ms), "by": by,
        }  # fmt: skip


def parse_layout(value: Mapping[str, Any] | None) -> Layout | None:
    """Read a layout; None: there is none.

    Raises:
        ContractError: it is not one.
    """
    if value is None:
        return None
    state = check(LayoutState, value)
    return Layout(
        state.partitions, state.target, state.step, tuple(state.moved), tuple(state.earlier), state.settling_until,
        state.run,
    )  # fmt: skip
