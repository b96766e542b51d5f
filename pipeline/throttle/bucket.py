"""The token bucket of one lane: never above rate·t + burst in any interval.

A generic cell rate algorithm (GCRA). The state is the *theoretical arrival time*: the moment at which the bucket
will be full again if nobody sends. A send moves it on by one *emission interval* (1 / rate); a send conforms while
it is no further ahead of now than the *burst tolerance* ((burst - 1) / rate). Nothing is counted, and no timer
refills anything.

Touched only on the event loop of the process which owns the lane; the clock is passed in.
"""

import math
from dataclasses import dataclass

_ROUNDING_TOKENS = 1e-6
"""Leniency of one decision, in tokens: float rounding must not cost a send. It never adds up, because every send
moves the state by one whole emission interval."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate with a burst, as the API states it ("50 requests per second, bursts to 150").

    Attributes:
        rate_per_s: Sends per second in the long run; finite, > 0.
        burst: Sends that may go at one instant after a rest; finite, ≥ 1, need not be whole.
    """

    rate_per_s: float
    burst: float

    def __post_init__(self) -> None:
        """Refuse a limit nobody could send under.

        Raises:
            ValueError: The rate is not positive or the burst is below one, or either is not finite.
        """
        if not (math.isfinite(self.rate_per_s) and self.rate_per_s > 0):
            raise ValueError(f"rate_per_s must be a finite number above 0, not {self.rate_per_s}")
        if not (math.isfinite(self.burst) and self.burst >= 1):
            raise ValueError(f"burst must be a finite number of at least 1, not {self.burst}")

    def less_margin(self, jitter_s: float) -> "Limit":
        """Give the limit to obey so that requests delayed by up to `jitter_s` still arrive within this one.

        Requests leave evenly and arrive bunched: `jitter_s` seconds of them can arrive at one instant.

        Args:
            jitter_s: Token age limit plus the spread of the network's delay, seconds, ≥ 0.

        Returns:
            The same rate; the burst less rate · jitter (5 of 150 at 50/s with 0.1 s), at least 1.

        Raises:
            ValueError: jitter_s is negative or not a number.
        """
        if not jitter_s >= 0:
            raise ValueError(f"jitter_s must not be negative, not {jitter_s}")
        return Limit(self.rate_per_s, max(1.0, self.burst - self.rate_per_s * jitter_s))

    def shared(self, shards: int) -> "Limit":
        """Give one lane's part of a number that has `shards` lanes.

        Raises:
            ValueError: shards is below 1, or so many that a lane's burst would be below one send.
        """
        if shards < 1:
            raise ValueError(f"a number has at least one lane, not {shards}")
        if self.burst < shards:
            raise ValueError(f"a burst of {self.burst} is too small for {shards} lanes: each needs at least 1")
        return Limit(self.rate_per_s / shards, self.burst / shards)

    def scaled(self, factor: float) -> "Limit":
        """Give the slowed-down limit that a halt's `Open.factor` asks for.

        Args:
            factor: Part of rate and burst to use, in (0, 1].

        Raises:
            ValueError: factor is outside its range.
        """
        if not 0 < factor <= 1:
            raise ValueError(f"factor must be in (0, 1], not {factor}")
        return Limit(self.rate_per_s * factor, max(1.0, self.burst * factor))


def seconds_until(due_s: float, now_s: float) -> float:
    """Give the wait after which a clock that shows `now_s` shows `due_s` or later, float rounding included.

    Args:
        due_s: A moment on the caller's clock, seconds, ≥ 0 or in the past.
        now_s: The clock's reading, seconds, ≥ 0.

    Returns:
        Seconds; 0.0 if the moment has come; else `now_s + wait >= due_s` holds in floats, too.
    """
    if now_s >= due_s:
        return 0.0
    wait_s = due_s - now_s
    return wait_s if now_s + wait_s >= due_s else wait_s + math.ulp(due_s)


