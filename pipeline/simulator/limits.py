"""Limits as the API counts them: a token bucket that refuses, an envelope that only measures.

Pure: the caller passes a reading of a monotonic clock in nanoseconds that never goes back. All levels are integers, so
no rounding ever lets one request too many through. Runs on the simulator's loop. This is the referee of the pipeline's
own limiter and shares no code with it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

NS_PER_S = 1_000_000_000
# A rate is kept in micro-tokens per second; times nanoseconds that makes 10^15 units to a token.
UNITS_PER_TOKEN = 10**15
PAIRS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate and a burst.

    Attributes:
        rate_per_s: Tokens that come back per second, > 0, exact to a millionth.
        burst: Tokens that a full bucket holds, ≥ 1.
        refill_per_ns: The rate in units per nanosecond.
        capacity: The burst in units.
    """

    rate_per_s: float
    burst: int
    refill_per_ns: int = field(init=False)
    capacity: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refill_per_ns", max(1, round(self.rate_per_s * 1_000_000)))
        object.__setattr__(self, "capacity", self.burst * UNITS_PER_TOKEN)


class TokenBucket:
    """A bucket that starts full and refills continuously; a refused request takes nothing."""

    __slots__ = ("_last_ns", "_level", "limit")

    def __init__(self, limit: Limit, now_ns: int) -> None:
        """Start full at `now_ns`."""
        self.limit = limit
        self._level = limit.capacity
        self._last_ns = now_ns

    def has_token(self, now_ns: int) -> bool:
        """Refill up to `now_ns`, then say whether a whole token is there."""
        elapsed_ns = now_ns - self._last_ns
        self._level = min(self.limit.capacity, self._level + elapsed_ns * self.limit.refill_per_ns)
        self._last_ns = now_ns
        return self._level >= UNITS_PER_TOKEN

    def take(self, now_ns: int) -> bool:
        """Take one token at `now_ns` if there is one; say whether it was taken."""
        if not self.has_token(now_ns):
            return False
        self._level -= UNITS_PER_TOKEN
        return True

    def wait_ns(self, now_ns: int) -> int:
        """Nanoseconds from `now_ns` until a whole token is there; 0 = it is there."""
        if self.has_token(now_ns):
            return 0
        return -(-(UNITS_PER_TOKEN - self._level) // self.limit.refill_per_ns)

    def is_full(self, now_ns: int) -> bool:
        """Whether nothing of the burst is in use at `now_ns`."""
        self.has_token(now_ns)
        return self._level == self.limit.capacity

    def relimit(self, limit: Limit, now_ns: int) -> None:
        """Go on with another limit; what is in the bucket stays, cut to the new burst."""
        self.has_token(now_ns)
        self.limit = limit
        self._level = min(self._level, limit.capacity)


class Envelope:
    """How far arrivals went beyond rate·t + burst in their worst interval, whatever was answered.

    A bill that every arrival raises by one and time lowers at the rate, never below zero: its highest level less the
    burst is the maximum over all intervals of arrivals − (burst + rate·t).
    """

    __slots__ = ("_bill", "_excess", "_last_ns", "limit")

    def __init__(self, limit: Limit, now_ns: int) -> None:
        """Start with nothing on the bill at `now_ns`."""
        self.limit = limit
        self._bill = 0
        self._excess: int | None = None
        self._last_ns = now_ns

    def arrive(self, now_ns: int) -> None:
        """Count one arrival at `now_ns`."""
        drained = self._bill - (now_ns - self._last_ns) * self.limit.refill_per_ns
        self._bill = max(0, drained) + UNITS_PER_TOKEN
        self._last_ns = now_ns
        above = self._bill - self.limit.capacity
        if self._excess is None or above > self._excess:
            self._excess = above

    def relimit(self, limit: Limit, now_ns: int) -> None:
        """Measure against another limit from `now_ns` on; the worst so far is kept."""
        self._bill = max(0, self._bill - (now_ns - self._last_ns) * self.limit.refill_per_ns)
        self._last_ns = now_ns
        self.limit = limit

    @property
    def excess(self) -> float | None:
        """Requests beyond the envelope in the worst interval; ≤ 0 = within; None before the first arrival."""
        return None if self._excess is None else self._excess / UNITS_PER_TOKEN


class PairLimit:
    """One bucket per (sender, recipient), as the Cloud API has it; bounded, the longest unused are forgotten first."""

    __slots__ = ("_buckets", "_pairs_max", "limit")

    def __init__(self, limit: Limit, pairs_max: int = PAIRS_MAX) -> None:
        """Keep at most `pairs_max` buckets of `limit`."""
        self.limit = limit
        self._pairs_max = pairs_max
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()

    def has_token(self, sender: str, to: str, now_ns: int) -> bool:
        """Whether `sender` may write to `to` at `now_ns`; takes nothing."""
        bucket = self._buckets.get((sender, to))
        return bucket is None or bucket.has_token(now_ns)

    def take(self, sender: str, to: str, now_ns: int) -> None:
        """Take a token of the pair, after `has_token` said that there is one."""
        bucket = self._buckets.get((sender, to))
        if bucket is None:
            bucket = self._buckets[sender, to] = TokenBucket(self.limit, now_ns)
        bucket.take(now_ns)
        self._buckets.move_to_end((sender, to))
        while len(self._buckets) > self._pairs_max or self._oldest_is_full(now_ns):
            self._buckets.popitem(last=False)

    def _oldest_is_full(self, now_ns: int) -> bool:
        oldest = next(iter(self._buckets.values()), None)
        return oldest is not None and oldest.is_full(now_ns)

    def __len__(self) -> int:
        return len(self._buckets)


class FixedWindow:
    """So many in each window that begins on a multiple of its length in Unix time, as Turn.io counts."""

    __slots__ = ("_begin_s", "_used", "requests", "window_s")

    def __init__(self, requests: int, window_s: int) -> None:
        """Nothing is used yet."""
        self.requests = requests
        self.window_s = window_s
        self._begin_s = 0
        self._used = 0

    def take(self, wall_s: float) -> bool:
        """Use one of the window that Unix time `wall_s` is in, if one is left; say whether one was."""
        begin_s = int(wall_s) // self.window_s * self.window_s
        if begin_s != self._begin_s:
            self._begin_s, self._used = begin_s, 0
        if self._used >= self.requests:
            return False
        self._used += 1
        return True

    @property
    def remaining(self) -> int:
        """How many are left in the window of the last `take`."""
        return self.requests - self._used

    @property
    def reset_s(self) -> int:
        """Unix second at which that window ends."""
        return self._begin_s + self.window_s
