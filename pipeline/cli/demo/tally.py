"""How the campaign goes, from the topics as they are written: for the live view and to know when it is over.

Touched on the event loop only; followers (`streams/follow.py`) bring the batches. The books at the end do not use it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.clock import parse_rfc3339_ms
from pipeline.errors import DecodeError
from pipeline.records.codec import decode_object
from pipeline.records.reasons import TERMINAL

RATE_WINDOW_MS = 3_000
MARKS_MAX = 100_000
STOP = "STOP"


@dataclass(slots=True)
class NumberTally:
    """One sending number.

    Attributes:
        waiting: Admitted and not ended, by priority.
        accepted: Taken by the API.
        recent: When the last ones were taken, ms by the senders' clock.
    """

    waiting: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=MARKS_MAX))

    def rate_per_s(self, now_ms: int) -> float:
        """Accepted per second in the last `RATE_WINDOW_MS`."""
        while self.recent and self.recent[0] < now_ms - RATE_WINDOW_MS:
            self.recent.popleft()
        return 1000 * len(self.recent) / RATE_WINDOW_MS


class Tally:
    """Counts of one run.

    Args:
        tag: Of the run: records without it are somebody else's.
    """

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._tag_bytes = tag.encode()
        self._seen: set[str] = set()
        self._queued: dict[tuple[str, str], str] = {}
        self.numbers: dict[str, NumberTally] = {}
        self.ends: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.deferred: Counter[str] = Counter()
        self.consents = 0
        self.stops = 0

    @property
    def ended(self) -> int:
        """Records on the entrances of which the end is known."""
        return self.ends.total()

    @property
    def statuses_received(self) -> int:
        """Status webhooks that are on Kafka."""
        return self.statuses.total()

    def take_outbound(self, batch: Iterable[Any]) -> None:
        """Records of `outbound-events`."""
        for event in self._own(batch):
            if self._is_new(event["event_id"]):
                self._take_event(event)

    def take_dead(self, batch: Iterable[Any]) -> None:
        """Records of `dead-letter`: whatever holds the tag."""
        for message in batch:
            if self._tag_bytes in (message.value() or b"") and self._is_new(
                f"{message.partition()}@{message.offset()}"
            ):
                self.ends["dead-letter"] += 1

    def take_consent(self, batch: Iterable[Any]) -> None:
        """Records of `consent-events`: what the gate did with the run's grants."""
        for event in self._own(batch):
            self.consents += event["result"] == "applied" and self._is_new(event["event_id"])

    def take_inbound(self, batch: Iterable[Any], people: str) -> None:
        """Records of `inbound-events`: statuses of the run's people.

        Args:
            people: What their phone numbers begin with.
        """
        for message in batch:
            event = _object(message)
            if (
                event is None
                or not str(event.get("recipient")).startswith(people)
                or not self._is_new(event["event_id"])
            ):
                continue
            if event["type"] == "status":
                self.statuses[event["status"]] += 1
            elif event["type"] == "message":
                self.stops += STOP in str(event["body"])

    def _take_event(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        number = self.numbers.setdefault(event["number"], NumberTally())
        key = (event["number"], event["request_id"])
        if kind == "queued" and key not in self._queued:
            self._queued[key] = event["priority"]
            number.waiting[event["priority"]] += 1
        elif kind == "deferred":
            self.deferred[event["reason"]] += 1
        elif kind in TERMINAL or kind == "duplicate":
            self.ends[kind] += 1
            if event["reason"] is not None:
                self.reasons[event["reason"]] += 1
            priority = self._queued.get(key)
            if kind in TERMINAL:
                self._queued[key] = ""  # its `queued`, from another process, may come after this
                if priority:
                    number.waiting[priority] -= 1
            if kind == "accepted":
                number.accepted += 1
                number.recent.append(parse_rfc3339_ms(event["at"]))

    def _is_new(self, event_id: str) -> bool:
        """Whether this is the first time: a follower that lost Kafka reads again."""
        if event_id in self._seen:
            return False
        self._seen.add(event_id)
        return True

    def _own(self, batch: Iterable[Any]) -> Iterable[dict[str, Any]]:
        for message in batch:
            if self._tag_bytes in (message.value() or b""):
                event = _object(message)
                if event is not None:
                    yield event


def _object(message: Any) -> dict[str, Any] | None:
    try:
        return decode_object(message.value())
    except DecodeError:
        return None
