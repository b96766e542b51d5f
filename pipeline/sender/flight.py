"""How many messages of a lane are on their way to the write, and how many have no answer yet: what bounds the pump."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.sender.lane import ON_WAY_MAX, Lane


class Flight:
    """Counts one message among those on their way to the write, and among the requests without an answer."""

    __slots__ = ("_in_flight", "_lane", "_on_way", "_wake")

    def __init__(self, lane: Lane, wake: Callable[[Lane], None]) -> None:
        self._lane, self._wake = lane, wake
        self._on_way = self._in_flight = True
        lane.on_way += 1
        lane.in_flight += 1

    def written(self) -> None:
        """The write happened, or was given up."""
        if self._on_way:
            self._on_way = False
            self._lane.on_way -= 1
            if self._lane.on_way == ON_WAY_MAX - 1:
                self._wake(self._lane)

    def ended(self) -> None:
        """There is an answer, or there will be none."""
        self.written()
        if self._in_flight:
            self._in_flight = False
            self._lane.in_flight -= 1
            self._wake(self._lane)
