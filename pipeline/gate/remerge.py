"""Merges the last minutes of consent updates again, when partitions were taken over.

A predecessor that was frozen may wake up and write an old consent over a newer one, up to its producer's time-out
later. Merging is idempotent, so the new owner merges what the predecessor may have had in hand once more, at once and
after `SECOND_S`, and writes only what differs. One task per assignment; Kafka is read in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.gate.asking import Ask
from pipeline.gate.freshness import Partition
from pipeline.gate.item import Item
from pipeline.streams.client import reader_conf

log = structlog.get_logger(__name__)

UPDATES: Final = "consent-updates"
LOOK_BACK_MS: Final = 300_000
SECOND_S: Final = 30.0
BATCH_RECORDS: Final = 500
READ_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.2
MAX_BATCHES: Final = 2000
"""A million updates in five minutes: the oldest of more are left out, and it is said."""


class Target(Protocol):
    """Who merges them."""

    async def merge_again(self, items: list[Item]) -> None:
        """Merge them; ends when that is done, or when the partitions went away."""


class Remerge:
    """One run per assignment.

    Args:
        ask: As of the worker; gives the offset that the group begins to read at.
        spawn: Starts a task by name; sees to it that a bug in it ends the process.
    """

    def __init__(
        self,
        settings: Settings,
        target: Target,
        ask: Ask,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        self._settings = settings
        self._target = target
        self._ask = ask
        self._spawn = spawn
        self._partitions: list[Partition] = []
        self._task: asyncio.Task[None] | None = None

    def assigned(self, partitions: list[int]) -> None:
        """Partitions were assigned; nothing happens before `recovered`."""
        topic = self._settings.topic(UPDATES)
        self._partitions = [(topic, partition) for partition in partitions]

    def recovered(self) -> None:
        """The tables have caught up: begin."""
        if self._task is None and self._partitions:
            self._task = self._spawn(self._run(self._partitions), "gate-remerge")

    async def stop(self) -> None:
        """The partitions go away; a recovery of theirs that ends later begins nothing."""
        self._partitions = []
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self, partitions: list[Partition]) -> None:
        for wait_s in (0.0, SECOND_S):
            await asyncio.sleep(wait_s)
            try:
                # What lies at or above these offsets is merged by the regular way.
                answer = await asyncio.to_thread(self._ask, partitions, partitions)
                ends = {tp: begin for tp, (_, begin) in answer.items() if begin is not None}
                await self._merge(ends)
            except KafkaException as exc:
                log.warning("remerge_failed", error=str(exc))

    async def _merge(self, ends: dict[Partition, int]) -> None:
        reader = await asyncio.to_thread(_Reader, self._settings, ends)
        try:
            for _ in range(MAX_BATCHES):
                items = await asyncio.to_thread(reader.batch)
                if not items:
                    return
                await self._target.merge_again(items)
            log.warning("remerge_cut_short", batches=MAX_BATCHES)
        finally:
            await asyncio.to_thread(reader.close)


class _Reader:
    """Reads updates of the last minutes below given offsets. Blocks."""

    def __init__(self, settings: Settings, ends: dict[Partition, int]) -> None:
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._consumer = Consumer(reader_conf(settings.kafka))
        self._ends = dict(ends)
        since_ms = unix_ms() - LOOK_BACK_MS
        asked = [TopicPartition(topic, partition, since_ms) for topic, partition in ends]
        found = self._consumer.offsets_for_times(asked, timeout=READ_TIMEOUT_S) if asked else []
        begins = [place for place in found if 0 <= place.offset < self._ends[place.topic, place.partition]]
        self._open = {(place.topic, place.partition) for place in begins}
        if begins:
            self._consumer.assign(begins)

    def batch(self) -> list[Item]:
        """The next updates; empty: there are no more.

        Raises:
            KafkaException: Kafka reported an error, or gave nothing for `READ_TIMEOUT_S`.
        """
        items: list[Item] = []
        give_up_at = steady_s() + READ_TIMEOUT_S
        with self._lock:
            while self._open and not items and not self._closing.is_set():
                if steady_s() > give_up_at:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                found = map(self._item, self._consumer.consume(BATCH_RECORDS, timeout=POLL_S))
                items = [item for item in found if item is not None]
        return items

    def close(self) -> None:
        """Release the client; a `batch` in another thread ends first."""
        self._closing.set()
        with self._lock:
            self._consumer.close()

    def _item(self, message: Any) -> Item | None:
        tp = (message.topic(), message.partition())
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            self._open.discard(tp)
            return None
        if message.offset() + 1 >= self._ends[tp]:
            self._open.discard(tp)
        if message.offset() >= self._ends[tp]:
            return None
        return Item(
            "remerge", UPDATES, tp, message.offset(), message.timestamp()[1], message.key(), message.value(),
            message.headers(), steady_s(),
        )  # fmt: skip
