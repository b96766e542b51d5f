"""The pair limit: how often one number may write to one recipient (cloud: one message per 6 s, burst 45; code 131056).

One theoretical arrival time per recipient, kept only while that recipient's bucket is not full: a full bucket and an
unknown recipient are the same thing. Touched only on the event loop of the process which owns the lane.

Memory is bounded by `capacity` recipients. Beyond it, the recipients that find no room share one bucket, so the limit
holds for each of them; they wait longer than they must, and nothing is forgotten early.
"""

import math
from collections import deque
from collections.abc import Iterable

from pipeline.throttle.bucket import seconds_until

CAPACITY_RECIPIENTS = 200_000
"""Recipients whose bucket is not full. At 80 messages/s and 270 s to refill from empty they are at most 21,600."""

_SWEPT_PER_CALL = 2
"""Recipients looked at per call: more than the one that a call can add, so that full ones leave faster than new ones
come."""

_ROUNDING = 1e-6
"""Leniency of one decision, in emission intervals: float rounding must not cost a send; it never adds up."""


class PairBuckets:
    """The pair buckets of one number's lane, all with the same limit."""

    __slots__ = ("_burst", "_capacity", "_every_s", "_others_tat_s", "_queue", "_tat_s", "_tolerance_s")

    def __init__(self, every_s: float, burst: int, capacity: int = CAPACITY_RECIPIENTS) -> None:
        """Start with every recipient's bucket full.

        Args:
            every_s: Emission interval: seconds per message to one recipient in the long run, finite, > 0.
            burst: Messages that may go to one recipient at one instant after a rest, ≥ 1.
            capacity: Recipients to remember at most, ≥ 1.

        Raises:
            ValueError: An argument is outside its range.
        """
        if not (math.isfinite(every_s) and every_s > 0):
            raise ValueError(f"every_s must be a finite number above 0, not {every_s}")
        if burst < 1 or capacity < 1:
            raise ValueError(f"burst and capacity must be at least 1, not {burst} and {capacity}")
        self._every_s = every_s
        self._burst = burst
        self._capacity = capacity
        self._tolerance_s = (burst - 1 + _ROUNDING) * every_s
        self._tat_s: dict[str, float] = {}
        # Every key of `_tat_s` once, in the order in which the sweep looks at them.
        self._queue: deque[str] = deque()
        # The one bucket of all who found no room. An unknown recipient may be one of them until it is full again.
        self._others_tat_s = -math.inf

    def __len__(self) -> int:
        """Give the number of recipients remembered, at most `capacity`."""
        return len(self._tat_s)

    def wait_s(self, recipient: str, now_s: float) -> float:
        """Give the seconds until a message may go to this recipient; 0.0 if it may now.

        Args:
            recipient: Digits of the recipient's number.
            now_s: The clock's reading, seconds.
        """
        if len(self._tat_s) >= self._capacity:
            self._sweep(now_s)
        return seconds_until(self._tat_of(recipient) - self._tolerance_s, now_s)

    def take(self, recipient: str, now_s: float) -> None:
        """Spend one message of this recipient: the request is being written.

        Raises:
            ValueError: It does not conform; the caller has not asked `wait_s`. Nothing was spent.
        """
        tat_s = self._tat_of(recipient)
        if tat_s - self._tolerance_s > now_s:
            raise ValueError("pair limit: a send must ask wait_s() before it takes")
        self._sweep(now_s)
        self._remember(recipient, max(tat_s, now_s) + self._every_s)

    def seed(self, recipient: str, attempt_times_s: Iterable[float], now_s: float) -> None:
        """Account for what the lane's earlier owners sent to this recipient.

        Args:
            recipient: Digits of the recipient's number.
            attempt_times_s: When they did, in any order, seconds on the clock of `now_s`; one in the future (two clocks
                differ) counts as now. Those older than burst · every_s have no effect and may be left out.
            now_s: The clock's reading, seconds.

        Note:
            Attempts beyond the burst leave the bucket empty, not in debt: the API refused them.
        """
        tat_s = self._tat_of(recipient)
        for attempt_s in sorted(attempt_times_s):
            tat_s = max(tat_s, min(attempt_s, now_s)) + self._every_s
        tat_s = min(tat_s, now_s + self._burst * self._every_s)
        self._sweep(now_s)
        if tat_s > now_s:
            self._remember(recipient, tat_s)

    def _tat_of(self, recipient: str) -> float:
        """Give the recipient's theoretical arrival time, or that of all who found no room."""
        return self._tat_s.get(recipient, self._others_tat_s)

    def _remember(self, recipient: str, tat_s: float) -> None:
        if recipient not in self._tat_s:
            if len(self._tat_s) >= self._capacity:
                self._others_tat_s = max(self._others_tat_s, tat_s)
                return
            self._queue.append(recipient)
        self._tat_s[recipient] = tat_s

    def _sweep(self, now_s: float) -> None:
        """Look at the next few recipients in turn and forget those whose bucket is full again."""
        for _ in range(min(_SWEPT_PER_CALL, len(self._queue))):
            recipient = self._queue.popleft()
            if self._tat_s[recipient] <= now_s:
                del self._tat_s[recipient]
            else:
                self._queue.append(recipient)
