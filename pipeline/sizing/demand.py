"""What is asked of the system: the input of a plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Self

DAY_S: Final = 86_400
STATUSES: Final = 3
"""Webhooks about one message: sent, delivered, read."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Messages, numbers and people.

    Attributes:
        numbers: Sending numbers.
        rate_per_s: Limit of each, messages per second.
        messages_per_day: Of all numbers together.
        recipients: People whose consent is kept.
        campaign: Messages that are written at once, for the drain time; None: a day's.
        urgent_share: Part of a day's messages that are one-time codes.
        inbound_share: Messages from people, per message sent.
        opt_out_share: Opt-outs, per message sent.
        unreachable_share: Part of the recipients that are not on WhatsApp.
        replication: Copies of each partition.
        load: Part of its measured capacity that a process, a broker or a disk is planned for, in (0, 1].
        latency_ms: What the API takes for an answer.
    """

    numbers: int
    rate_per_s: float
    messages_per_day: float
    recipients: float
    campaign: float | None = None
    urgent_share: float = 0.05
    inbound_share: float = 0.02
    opt_out_share: float = 0.0005
    unreachable_share: float = 0.002
    replication: int = 3
    load: float = 0.75
    latency_ms: float = 100.0

    def __post_init__(self) -> None:
        """Refuse what no plan can be made for.

        Raises:
            ValueError: a value is outside its range.
        """
        for name in ("numbers", "rate_per_s", "messages_per_day", "recipients", "replication", "latency_ms"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be above 0")
        for name in ("urgent_share", "inbound_share", "opt_out_share", "unreachable_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1")
        if not 0 < self.load <= 1:
            raise ValueError("load must be above 0 and at most 1")
        if self.messages_per_day > self.peak_per_s * DAY_S:
            raise ValueError(
                f"messages_per_day: {self.numbers:,} numbers at {self.rate_per_s:,g}/s send at most"
                f" {self.peak_per_s * DAY_S:,.0f} a day"
            )

    @property
    def peak_per_s(self) -> float:
        """Messages per second with every number at its limit."""
        return self.numbers * self.rate_per_s

    @property
    def webhooks_per_s(self) -> float:
        """Updates from WhatsApp per second at the peak: statuses and messages."""
        return self.peak_per_s * (STATUSES + self.inbound_share)

    @property
    def campaign_messages(self) -> float:
        """Messages of the campaign."""
        return self.messages_per_day if self.campaign is None else self.campaign

    def within_s(self, seconds: float) -> float:
        """The most messages that can go within so many seconds of a day."""
        return min(self.peak_per_s * seconds, self.messages_per_day * max(1.0, seconds / DAY_S))

    def scaled_to(self, numbers: int) -> Self:
        """The same demand per number, for another count of numbers."""
        part = numbers / self.numbers
        return replace(
            self,
            numbers=numbers,
            messages_per_day=self.messages_per_day * part,
            recipients=self.recipients * part,
            campaign=None if self.campaign is None else self.campaign * part,
        )
