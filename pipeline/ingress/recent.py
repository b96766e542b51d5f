"""Events that were stored a moment ago: an immediate repeat of one need not be written again. Off unless asked for.

Only what Kafka has is remembered, so a repeat of a call that failed is written. Repeats that come later than this
memory, or to another process, have the same `event_id`, by which readers tell them. Runs on the ingress' loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_EVENTS: Final = 200_000
"""A minute of the load that one process is meant for, some 40 MB; beyond it the oldest are forgotten."""


class Recent:
    """Ids of events by the time they were stored.

    Args:
        seconds: How long one is remembered; 0: not at all.
    """

    def __init__(self, seconds: float, max_events: int = MAX_EVENTS) -> None:
        self._seconds, self._max_events = seconds, max_events
        self._stored_s: dict[str, float] = {}

    def knows(self, event_id: str, now_s: float) -> bool:
        """Whether the event was stored within the last `seconds`."""
        stored_s = self._stored_s.get(event_id)
        return stored_s is not None and now_s - stored_s <= self._seconds

    def stored(self, event_ids: Iterable[str], now_s: float) -> None:
        """Remember events that Kafka has, and forget those that are too old or too many."""
        if not self._seconds:
            return
        for event_id in event_ids:
            self._stored_s.pop(event_id, None)  # the order of the keys is that of their times
            self._stored_s[event_id] = now_s
        while self._stored_s:
            oldest = next(iter(self._stored_s))
            if len(self._stored_s) <= self._max_events and now_s - self._stored_s[oldest] <= self._seconds:
                break
            del self._stored_s[oldest]

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._stored_s)
