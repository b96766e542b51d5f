"""Reads the topics into the store: one thread, one consumer without a group, one transaction per batch.

The thread writes as fast as it reads, so nothing piles up between the two. When Kafka is lost librdkafka goes on by
itself where it was; what nobody foresaw ends the thread, and `error` says so.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.console.pruning import DAY_MS, forget_tiers, prune
from pipeline.console.schema import open_writer
from pipeline.console.store import Store
from pipeline.console.taken import Taken
from pipeline.logs import Repeats
from pipeline.metrics import Metrics
from pipeline.streams.client import reader_conf

log = structlog.get_logger(__name__)

TOPICS: Final = (
    "outbound-events", "inbound-events", "consent-events", "consent", "recipient-aliases", "tier-recipients",
    "dead-letter", "audit-events",
)  # fmt: skip
WHOLE: Final = frozenset({"consent", "recipient-aliases"})
"""Read from its beginning, whatever the retention: what holds has no age."""
BATCH_RECORDS: Final = 2_000
POLL_S: Final = 0.25
KAFKA_TIMEOUT_S: Final = 10.0
RETRY_S: Final = 1.0
PRUNE_EVERY_S: Final = 60.0
PRUNE_AGAIN_S: Final = 0.2
COUNT_EVERY_S: Final = 15.0
"""How often partitions are counted: on one that was added, something would be said that is not heard."""


class Feed:
    """Keeps the read model up to date.

    Args:
        path: Of the read model.

    Attributes:
        behind: Records that the brokers hold and we have not read; None: not known yet.
        error: What ended the thread; None: it goes on.
    """

    def __init__(self, settings: Settings, path: Path, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._db = open_writer(path)
        self._store = Store(self._db)
        self._stop = threading.Event()
        self._repeats = Repeats()
        self._thread = threading.Thread(target=self._run, name="console-feed", daemon=True)
        self.behind: int | None = None
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the batch in hand; blocks, bounded."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(KAFKA_TIMEOUT_S)
        self._db.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except KafkaException as exc:
                held = self._repeats.pass_now("lost", steady_s())
                if held is not None:
                    log.warning("feed_lost_kafka", error=str(exc), suppressed=held)
                self._stop.wait(RETRY_S)
            except Exception as exc:
                log.exception("feed_died")
                self.error = exc
                return

    def _read(self) -> None:
        consumer = Consumer(reader_conf(self._settings.kafka, **{"enable.partition.eof": False}))
        try:
            places = self._begin(consumer)
            consumer.assign(places)
            pruned_at = counted_at = steady_s()
            while not self._stop.is_set():
                first = consumer.poll(POLL_S)
                messages = [] if first is None else [first, *consumer.consume(BATCH_RECORDS - 1, 0)]
                self._apply([message for message in messages if message.error() is None])
                now = steady_s()
                if first is None or now - counted_at >= COUNT_EVERY_S:
                    self.behind = self._count_behind(consumer, places)
                if now - counted_at >= COUNT_EVERY_S:
                    counted_at = now
                    if self._partitions(consumer) != {(place.topic, place.partition) for place in places}:
                        log.info("feed_begins_anew", partitions_before=len(places))
                        return
                if now >= pruned_at + PRUNE_EVERY_S:
                    pruned_at = now if not self._prune() else now - PRUNE_EVERY_S + PRUNE_AGAIN_S
        finally:
            consumer.close()

    def _apply(self, messages: list[Any]) -> None:
        if not messages:
            return
        prefix = len(self._settings.kafka.topic_prefix)
        taken = [_taken(message, prefix) for message in messages]
        following: dict[tuple[str, int], int] = {}
        for record in taken:
            following[(record.topic, record.partition)] = record.offset + 1
        self._store.apply(taken, following)
        self._metrics.read_model_records.inc(len(taken))

    def _partitions(self, consumer: Consumer) -> set[tuple[str, int]]:
        found = set()
        for name in TOPICS:
            topic = self._settings.topic(name)
            metadata = consumer.list_topics(topic, timeout=KAFKA_TIMEOUT_S).topics[topic]
            if metadata.error is not None:
                raise KafkaException(metadata.error)
            found |= {(topic, partition) for partition in metadata.partitions}
        return found

    def _begin(self, consumer: Consumer) -> list[TopicPartition]:
        """Where to read on: at the positions of the last commit; without one, as far back as the retention goes."""
        known = self._positions()
        since_ms = max(0, unix_ms() - int(self._settings.console.retention_days * DAY_MS))
        whole = {self._settings.topic(name) for name in WHOLE}
        places, asked = [], []
        for topic, partition in sorted(self._partitions(consumer)):
            place = TopicPartition(topic, partition)
            low, end = consumer.get_watermark_offsets(place, timeout=KAFKA_TIMEOUT_S)
            position = known.get((topic, partition))
            if position is not None and position <= end:
                places.append(TopicPartition(topic, partition, max(position, low)))
            elif topic in whole or low == end:
                places.append(TopicPartition(topic, partition, low))
            else:
                asked.append(TopicPartition(topic, partition, since_ms))
        if asked:
            found = consumer.offsets_for_times(asked, timeout=KAFKA_TIMEOUT_S)
            places += [
                place if place.offset >= 0 else TopicPartition(place.topic, place.partition, _end(consumer, place))
                for place in found
            ]
        return places

    def _positions(self) -> Mapping[tuple[str, int], int]:
        return {(self._settings.topic(name), part): at for (name, part), at in self._store.positions().items()}

    def _count_behind(self, consumer: Consumer, places: list[TopicPartition]) -> int | None:
        """Records between our positions and the ends that the last fetches told of; None: some told of none yet."""
        behind = 0
        for place in consumer.position(places):
            _low, end = consumer.get_watermark_offsets(place, cached=True)
            if end < 0:
                return self.behind
            behind += max(0, end - place.offset) if place.offset >= 0 else 0
        return behind

    def _prune(self) -> bool:
        console = self._settings.console
        before_ms = unix_ms() - int(console.retention_days * DAY_MS)
        has_more = prune(self._db, before_ms=before_ms, max_bytes=console.max_bytes)
        forget_tiers(self._db, unix_ms())
        self._store.forget()
        return has_more


def _end(consumer: Consumer, place: TopicPartition) -> int:
    _low, end = consumer.get_watermark_offsets(place, timeout=KAFKA_TIMEOUT_S)
    return int(end)


def _taken(message: Any, prefix: int) -> Taken:
    return Taken(
        message.topic()[prefix:], message.partition(), message.offset(), message.timestamp()[1], message.key(),
        message.value(), message.headers(),
    )  # fmt: skip
