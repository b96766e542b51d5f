"""Counters and buckets per sender and endpoint. Runs on the simulator's loop; clock readings come in."""

from __future__ import annotations

from collections import Counter

from pipeline.simulator.limits import NS_PER_S, Envelope, Limit, TokenBucket
from pipeline.simulator.parts import Profile

# Senders come out of paths and headers that anybody may invent: what is beyond shares one meter.
METERS_MAX = 10_000
OVERFLOW = "(others)"


class Meter:
    """One sender at one endpoint: its bucket, its envelope, what was answered."""

    __slots__ = ("accepted", "bucket", "envelope", "first_ns", "last_ns", "profile", "refused", "requests")

    def __init__(self, profile: Profile, limit: Limit, now_ns: int) -> None:
        """Start with a full bucket at `now_ns`."""
        self.profile: Profile = profile
        self.bucket = TokenBucket(limit, now_ns)
        self.envelope = Envelope(limit, now_ns)
        self.requests = 0
        self.accepted = 0
        self.refused: Counter[int] = Counter()
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    def arrive(self, now_ns: int) -> None:
        """Count an arrival."""
        self.requests += 1
        self.envelope.arrive(now_ns)
        if self.first_ns is None:
            self.first_ns = now_ns
        self.last_ns = now_ns

    def settle(self, status: int, *, accepted: bool) -> None:
        """Count what became of it; `status` 0 = no answer."""
        if accepted:
            self.accepted += 1
        else:
            self.refused[status] += 1

    def relimit(self, limit: Limit, now_ns: int) -> None:
        """Go on with another limit."""
        self.bucket.relimit(limit, now_ns)
        self.envelope.relimit(limit, now_ns)

    def snapshot(self) -> dict[str, object]:
        """The counters as plain values; `utilisation` = accepted / (burst + rate·(last − first))."""
        limit = self.envelope.limit
        utilisation: float | None = None
        if self.first_ns is not None and self.last_ns is not None:
            elapsed_s = (self.last_ns - self.first_ns) / NS_PER_S
            utilisation = self.accepted / (limit.burst + limit.rate_per_s * elapsed_s)
        return {
            "profile": self.profile,
            "rate_per_s": limit.rate_per_s,
            "burst": limit.burst,
            "requests": self.requests,
            "accepted": self.accepted,
            "refused": {str(status): count for status, count in sorted(self.refused.items())},
            "excess": self.envelope.excess,
            "utilisation": utilisation,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
        }


class Meters:
    """A bounded table of meters by name, in the order in which they came up."""

    def __init__(self, meters_max: int = METERS_MAX) -> None:
        """Hold at most `meters_max` meters of their own and one for all the others."""
        self._meters_max = meters_max
        self._meters: dict[str, Meter] = {}

    def get(self, name: str) -> Meter | None:
        """The meter of that name, the shared one when the table is full, None if it must be made."""
        meter = self._meters.get(name)
        if meter is None and len(self._meters) >= self._meters_max:
            return self._meters.get(OVERFLOW)
        return meter

    def add(self, name: str, meter: Meter) -> Meter:
        """Keep a new meter under `name`, or as the shared one when the table is full."""
        self._meters[name if len(self._meters) < self._meters_max else OVERFLOW] = meter
        return meter

    def named(self) -> list[tuple[str, Meter]]:
        """All of them with their names."""
        return list(self._meters.items())

    def clear(self) -> None:
        """Forget all."""
        self._meters.clear()

    def snapshot(self) -> dict[str, dict[str, object]]:
        """Every meter as plain values."""
        return {name: meter.snapshot() for name, meter in self._meters.items()}
