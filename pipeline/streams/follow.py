"""Follows all partitions of a topic without a group: every process that must hear everything reads this way.

One thread per follower reads with librdkafka and hands batches to the event loop, where they are applied; it also
asks Kafka for the end offsets, so that the process can prove how fresh its knowledge is.
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
POLL_S = 0.25
FETCH_WAIT_MS = 500
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
    """

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
        self._thread = threading.Thread(target=self._run, name=f"follow-{topic}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def lag_s(self, now_s: float) -> float:
        """Age of our knowledge: everything that was on the topic that long ago has been applied. Infinite at first."""
        return now_s - self._fresh_as_of

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
            except RuntimeError:
                return  # the loop is closed: nobody listens any more

    def _read(self) -> None:
        patient = {"enable.partition.eof": False, "fetch.wait.max.ms": FETCH_WAIT_MS}
        consumer = Consumer(reader_conf(self._kafka, **patient))
        admin = AdminClient(librdkafka(self._kafka))
        try:
            positions = self._begin(consumer)
            ends: dict[int, int] = {}
            ends_as_of, asked_at = float("-inf"), float("-inf")
            while not self._stop.is_set():
                batch = _next_batch(consumer)
                now = steady_s()
                if now - asked_at >= ENDS_EVERY_S and not _behind(positions, ends):
                    asked_at = now
                    ends = self._ends(admin, list(positions))
                    ends_as_of = now
                for partition, offset in _positions(consumer, self._topic, positions):
                    positions[partition] = max(positions[partition], offset)
                fresh = ends_as_of if ends and not _behind(positions, ends) else None
                if batch or fresh is not None:
                    self._loop.call_soon_threadsafe(self._apply, batch, fresh)
        finally:
            consumer.close()

    def _begin(self, consumer: Consumer) -> dict[int, int]:
        metadata = consumer.list_topics(self._topic, timeout=KAFKA_TIMEOUT_S)
        partitions = list(metadata.topics[self._topic].partitions)
        if not partitions:
            raise KafkaException(metadata.topics[self._topic].error)
        # Step 1: named ends, so that "at the end" is proven by offsets and not by the lack of records. They come before
        # the question for a time: what is written between the two would else be skipped where the topic was empty.
        bounds = {
            partition: consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=KAFKA_TIMEOUT_S)
            for partition in partitions
        }
        # Step 2: where to begin.
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
        consumer.assign(start)
        return {tp.partition: tp.offset for tp in start}

    def _ends(self, admin: AdminClient, partitions: list[int]) -> dict[int, int]:
        request = {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in partitions}
        answers = admin.list_offsets(request, request_timeout=KAFKA_TIMEOUT_S)
        return {tp.partition: future.result().offset for tp, future in answers.items()}

    def _apply(self, batch: list[Any], fresh_as_of: float | None) -> None:
        if batch:
            self._on_batch(batch)
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
