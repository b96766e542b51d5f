"""How late the loop runs: a timer that looks at its own delay. An arrival is stamped at most that much too late."""

from __future__ import annotations

import asyncio

TICK_S = 0.02


class LagProbe:
    """A timer every `TICK_S` in the running loop.

    Attributes:
        last_s: Delay of the latest tick, seconds.
        max_s: Longest delay since the start or `clear`, seconds.
    """

    def __init__(self) -> None:
        """Measure nothing yet."""
        self.last_s = 0.0
        self.max_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick in the running loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_S, self._tick, loop, loop.time() + TICK_S)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()

    def clear(self) -> None:
        """Forget the longest delay."""
        self.max_s = 0.0

    def _tick(self, loop: asyncio.AbstractEventLoop, expected_s: float) -> None:
        self.last_s = max(0.0, loop.time() - expected_s)
        self.max_s = max(self.max_s, self.last_s)
        self._timer = loop.call_later(TICK_S, self._tick, loop, loop.time() + TICK_S)
