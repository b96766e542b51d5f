"""Which of urgent, normal and bulk goes next, given who waits and what the lane's bucket holds.

Urgent before normal before bulk, with two corrections. Bulk leaves a reserve of tokens unspent, so that a one-time
code which arrives in the middle of a campaign finds a token. A second, small GCRA lets one message in twenty be a bulk
one whoever else waits, so that bulk moves even while the others fill the rate. Touched only on the event loop of the
process which owns the lane.
"""

import math

from pipeline.throttle.bucket import Bucket, Limit, seconds_until

PRIORITIES = ("urgent", "normal", "bulk")
"""The priorities of the contract, first served first. An index into it stands for a priority in this module."""

_URGENT, _NORMAL, _BULK = range(3)

RESERVE_OF_BURST = 0.1
RESERVE_S = 0.2
"""Bulk leaves a tenth of the burst or 0.2 s of the rate unspent, whichever is less, and at least one token."""

BULK_SHARE = 0.05
"""Part of the rate that bulk is sure of."""

_BULK_SHARE_CREDIT = 0.5
"""Sends of its share that bulk may catch up with: half of one makes up for a wake-up that came late, and does not let
bulk that comes up after a rest overtake twice."""


def bulk_reserve(limit: Limit) -> float:
    """Give the tokens that bulk leaves unspent under this limit.

    Returns:
        Tokens, ≥ 0; at most half of what the burst has beyond one send, so that bulk can always send and does not lose
        tokens to a bucket that is full before it wakes up. 0 for a burst of 1.
    """
    wanted = max(1.0, min(RESERVE_OF_BURST * limit.burst, RESERVE_S * limit.rate_per_s))
    return min(wanted, (limit.burst - 1.0) / 2.0)


class PriorityPolicy:
    """The order of service of one lane. Follows the limit of the bucket it is asked about."""

    __slots__ = ("_limit", "_reserve", "_share_interval_s", "_share_tat_s")

    def __init__(self, limit: Limit) -> None:
        """Start with bulk's first guaranteed send due.

        Args:
            limit: The limit of the lane's bucket.
        """
        self._share_tat_s = -math.inf
        self._follow(limit)

    def choose(self, waiting: tuple[bool, bool, bool], bucket: Bucket, now_s: float, spoken_for: int) -> int | None:
        """Say which priority may send one message now.

        Args:
            waiting: For each of `PRIORITIES`, whether a message of it is ready to go.
            bucket: The lane's bucket.
            now_s: The clock's reading, seconds.
            spoken_for: Sends chosen before that have not taken their token yet, ≥ 0.

        Returns:
            An index into `PRIORITIES`, or None if nothing may go now.

        Note:
            Call `served` when the choice is acted on, before the next `choose`.
        """
        if bucket.limit is not self._limit:
            self._follow(bucket.limit)
        if not bucket.has(now_s, 0.0, spoken_for):
            return None
        urgent, normal, bulk = waiting
        if bulk and now_s >= self._share_tat_s:
            return _BULK
        if urgent:
            return _URGENT
        if normal:
            return _NORMAL
        if bulk and bucket.has(now_s, self._reserve, spoken_for):
            return _BULK
        return None

    def wait_s(self, waiting: tuple[bool, bool, bool], bucket: Bucket, now_s: float, spoken_for: int) -> float | None:
        """Give the seconds until `choose` with the same arguments names somebody; None if nobody waits.

        Note:
            As with `Bucket.wait_s`, more tokens than the burst are never there: with many sends spoken for, ask
            again once they have taken theirs.
        """
        if not any(waiting):
            return None
        if bucket.limit is not self._limit:
            self._follow(bucket.limit)
        token_s = bucket.wait_s(now_s, 0.0, spoken_for)
        if waiting[_URGENT] or waiting[_NORMAL]:
            return token_s
        share_s = max(token_s, seconds_until(self._share_tat_s, now_s))
        return min(share_s, bucket.wait_s(now_s, self._reserve, spoken_for))

    def served(self, index: int, now_s: float) -> None:
        """Note that a message of this priority is on its way.

        Args:
            index: What `choose` returned.
            now_s: The clock's reading, seconds.
        """
        if index != _BULK:
            return
        # What bulk sends within the ordinary order counts against its share, but never puts it into debt: after the
        # last of them it is sure of the next one an interval later.
        credit_s = _BULK_SHARE_CREDIT * self._share_interval_s
        earned_s = max(self._share_tat_s, now_s - credit_s) + self._share_interval_s
        self._share_tat_s = min(earned_s, now_s + self._share_interval_s)

    def _follow(self, limit: Limit) -> None:
        """Adopt a limit."""
        self._limit = limit
        self._reserve = bulk_reserve(limit)
        self._share_interval_s = 1.0 / (BULK_SHARE * limit.rate_per_s)