class Bucket:
    """The tokens of one lane: one float, moved by `take`.

    A reading of the clock older than the newest `take` or `set_limit` (a caller's bug) counts as that one where
    state changes and as fewer tokens elsewhere: it never makes a token.
    """

    __slots__ = ("_interval_s", "_limit", "_newest_s", "_tat_s", "_tolerance_s")
    _limit: Limit
    _interval_s: float
    _tolerance_s: float
    _tat_s: float

    def __init__(self, limit: Limit, *, tokens: float, now_s: float) -> None:
        """Open a bucket that holds `tokens` now.

        Args:
            limit: Rate and burst to keep to.
            tokens: Sends it may let go at once, ≥ 0; what exceeds the burst is cut off. Required on purpose: a
                bucket that starts full after a restart doubles the burst (see `inherited_tokens`).
            now_s: The clock's reading, seconds.

        Raises:
            ValueError: tokens is negative or not a number.
        """
        if not tokens >= 0:
            raise ValueError(f"tokens must not be negative, not {tokens}")
        self._newest_s = now_s
        self._fill(limit, tokens)

    @property
    def limit(self) -> Limit:
        """Rate and burst it keeps to at present."""
        return self._limit

    def tokens(self, now_s: float) -> float:
        """Give the sends that may go at once, 0 … burst; a fraction is a token in the making."""
        held = self._limit.burst - (self._tat_s - now_s) / self._interval_s
        return min(self._limit.burst, max(0.0, held))

    def has(self, now_s: float, reserve: float = 0.0, spoken_for: int = 0) -> bool:
        """Say whether one more send conforms.

        Args:
            now_s: The clock's reading, seconds.
            reserve: Tokens to leave unspent, ≥ 0.
            spoken_for: Sends already on their way to `take`, ≥ 0; each has its token before this one.

        Returns:
            True if 1 + spoken_for + reserve tokens are there.
        """
        tat_s = self._tat_s if self._tat_s > now_s else now_s
        return tat_s + (reserve + spoken_for) * self._interval_s - self._tolerance_s <= now_s

    def wait_s(self, now_s: float, reserve: float = 0.0, spoken_for: int = 0) -> float:
        """Give the seconds until `has` with the same arguments turns true; 0.0 if it is.

        Note:
            More than the burst is never there: if 1 + spoken_for + reserve exceeds it, the answer (still finite) is
            for the case that the sends spoken for take their tokens now. Ask again once they did.
        """
        tat_s = self._tat_s if self._tat_s > now_s else now_s
        return seconds_until(tat_s + (reserve + spoken_for) * self._interval_s - self._tolerance_s, now_s)

    def take(self, now_s: float) -> None:
        """Spend one token: the request is being written.

        Raises:
            ValueError: There is none; the caller has not asked `has`. Nothing was spent.
        """
        now_s = now_s if now_s > self._newest_s else self._newest_s
        tat_s = self._tat_s if self._tat_s > now_s else now_s
        if tat_s - self._tolerance_s > now_s:
            raise ValueError("no token: a send must ask has() before it takes")
        self._newest_s = now_s
        self._tat_s = tat_s + self._interval_s

    def charge(self, tokens: float, now_s: float) -> None:
        """Spend tokens that others used up: what came in counts against the same limit as what goes out.

        The bucket may owe them, up to one burst: then nothing goes until they have come back.

        Args:
            tokens: How many, ≥ 0; shards of a number bear a fraction each.
            now_s: The clock's reading, seconds.

        Raises:
            ValueError: tokens is negative or not a number.
        """
        if not tokens >= 0:
            raise ValueError(f"tokens must not be negative, not {tokens}")
        now_s = now_s if now_s > self._newest_s else self._newest_s
        tat_s = self._tat_s if self._tat_s > now_s else now_s
        deepest_s = now_s + 2.0 * self._limit.burst * self._interval_s
        self._newest_s = now_s
        self._tat_s = max(tat_s, min(tat_s + tokens * self._interval_s, deepest_s))

    def set_limit(self, limit: Limit, now_s: float) -> None:
        """Go on under another limit; the tokens held are kept, as far as the new burst holds them.

        Args:
            limit: Rate and burst from now on.
            now_s: The clock's reading, seconds.
        """
        if limit == self._limit:
            return
        self._newest_s = max(self._newest_s, now_s)
        self._fill(limit, self.tokens(self._newest_s))

    def _fill(self, limit: Limit, tokens: float) -> None:
        """Hold `tokens` at the newest reading; what exceeds the burst lies in the past and has no effect."""
        self._limit = limit
        self._interval_s = 1.0 / limit.rate_per_s
        self._tolerance_s = (limit.burst - 1.0 + _ROUNDING_TOKENS) * self._interval_s
        self._tat_s = self._newest_s + (limit.burst - tokens) * self._interval_s


def inherited_tokens(*, last_attempt_s: float | None, opened_s: float, limit: Limit, slack_s: float) -> float:
    """Give the tokens that a new owner of a lane may start with, from times that Kafka's brokers stamped.

    At worst the bucket was empty after the last attempt, whoever made it, and it has refilled since. No clock of one
    host is compared with another's.

    Args:
        last_attempt_s: Broker time of the newest attempt on the lane's ledger, seconds; None if nobody ever sent.
        opened_s: Broker time of the new owner's `opened` record, seconds.
        limit: The limit the new owner obeys.
        slack_s: How much later than its stamp the last request may have left, seconds, ≥ 0: the difference between
            two brokers' clocks plus the age that an attempt may have when its request is written.

    Returns:
        Tokens, 0 … burst; the whole burst if nobody ever sent.

    Raises:
        ValueError: slack_s is negative or not a number.
    """
    if not slack_s >= 0:
        raise ValueError(f"slack_s must not be negative, not {slack_s}")
    if last_attempt_s is None:
        return limit.burst
    refilled = (opened_s - last_attempt_s - slack_s) * limit.rate_per_s
    return min(limit.burst, max(0.0, refilled))
