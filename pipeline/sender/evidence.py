"""Evidence of what became of a POST without an answer: statuses on `inbound-events`, read on demand.

The index is pure; a `Follower` feeds it on the event loop while anybody waits, from 60 s before the attempt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.errors import RecordError
from pipeline.records.codec import decode_object
from pipeline.streams.follow import Follower

LOOK_BACK_MS = 60_000
V1_STAMP_SLACK_MS = 5_000
"""Statuses are stamped in whole seconds by another clock."""
MAX_STATUSES = 500_000


class Proof(NamedTuple):
    """A status that shows that the API took a message."""

    message_id: str
    recipient: str | None
    at_ms: int


@dataclass(slots=True)
class StatusIndex:
    """Statuses by what they can prove."""

    by_request: dict[tuple[str, str], Proof] = field(default_factory=dict)
    by_recipient: dict[tuple[str, str], deque[Proof]] = field(default_factory=dict)
    newest_ms: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def apply(self, value: bytes | None) -> None:
        """Take one inbound-event in; anything but a readable status is passed over."""
        try:
            event = decode_object(value, 6 * 1024 * 1024)
            if event.get("type") != "status":
                return
            at_ms, number = parse_rfc3339_ms(event["at"]), event["number"]
            proof = Proof(event["message_id"] or "", event["recipient"], at_ms)
        except (RecordError, KeyError, TypeError, ValueError):
            return
        if not isinstance(number, str) or self.count >= MAX_STATUSES:
            return
        self.newest_ms[number] = max(self.newest_ms.get(number, 0), at_ms)
        self.count += 1
        request_id = event.get("request_id")
        if request_id is not None:
            self.by_request.setdefault((number, request_id), proof)
        elif event.get("status") == "sent" and proof.recipient is not None:
            self.by_recipient.setdefault((number, proof.recipient), deque(maxlen=1000)).append(proof)

    def find(
        self, number: str, request_id: str, recipient: str, attempt_ms: int, known: Collection[str]
    ) -> Proof | None:
        """A status of any attempt of the request, or (v1) a `sent` to the person that no settlement knows.

        Args:
            attempt_ms: Broker time of the attempt.
            known: Message ids of settled messages.
        """
        proof = self.by_request.get((number, request_id))
        if proof is not None:
            return proof
        for candidate in self.by_recipient.get((number, recipient), ()):
            if candidate.at_ms >= attempt_ms - V1_STAMP_SLACK_MS and candidate.message_id not in known:
                return candidate
        return None


class Evidence:
    """The index and its reader.

    Args:
        on_news: Called on the loop after each batch.
        follow: Makes the reader.
    """

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, on_news: Callable[[], None],
        follow: type[Follower] = Follower,
    ) -> None:  # fmt: skip
        self._follow = follow
        self._settings, self._loop, self._on_news = settings, loop, on_news
        self._index = StatusIndex()
        self._follower: Follower | None = None
        self._old: set[asyncio.Task[None]] = set()

    def require(self, attempt_ms: int) -> bool:
        """Make sure that statuses are read from 60 s before a broker time on; True: the reading begins anew."""
        begin = max(0, attempt_ms - LOOK_BACK_MS)
        if self._follower is not None and self._follower.from_ms is not None and self._follower.from_ms <= begin:
            return False
        self.release()
        index = self._index = StatusIndex()

        def apply(batch: list[Any]) -> None:
            for message in batch:
                index.apply(message.value())
            self._on_news()

        self._follower = self._follow(
            self._settings.kafka, self._settings.topic("inbound-events"), apply, self._loop, begin
        )
        self._follower.start()
        return True

    def release(self) -> None:
        """Nobody waits any more: stop reading."""
        if self._follower is not None:
            task = self._loop.create_task(self._follower.stop())
            self._old.add(task)
            task.add_done_callback(self._old.discard)
            self._follower = None

    def lag_s(self, now_s: float) -> float:
        """Age of what is known; infinite while nothing is read."""
        return self._follower.lag_s(now_s) if self._follower is not None else float("inf")

    def newest_status_ms(self, number: str) -> int:
        """Stamp of the newest status of a number; 0: none seen."""
        return self._index.newest_ms.get(number, 0)

    def find(
        self, number: str, request_id: str, recipient: str, attempt_ms: int, known: Collection[str]
    ) -> Proof | None:
        """Proof that the API took a message, if there is one."""
        return self._index.find(number, request_id, recipient, attempt_ms, known)

    async def stop(self) -> None:
        """End all reading."""
        self.release()
        for task in list(self._old):
            await task
