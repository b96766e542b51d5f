"""Halt, probe, come back: what one scope (a number, or a host) does after a 429 or a 503.

```
             refused                     the wait is over                probing()
   Open ───────────────▶ Wait ───────────────────────▶ Probe ───────────────────────▶ Wait (for the probe)
    ▲                     ▲                                                              │ │
    │                     └──────────── refused · probe_lost · no answer in time ────────┘ │
    └───────────────────────────────────────── accepted ───────────────────────────────────┘
```

A *spell* is the time from the first refusal to the first answer that accepts a request written after it. Touched only
on the event loop of the process which owns the lane; clock and jitter are passed in.

Two cases begin alike and end differently. The API is closed for a while: one spell, and the rate comes back. The true
limit is lower than the configured one: short spells, one after the other; each lowers the *ceiling* a little, until
they stop, and quiet raises it again.
"""

import math
from dataclasses import dataclass

from pipeline.throttle.bucket import seconds_until

PROBE_INTERVAL_S_MIN = 0.5
PROBE_INTERVAL_S_MAX = 60.0
PROBE_INTERVAL_OF_AGE = 0.1
"""Probes come at intervals of a tenth of the spell's age, within the two bounds: a spell is overstayed by little more
than that part of its length."""

PROBE_JITTER = 0.2
"""A probe comes up to this part of its interval later, so that the lanes of one scope do not probe in step."""

RETRY_AFTER_S_MAX = 3600.0
"""A longer `Retry-After` is not believed: a probe an hour harms nobody, a proxy's typing error stops a number."""

RETRY_AFTER_JITTER_S = 0.25
"""A probe comes up to that much later than `Retry-After` says, so that not all lanes of a scope come at once."""

PROBE_LOST_WAIT_S = 0.25
"""Wait after a probe without a verdict: most never left (opted out, expired), so the next one is due soon."""

PROBE_TIMEOUT_S = 30.0
"""A probe without an answer for that long counts as lost; longer than the deadline of a request."""

RAMP_STEP_S = 0.5
RAMP_STEPS = 10
RAMP_FACTOR_START = 0.5
"""After a spell: half the rate at once, all of it after 10 steps of 0.5 s."""
RAMP_FACTOR_START_FLAPPING = 0.9
"""After one spell of many short ones: the ceiling has come down already; going slower yet wastes what is allowed."""

CEILING_MIN = 0.1
CEILING_DROP = 0.95
CEILING_RISE = 0.01
CEILING_RISE_EVERY_S = 10.0
"""The ceiling falls by a twentieth of itself, never below 0.1, and rises by 0.01 for each 10 s of quiet."""

FLAP_GAP_S = 30.0
FLAP_SPELL_S = 2.0
"""A spell that begins within 30 s of the end of one shorter than 2 s: the limit is lower, the API is not closed."""


@dataclass(frozen=True, slots=True)
class Open:
    """Requests may go.

    Attributes:
        factor: Part of the configured rate to use, in (0, 1].
        ceiling: Part of the configured burst to use, in (0, 1]: what is left of the limit once spells have shown that
            the true one is lower. The factor without the slow return after a spell.
    """

    factor: float
    ceiling: float = 1.0


@dataclass(frozen=True, slots=True)
class Probe:
    """Exactly one request may go now, after `Halt.probing` was called."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing may go.

    Attributes:
        seconds: Until the state is to be asked for again, > 0, at most about an hour.
    """

    seconds: float


State = Open | Probe | Wait
_PROBE = Probe()


def _probe_interval_s(age_s: float) -> float:
    """Give the wait between probes in a spell of that age; the jitter comes on top and ends below the maximum."""
    longest_s = PROBE_INTERVAL_S_MAX / (1.0 + PROBE_JITTER)
    return min(longest_s, max(PROBE_INTERVAL_S_MIN, PROBE_INTERVAL_OF_AGE * age_s))


