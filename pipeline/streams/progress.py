"""A process that has work and does not get on with it must not look healthy: its metric, its liveness, its end.

One `Progress` per process, touched on its loop only. What keeps work waiting under a name of its own (Kafka away, a
number that is halted) is no work here: whoever notes progress leaves it out, so that neither Kafka nor the API can make
a process look dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from pipeline.clock import steady_s
from pipeline.errors import InvariantBroken
from pipeline.health import Health
from pipeline.metrics import Metrics

LOOK_EVERY_S: Final = 1.0
STALL_S: Final = 120.0
"""Longer than anything that has a bound of its own: requests to the API, writes to Kafka, hand-overs."""


class Progress:
    """How long this process has had work without getting on with it.

    Args:
        work: Names the watchdog in `/livez`.
        clock: Seconds on a clock that never steps.
    """

    def __init__(self, metrics: Metrics, health: Health, work: str, clock: Callable[[], float] = steady_s) -> None:
        self._metrics, self._health, self._work, self._clock = metrics, health, work, clock
        self._done, self._since_s = -1, clock()

    def note(self, done: int, *, has_work: bool, detail: Callable[[], str] = str) -> None:
        """Tell how things stand.

        Args:
            done: How much was finished so far; any change is progress.
            has_work: Whether there is something that could be finished now.
            detail: What to say about it when it is stuck.

        Raises:
            InvariantBroken: nothing was finished for `STALL_S`; `/livez` says so from then on.
        """
        now_s = self._clock()
        if done != self._done or not has_work:
            self._done, self._since_s = done, now_s
        stuck_s = now_s - self._since_s
        self._metrics.watchdog_seconds_since_progress.set(stuck_s)
        if stuck_s > STALL_S:
            why = f"nothing finished for {stuck_s:.0f} s"
            self._health.report_stall(self._work, why)
            raise InvariantBroken(f"{self._work}: {why}; {detail()}")

    async def watch(self, look: Callable[[], tuple[int, bool]]) -> None:
        """Note once a second what `look` says (`done`, `has_work`), until cancelled.

        Raises:
            InvariantBroken: as `note`.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            done, has_work = look()
            self.note(done, has_work=has_work)
