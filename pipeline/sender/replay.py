"""Reading a lane back: its ledger at take-over from the mark, and its tail while ids of unknown outcome are open; what
waits on its delayed topics.

Blocking reads by librdkafka in a thread, in batches; the fold itself is `ledger_state`. No group, no commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from confluent_kafka import Consumer, TopicPartition

from pipeline.config import Settings
from pipeline.sender.lane import Lane
from pipeline.sender.ledger_state import LedgerState
from pipeline.streams.client import reader_conf

log = structlog.get_logger(__name__)

BATCH_RECORDS = 5000
POLL_S = 0.1
KAFKA_TIMEOUT_S = 5.0
EMPTY_POLLS_MAX = 100

LEDGER_FIELDS = frozenset(
    {"kind", "generation", "request_id", "attempt", "recipient", "source", "place", "digest", "outcome", "basis",
     "message_id", "event"}
)  # fmt: skip

Apply = Callable[[dict[str, Any], int, int], None]


def _record(message: Any) -> dict[str, Any] | None:
    """The ledger record in a message; None (and a log line) for what nobody of ours can have written."""
    try:
        record = orjson.loads(message.value() or b"")
    except orjson.JSONDecodeError:
        record = None
    if isinstance(record, dict) and record.keys() >= LEDGER_FIELDS:
        return record
    log.error("ledger_record_unreadable", topic=message.topic(), partition=message.partition(), offset=message.offset())
    return None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the group stands on a delayed partition: committed offset and end of log."""

    committed: int
    end: int


class LedgerReader:
    """Blocking reads of one ledger topic, and of the other topics of a lane; each call uses a consumer of its own, so
    any thread may call.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topic("send-ledger")

    def read(self, partition: int, start: int, end: int, apply: Apply) -> int:
        """Apply all records of [start, end) that Kafka still has; returns the offset after the last one.

        Raises:
            KafkaException: Kafka cannot be reached.
            TimeoutError: it stopped giving records before the end.
        """

        def fold(batch: list[Any]) -> None:
            for message in batch:
                record = _record(message)
                if record is not None:
                    apply(record, message.offset(), message.timestamp()[1])

        return self._read(self._topic, partition, start, end, fold)

    def messages(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Any], int]:
        """All records of [start, end) that Kafka still has, of any topic, and the offset after the last one.

        Raises:
            KafkaException: Kafka cannot be reached.
            TimeoutError: it stopped giving records before the end.
        """
        found: list[Any] = []
        return found, self._read(topic, partition, start, end, found.extend)

    def _read(self, topic: str, partition: int, start: int, end: int, take: Callable[[list[Any]], None]) -> int:
        if start >= end:
            return start
        consumer = Consumer(reader_conf(self._settings.kafka, **{"enable.partition.eof": False}))
        try:
            # Retention may have taken the beginning, or all of it: then nothing would ever come.
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=KAFKA_TIMEOUT_S)
            position, empty = max(start, int(low)), 0
            consumer.assign([TopicPartition(topic, partition, position)])
            while position < end:
                # What is asked for is waited for: not more than there is, or each reading would end with a wait.
                batch = consumer.consume(min(BATCH_RECORDS, end - position), POLL_S)
                empty = 0 if batch else empty + 1
                if empty > EMPTY_POLLS_MAX:
                    raise TimeoutError(f"{topic}/{partition}: no records from {position} on, end is {end}")
                take([message for message in batch if message.error() is None and message.offset() < end])
                position = max(position, consumer.position([TopicPartition(topic, partition)])[0].offset)
            return position
        finally:
            consumer.close()

    def begin_and_end(self, partition: int, window_ms: int) -> tuple[int, int]:
        """Offsets of the first record of the last `window_ms` of the log (by broker time), and of its end."""
        consumer = Consumer(reader_conf(self._settings.kafka, **{"enable.partition.eof": False}))
        try:
            low, end = consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=KAFKA_TIMEOUT_S)
            if end <= low:
                return low, end
            newest_ms = self._newest_ms(consumer, partition, end)
            wanted = TopicPartition(self._topic, partition, max(0, newest_ms - window_ms))
            found = consumer.offsets_for_times([wanted], timeout=KAFKA_TIMEOUT_S)[0].offset
            return (found if found >= 0 else low), end
        finally:
            consumer.close()

    def _newest_ms(self, consumer: Consumer, partition: int, end: int) -> int:
        consumer.assign([TopicPartition(self._topic, partition, end - 1)])
        for _ in range(EMPTY_POLLS_MAX):
            for message in consumer.consume(1, POLL_S):
                if message.error() is None:
                    return int(message.timestamp()[1])
        raise TimeoutError(f"{self._topic}/{partition}: the newest record could not be read")

    def end(self, partition: int) -> int:
        """End of the log now."""
        consumer = Consumer(reader_conf(self._settings.kafka))
        try:
            tp = TopicPartition(self._topic, partition)
            return int(consumer.get_watermark_offsets(tp, timeout=KAFKA_TIMEOUT_S)[1])
        finally:
            consumer.close()

    def standings(self, group: str, topics: list[str], partition: int) -> dict[str, Standing]:
        """Where the group stands on one partition of several topics."""
        consumer = Consumer(reader_conf(self._settings.kafka, **{"group.id": group}))
        try:
            wanted = [TopicPartition(topic, partition) for topic in topics]
            found = {}
            for tp in consumer.committed(wanted, timeout=KAFKA_TIMEOUT_S):
                low, end = consumer.get_watermark_offsets(tp, timeout=KAFKA_TIMEOUT_S)
                found[tp.topic] = Standing(max(tp.offset, low) if tp.offset >= 0 else low, end)
            return found
        finally:
            consumer.close()


class Tail:
    """Keeps a lane's state up with what others write to its ledger."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader

    async def catch_up(self, lane: Lane) -> None:
        """Read the ledger from where the lane last read it to its end; the lane's own records are known already."""
        foreign: list[tuple[dict[str, Any], int, int]] = []

        def collect(record: dict[str, Any], offset: int, timestamp_ms: int) -> None:
            if record["generation"] != lane.generation:
                foreign.append((record, offset, timestamp_ms))

        def work() -> int:
            return self._reader.read(lane.partition, lane.tail_offset, self._reader.end(lane.partition), collect)

        lane.tail_offset = await asyncio.to_thread(work)
        apply_foreign(lane.ledger, foreign)


def apply_foreign(ledger: LedgerState, records: list[tuple[dict[str, Any], int, int]]) -> None:
    """Take records of other generations in, by their place in the log: an earlier settlement beats a later one.

    Its event is told only if the later one's is not yet: of two with one id the first counts.
    """
    for record, offset, timestamp_ms in records:
        told = False
        if record["kind"] == "settled" and record["basis"] == "answer":
            state = ledger.of(record["request_id"])
            if state is not None and state.settled_at is not None and offset < state.settled_at:
                told = state.event is None
                state.settled_at = None
        ledger.apply(record, offset, timestamp_ms)
        if told and (state := ledger.of(record["request_id"])) is not None:
            state.event = None