class Halt:
    """The halt of one scope; starts open.

    Note:
        The caller decides what counts: a refusal is an answer that the code table calls throttled or overloaded for
        this scope, an acceptance an answer to a request that was written after the spell began.
    """

    __slots__ = (
        "_ceiling",
        "_ended_s",
        "_is_flapping",
        "_next_probe_s",
        "_open",
        "_open_until_s",
        "_probe_timeout_s",
        "_probing_s",
        "_since_s",
        "_spell_s",
    )

    def __init__(self, *, probe_timeout_s: float = PROBE_TIMEOUT_S) -> None:
        """Start with the full rate.

        Args:
            probe_timeout_s: A probe without an answer for that long counts as lost, seconds, finite, > 0. Longer than
                the deadline of a request.

        Raises:
            ValueError: probe_timeout_s is outside its range.
        """
        if not (math.isfinite(probe_timeout_s) and probe_timeout_s > 0):
            raise ValueError(f"probe_timeout_s must be a finite number above 0, not {probe_timeout_s}")
        self._probe_timeout_s = probe_timeout_s
        self._since_s: float | None = None
        self._probing_s: float | None = None
        self._next_probe_s = -math.inf
        self._ended_s = -math.inf
        self._spell_s = math.inf
        self._is_flapping = False
        # The ceiling as of the end of the last spell; what quiet has added since is in `_ceiling_at`.
        self._ceiling = 1.0
        self._open = Open(1.0)
        self._open_until_s = math.inf

    @property
    def since_s(self) -> float | None:
        """When the spell began, seconds on the caller's clock; None if there is none."""
        return self._since_s

    def is_halted(self, now_s: float) -> bool:
        """Say whether there is a spell, be it that a probe may go."""
        return not isinstance(self.state(now_s), Open)

    def refused(self, now_s: float, retry_after_s: float | None, jitter: float) -> None:
        """Take in a 429 or 503: a spell begins, or goes on.

        Args:
            now_s: The clock's reading, seconds.
            retry_after_s: Seconds that the answer asks to wait; None if it does not say. What is not above 0 counts as
                not said. A later refusal may prolong the wait, never shorten it.
            jitter: A random number in [0, 1).
        """
        since_s = self._begin(now_s) if self._since_s is None else self._since_s
        self._probing_s = None
        wait_s = _probe_interval_s(now_s - since_s) * (1.0 + PROBE_JITTER * jitter)
        if retry_after_s is not None and retry_after_s > 0:
            asked_s = min(retry_after_s, RETRY_AFTER_S_MAX) + RETRY_AFTER_JITTER_S * jitter
            wait_s = max(PROBE_INTERVAL_S_MIN, asked_s)
        self._next_probe_s = max(self._next_probe_s, now_s + wait_s)

    def accepted(self, now_s: float) -> None:
        """Take in the answer that ends the spell: the rate comes back at half. No effect without a spell."""
        if self._since_s is None:
            return
        self._spell_s = now_s - self._since_s
        self._ended_s = now_s
        self._since_s = None
        self._probing_s = None
        self._next_probe_s = -math.inf
        self._open_until_s = now_s

    def probing(self, now_s: float) -> None:
        """Note that the probe is on its way; until its verdict the state is `Wait`. No effect without a spell."""
        if self._since_s is not None:
            self._probing_s = now_s

    def probe_lost(self, now_s: float) -> None:
        """Note that the probe ended without a verdict (void, time-out, connection lost): another one is due soon."""
        if self._probing_s is None:
            return
        self._probing_s = None
        self._next_probe_s = max(self._next_probe_s, now_s + PROBE_LOST_WAIT_S)

    def state(self, now_s: float) -> State:
        """Say what may go now.

        Returns:
            `Open` outside a spell; in one `Probe` if a request may try, else `Wait`.
        """
        if self._since_s is None:
            if now_s >= self._open_until_s:
                self._reopen(now_s)
            return self._open
        due_s = self._next_probe_s
        if self._probing_s is not None:
            due_s = max(due_s, self._probing_s + self._probe_timeout_s)
        return _PROBE if now_s >= due_s else Wait(seconds_until(due_s, now_s))

    def _begin(self, now_s: float) -> float:
        """Begin a spell, return its beginning; lower the ceiling if it follows on a short one."""
        self._ceiling = self._ceiling_at(now_s)
        self._is_flapping = now_s - self._ended_s < FLAP_GAP_S and self._spell_s < FLAP_SPELL_S
        if self._is_flapping:
            self._ceiling = max(CEILING_MIN, self._ceiling * CEILING_DROP)
        self._since_s = now_s
        return now_s

    def _ceiling_at(self, now_s: float) -> float:
        """Give the ceiling with what the quiet since the last spell has added to it."""
        if self._ceiling >= 1.0:
            return 1.0
        rises = max(0.0, (now_s - self._ended_s) // CEILING_RISE_EVERY_S)
        return min(1.0, self._ceiling + rises * CEILING_RISE)

    def _reopen(self, now_s: float) -> None:
        """Compute the factor and how long it holds: it moves in steps, so that a caller seldom changes its bucket."""
        quiet_s = max(0.0, now_s - self._ended_s)
        ceiling = self._ceiling_at(now_s)
        step = min(RAMP_STEPS, int(quiet_s // RAMP_STEP_S))
        is_short = self._is_flapping and self._spell_s < FLAP_SPELL_S
        start = RAMP_FACTOR_START_FLAPPING if is_short else RAMP_FACTOR_START
        ramp = start + (1.0 - start) * step / RAMP_STEPS
        self._open = Open(ceiling * ramp, ceiling)
        if step < RAMP_STEPS:
            self._open_until_s = self._ended_s + (step + 1) * RAMP_STEP_S
        elif ceiling < 1.0:
            self._open_until_s = self._ended_s + (quiet_s // CEILING_RISE_EVERY_S + 1) * CEILING_RISE_EVERY_S
        else:
            self._open_until_s = math.inf
