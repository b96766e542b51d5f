"""Queues in front of servers, by discrete events: a timeline, a server, a lane with its token bucket. Pure and seeded.

Times are seconds of the simulated clock. A server is one process: it works on one thing at a time, codes before all
else, and does nothing while it is down.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Final

Action = Callable[[], None]
FULL: Final = 1e-9
"""Tokens are sums of fractions: what lacks less than this of one is there."""


class Timeline:
    """Events in the order of their times, those of one moment in the order in which they were asked for.

    Attributes:
        now_s: The simulated clock.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()

    def at(self, time_s: float, action: Action) -> None:
        """Do something then, or now if that is over."""
        heapq.heappush(self._events, (max(time_s, self.now_s), next(self._numbers), action))

    def after(self, delay_s: float, action: Action) -> None:
        """Do something in so many seconds."""
        self.at(self.now_s + delay_s, action)

    def run(self, until_s: float = float("inf")) -> None:
        """Let time pass until nothing is left to do, or until then."""
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, action = heapq.heappop(self._events)
            action()


class Server:
    """One process with a queue before it.

    Args:
        service_s: How long it works on one thing; a constant, or called for each.

    Attributes:
        waits_s: How long each thing waited before it was begun.
        busy_s: Time that was spent working.
        queue_max: Most things that waited at a time.
    """

    def __init__(self, timeline: Timeline, service_s: float | Callable[[], float]) -> None:
        self._timeline = timeline
        self._service = service_s if callable(service_s) else lambda: service_s
        self._queues: tuple[deque[tuple[float, Action]], deque[tuple[float, Action]]] = (deque(), deque())
        self._is_busy = False
        self._up_at_s = 0.0
        self.waits_s: list[float] = []
        self.busy_s = 0.0
        self.queue_max = 0

    def __len__(self) -> int:
        return len(self._queues[0]) + len(self._queues[1])

    def add(self, done: Action, *, is_urgent: bool = False) -> None:
        """Work on something when it is its turn; `done` is called at its end."""
        self._queues[0 if is_urgent else 1].append((self._timeline.now_s, done))
        self.queue_max = max(self.queue_max, len(self))
        self._look()

    def fail(self, for_s: float) -> None:
        """Begin nothing for so long; what is being worked on is still finished."""
        self._up_at_s = max(self._up_at_s, self._timeline.now_s + for_s)
        self._timeline.at(self._up_at_s, self._look)

    def _look(self) -> None:
        if self._is_busy or self._timeline.now_s < self._up_at_s or not len(self):
            return
        came_s, done = (self._queues[0] or self._queues[1]).popleft()
        self.waits_s.append(self._timeline.now_s - came_s)
        service_s = self._service()
        self.busy_s += service_s
        self._is_busy = True

        def end() -> None:
            self._is_busy = False
            done()
            self._look()

        self._timeline.after(service_s, end)


class Lane:
    """Messages that wait for a token: rate and burst as the sender's bucket, codes first, a reserve for them.

    Args:
        reserve: Tokens that only codes may take.
        in_flight_max: Messages under way at a time: sent, and not answered.
        send: Gets what may go; whoever sends calls `answered` later.

    Attributes:
        waits_s: How long each message waited here.
        queue_max: Most messages that waited at a time.
    """

    def __init__(
        self, timeline: Timeline, rate_per_s: float, burst: float, reserve: float, in_flight_max: int,
        send: Callable[[Action, bool], None],
    ) -> None:  # fmt: skip
        self._timeline, self._rate, self._burst, self._reserve = timeline, rate_per_s, burst, reserve
        self._room, self._send = in_flight_max, send
        self._tokens, self._as_of_s = burst, 0.0
        self._queues: tuple[deque[tuple[float, Action]], deque[tuple[float, Action]]] = (deque(), deque())
        self._alarm_s = float("inf")
        self.waits_s: list[float] = []
        self.queue_max = 0

    def __len__(self) -> int:
        return len(self._queues[0]) + len(self._queues[1])

    def add(self, message: Action, *, is_urgent: bool = False) -> None:
        """Let a message wait for its token."""
        self._queues[0 if is_urgent else 1].append((self._timeline.now_s, message))
        self.queue_max = max(self.queue_max, len(self))
        self._look()

    def answered(self) -> None:
        """One of those under way has its answer."""
        self._room += 1
        self._look()

    def _look(self) -> None:
        now_s = self._timeline.now_s
        self._tokens = min(self._burst, self._tokens + (now_s - self._as_of_s) * self._rate)
        self._as_of_s = now_s
        while len(self) and self._room > 0:
            is_urgent = bool(self._queues[0])
            lacking = 1 + (0 if is_urgent else self._reserve) - self._tokens
            if lacking > FULL:
                self._wake(now_s + lacking / self._rate)
                return
            came_s, message = self._queues[0 if is_urgent else 1].popleft()
            self.waits_s.append(now_s - came_s)
            self._tokens -= 1
            self._room -= 1
            self._send(message, is_urgent)

    def _wake(self, at_s: float) -> None:
        if at_s < self._alarm_s:
            self._alarm_s = at_s
            self._timeline.at(at_s, self._woken)

    def _woken(self) -> None:
        self._alarm_s = float("inf")
        self._look()


def waiting_s(service_s: float, arrivals_per_s: float) -> float:
    """Mean wait before a server with a constant service time, arrivals at random (M/D/1, Pollaczek and Khinchine).

    Raises:
        ValueError: more comes than can be served: the queue has no end.
    """
    load = arrivals_per_s * service_s
    if load >= 1:
        raise ValueError(f"load {load:.2f}: it must be below 1")
    return load * service_s / (2 * (1 - load))
