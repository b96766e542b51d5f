"""Asks Kafka where partitions end, and from where the gate's group reads them. Blocks: called in a thread."""

from __future__ import annotations

import threading
from typing import Final

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from pipeline.config import Settings
from pipeline.streams.client import reader_conf
from pipeline.streams.topics import admin

ASK_TIMEOUT_S: Final = 2.0


class EndsReader:
    """Serves several threads, one after the other.

    Args:
        group: The gate's consumer group; its offsets are read, it is never joined.
    """

    def __init__(self, settings: Settings, group: str) -> None:
        self._lock = threading.Lock()
        self._admin = admin(settings)
        self._consumer = Consumer(reader_conf(settings.kafka, **{"group.id": group}))

    def ask(
        self, partitions: list[tuple[str, int]], unknown: list[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[int, int | None]]:
        """Ends of partitions and, for those in `unknown`, the offset that the group begins to read at.

        Raises:
            KafkaException: no answer in time.
        """
        with self._lock:
            ends = self._offsets(partitions, OffsetSpec.latest())
            begins = self._begins(unknown) if unknown else {}
        return {tp: (end, begins.get(tp)) for tp, end in ends.items()}

    def close(self) -> None:
        """Release the clients."""
        with self._lock:
            self._consumer.close()

    def _begins(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        stored = self._consumer.committed(asked, timeout=ASK_TIMEOUT_S)
        found: dict[tuple[str, int], int] = {}
        for place in stored:
            if place.error is not None:
                raise KafkaException(place.error)
            if place.offset != OFFSET_INVALID:
                found[place.topic, place.partition] = place.offset
        fresh = [tp for tp in partitions if tp not in found]
        return {**found, **(self._offsets(fresh, OffsetSpec.earliest()) if fresh else {})}

    def _offsets(self, partitions: list[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = {TopicPartition(topic, partition): spec for topic, partition in partitions}
        answers = self._admin.list_offsets(asked, request_timeout=ASK_TIMEOUT_S)
        return {(place.topic, place.partition): future.result().offset for place, future in answers.items()}
