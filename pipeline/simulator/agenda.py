"""What is to happen later: a scenario's timed events, ends of pauses and upgrades. Timers of the simulator's loop.

Everything here runs on that loop; `stop` cancels whatever is still ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from pipeline.simulator.control import TimedEvent

EVENTS_MAX = 10_000
TIMERS_MAX = 20_000

log = structlog.stdlib.get_logger(__name__)


class Agenda:
    """Timers, and the events that wait for the first message.

    Attributes:
        done: Events that were applied.
        refused: Events that could not be applied; each is logged with its reason.
    """

    def __init__(self, events: Sequence[TimedEvent], act: Callable[[TimedEvent], object]) -> None:
        """Let `act` apply each of `events` at its time; it raises `ValueError` for one that cannot be applied."""
        self._events = tuple(events)
        self._act = act
        self._timers: set[asyncio.TimerHandle] = set()
        self._waiting: list[TimedEvent] = []
        self.done = 0
        self.refused = 0

    @property
    def is_waiting(self) -> bool:
        """Whether events wait for the first message."""
        return bool(self._waiting)

    def start(self) -> None:
        """Place the events that count from now; the others wait."""
        self.stop()
        self.done = self.refused = 0
        self._waiting = [event for event in self._events if event.since == "first_message"]
        for event in self._events:
            if event.since == "start":
                self._place(event)

    def begin(self) -> None:
        """The first message is here: place what waited for it."""
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self._place(event)

    def stop(self) -> None:
        """Cancel all that is ahead."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._waiting = []

    def later(self, delay_s: float, do: Callable[[], None]) -> None:
        """Do something in `delay_s` seconds.

        Raises:
            ValueError: `TIMERS_MAX` things are ahead already.
        """
        if len(self._timers) >= TIMERS_MAX:
            raise ValueError(f"at most {TIMERS_MAX} events may be ahead")

        def due() -> None:
            self._timers.discard(timer)
            do()

        timer = asyncio.get_running_loop().call_later(delay_s, due)
        self._timers.add(timer)

    def _place(self, event: TimedEvent) -> None:
        self.later(event.in_s, lambda: self._apply(event))

    def _apply(self, event: TimedEvent) -> None:
        try:
            self._act(event)
        except ValueError as error:
            self.refused += 1
            log.warning("simulator_event_refused", reason=str(error))
        else:
            self.done += 1
