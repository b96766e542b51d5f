"""The long clock: Unix time that may run faster than real and jump ahead. Pure: readings come in.

What lasts hours or days in the real API follows it: tokens, pauses of templates, service windows, retries of webhooks.
Limits and spells follow real time.
"""

from __future__ import annotations


class LongClock:
    """Unix time from `started_s` on, `speed` times as fast, plus what it was advanced by."""

    def __init__(self, started_s: float, speed: float) -> None:
        """Start at Unix time `started_s`; `speed` ≥ 1."""
        self._started_s = started_s
        self._speed = speed
        self._ahead_s = 0.0

    def at(self, wall_s: float) -> float:
        """What it shows when real Unix time is `wall_s`."""
        return self._started_s + (wall_s - self._started_s) * self._speed + self._ahead_s

    def advance(self, by_s: float) -> None:
        """Jump ahead by `by_s` ≥ 0 seconds."""
        self._ahead_s += by_s

    def real_s(self, long_s: float) -> float:
        """How many real seconds `long_s` seconds of it last."""
        return long_s / self._speed
