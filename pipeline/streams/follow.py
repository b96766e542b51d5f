"""Follows all partitions of a topic without a group: every process that must hear everything reads this way.

One thread per follower reads with librdkafka and hands batches to the event loop, where they are applied; at most
`BATCHES_ON_THE_WAY` wait there. It also asks Kafka for the end offsets, so that the process can prove how fresh its
knowledge is. When Kafka is lost the thread goes on where it was; what nobody foresaw ends it, and `error` says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.clock import steady_s
from pipeline.config import KafkaSettings
from pipeline.logs import Repeats
from pipeline.streams.client import librdkafka, reader_conf

log = structlog.get_logger(__name__)

BATCH_RECORDS = 1000
BATCHES_ON_THE_WAY = 4
"""Batches that the loop has not applied yet: a long topic is read no faster than it is applied."""
HAND_OVER_LOOK_S = 0.5
POLL_S = 0.25
FETCH_WAIT_MS = 500
COUNT_EVERY_S = 0.5
"""How often the partitions are counted: on one that was added, something would be said that is not heard."""
ENDS_EVERY_S = 0.5
KAFKA_TIMEOUT_S = 5.0
RETRY_S = 1.0

OnBatch = Callable[[list[Any]], None]


class Follower:
    """Reads a topic from a point in time to its moving end.

    Args:
        kafka: How to reach Kafka.
        topic: Full name.
        on_batch: Called on the loop with messages (errors left out), in order per partition.
        loop: The loop that batches are applied on.
        from_ms: Broker time to begin at, ms; None: from the beginning.

    Attributes:
        applied: Records applied so far; they tell slow reading from none.
        error: What ended the reading, or the applying; None: it goes on.
    """

    applied = 0
    error: Exception | None = None

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        on_batch: OnBatch,
        loop: asyncio.AbstractEventLoop,
        from_ms: int | None = None,
    ) -> None:
        self._kafka, self._topic, self._on_batch, self._loop = kafka, topic, on_batch, loop
        self.from_ms = from_ms
        self._fresh_as_of = float("-inf")
        self._repeats = Repeats()
        self.caught_up = asyncio.Event()
        self._stop = threading.Event()
        self._room = threading.BoundedSemaphore(BATCHES_ON_THE_WAY)
        self._positions: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name=f"follow-{topic}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def lag_s(self, now_s: float) -> float:
        """Age of our knowledge: everything that was on the topic that long ago has been applied. Infinite at first."""
        return now_s - self._fresh_as_of

    @property
    def partitions(self) -> int:
        """How many partitions the topic has, as far as is known; 0 before the first answer."""
        return len(self._positions)

    async def stop(self) -> None:
        """End the thread; bounded by one poll and one question for end offsets."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, KAFKA_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except KafkaException as exc:
                held = self._repeats.pass_now("lost", steady_s())
                if held is not None:
                    log.warning("follower_lost_kafka", topic=self._topic, error=str(exc), suppressed=held)
                self._stop.wait(RETRY_S)
            except Exception as exc:
                if not self._loop.is_closed():
                    log.exception("follower_died", topic=self._topic)
                self.error = exc
                return

    def _read(self) -> None:
        patient = {"enable.partition.eof": False, "fetch.wait.max.ms": FETCH_WAIT_MS}
        consumer = Consumer(reader_conf(self._kafka, **patient))
        admin = AdminClient(librdkafka(self._kafka))
        try:
            positions = self._positions = self._begin(consumer)
            ends: dict[int, int] = {}
            ends_as_of, asked_at, counted_at = float("-inf"), float("-inf"), steady_s()
            while not self._stop.is_set():
                batch = _next_batch(consumer)
                admin.poll(0)  # its lines go to our log
                now = steady_s()
                if now - counted_at >= COUNT_EVERY_S:
                    counted_at = now
                    if len(self._partitions(consumer)) != len(positions):
                        log.info("follower_begins_anew", topic=self._topic, partitions_before=len(positions))
                        self._loop.call_soon_threadsafe(self._outdated)
                        self._hand_over(batch, positions, consumer, None)
                        return
                if now - asked_at >= ENDS_EVERY_S and not _behind(positions, ends):
                    asked_at = now
                    ends = self._ends(admin, list(positions))
                    ends_as_of = now
                self._hand_over(batch, positions, consumer, (ends, ends_as_of))
        finally:
            consumer.close()

    def _hand_over(
        self,
        batch: list[Any],
        positions: dict[int, int],
        consumer: Consumer,
        ends: tuple[dict[int, int], float] | None,
    ) -> None:
        """Give the loop what was read, once it has room; only then do the positions pass it."""
        read = _positions(consumer, self._topic, positions)
        while not self._room.acquire(timeout=HAND_OVER_LOOK_S):
            if self._stop.is_set():
                return
        for partition, offset in read:
            positions[partition] = max(positions[partition], offset)
        is_fresh = ends is not None and bool(ends[0]) and not _behind(positions, ends[0])
        if batch or is_fresh:
            self._loop.call_soon_threadsafe(self._applied, batch, ends[1] if ends is not None and is_fresh else None)
        else:
            self._room.release()

    def _partitions(self, consumer: Consumer) -> list[int]:
        metadata = consumer.list_topics(self._topic, timeout=KAFKA_TIMEOUT_S).topics[self._topic]
        if not metadata.partitions:
            raise KafkaException(metadata.error)
        return list(metadata.partitions)

    def _begin(self, consumer: Consumer) -> dict[int, int]:
        partitions = self._partitions(consumer)
        # Step 1: named ends, so that "at the end" is proven by offsets and not by the lack of records. They come before
        # the question for a time: what is written between the two would else be skipped where the topic was empty.
        bounds = {
            partition: consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=KAFKA_TIMEOUT_S)
            for partition in partitions
        }
        # Step 2: where to begin; after Kafka was lost, where the reading stood.
        if self.from_ms is None:
            start = [TopicPartition(self._topic, partition, low) for partition, (low, _) in bounds.items()]
        else:
            wanted = [TopicPartition(self._topic, partition, max(0, self.from_ms)) for partition in partitions]
            found = consumer.offsets_for_times(wanted, timeout=KAFKA_TIMEOUT_S)
            # No record is so young (-1): begin where the end was before it was asked.
            start = [
                TopicPartition(self._topic, tp.partition, tp.offset if tp.offset >= 0 else bounds[tp.partition][1])
                for tp in found
            ]
        begins = {tp.partition: tp.offset for tp in start} | self._positions
        consumer.assign([TopicPartition(self._topic, partition, offset) for partition, offset in begins.items()])
        return begins

    def _ends(self, admin: AdminClient, partitions: list[int]) -> dict[int, int]:
        request = {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in partitions}
        answers = admin.list_offsets(request, request_timeout=KAFKA_TIMEOUT_S)
        return {tp.partition: future.result().offset for tp, future in answers.items()}

    def _outdated(self) -> None:
        """What is said on a partition that was added is not known: nothing is, until all were read to the end."""
        self._fresh_as_of = float("-inf")

    def _applied(self, batch: list[Any], fresh_as_of: float | None) -> None:
        self._room.release()
        self._apply(batch, fresh_as_of)

    def _apply(self, batch: list[Any], fresh_as_of: float | None) -> None:
        if self.error is not None:
            return
        if batch:
            try:
                self._on_batch(batch)
            except Exception as exc:
                self.error = exc  # what this batch said is lost: nothing may count as known from here on
                self._stop.set()
                raise
            self.applied += len(batch)
        if fresh_as_of is not None:
            self._fresh_as_of = max(self._fresh_as_of, fresh_as_of)
            self.caught_up.set()


def _next_batch(consumer: Consumer) -> list[Any]:
    """What has come; waits for the first record only, as `consume` would for a full batch."""
    first = consumer.poll(POLL_S)
    if first is None:
        return []
    return [message for message in (first, *consumer.consume(BATCH_RECORDS - 1, 0)) if message.error() is None]


def _behind(positions: dict[int, int], ends: dict[int, int]) -> bool:
    return any(positions[partition] < end for partition, end in ends.items())


def _positions(consumer: Consumer, topic: str, known: dict[int, int]) -> list[tuple[int, int]]:
    """Positions per partition; they also pass what is no record (control records of transactions)."""
    answer = consumer.position([TopicPartition(topic, partition) for partition in known])
    return [(tp.partition, tp.offset) for tp in answer if tp.offset >= 0]
