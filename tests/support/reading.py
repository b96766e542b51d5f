"""Records of a topic as a test sees them: read from the beginning, a little further each time. Blocks; no group."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

READ_TIMEOUT_S: Final = 60.0
BATCH_RECORDS: Final = 5000


class Record(NamedTuple):
    """A record of a topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    def json(self) -> Any:
        """The parsed value."""
        return orjson.loads(self.value or b"")


class TopicReader:
    """Reads one topic; `fresh` goes on where the last call ended."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        # The group's name is a formality: nothing is committed, so no group comes to be.
        settings = {"group.id": "test-reader", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "log_level": 0, **settings})
        self._topic = topic
        self._positions: dict[int, int] = {}
        self._count()

    def _count(self) -> None:
        """Read partitions, too, that were added meanwhile."""
        metadata = self._consumer.list_topics(self._topic, timeout=READ_TIMEOUT_S)
        partitions = metadata.topics[self._topic].partitions
        if len(partitions) > len(self._positions):
            self._positions = dict.fromkeys(partitions, 0) | self._positions
            self._consumer.assign([TopicPartition(self._topic, n, place) for n, place in self._positions.items()])

    def ends(self) -> dict[int, int]:
        """Where each partition ends now."""
        return {
            partition: self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=READ_TIMEOUT_S
            )[1]
            for partition in self._positions
        }

    def fresh(self) -> list[Record]:
        """All records that came since the last call, up to the end that the topic has now."""
        self._count()
        ends, found = self.ends(), list[Record]()
        give_up_at = time.monotonic() + READ_TIMEOUT_S
        while any(self._positions[partition] < end for partition, end in ends.items()):
            assert time.monotonic() < give_up_at, f"{self._topic} stands at {self._positions} of {ends}"
            for message in self._consumer.consume(BATCH_RECORDS, 0.1):
                assert message.error() is None, message.error()
                found.append(_record(message))
            for place in self._consumer.position([TopicPartition(self._topic, n) for n in self._positions]):
                self._positions[place.partition] = max(self._positions[place.partition], place.offset)
        return found

    def close(self) -> None:
        """Release the client."""
        self._consumer.close()


def read_all(bootstrap: str, topic: str) -> list[Record]:
    """Everything that a topic holds now."""
    reader = TopicReader(bootstrap, topic)
    try:
        return reader.fresh()
    finally:
        reader.close()


def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Committed offsets of a group by partition; those that it never committed are left out."""
    settings = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer(settings)
    try:
        partitions = consumer.list_topics(topic, timeout=READ_TIMEOUT_S).topics[topic].partitions
        places = consumer.committed([TopicPartition(topic, n) for n in partitions], timeout=READ_TIMEOUT_S)
        return {place.partition: place.offset for place in places if place.offset >= 0}
    finally:
        consumer.close()


def assignments(bootstrap: str, group: str) -> list[dict[str, set[int]]]:
    """Partitions by topic of each member of a group that has any."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    members = admin.describe_consumer_groups([group])[group].result(READ_TIMEOUT_S).members
    return [found for member in members if (found := _by_topic(member.assignment.topic_partitions))]


def _by_topic(places: Iterable[Any]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for place in places:
        found.setdefault(place.topic, set()).add(place.partition)
    return found


def _record(message: Any) -> Record:
    headers = {name: value or b"" for name, value in message.headers() or ()}
    _, timestamp_ms = message.timestamp()
    return Record(
        message.topic(), message.partition(), message.offset(), timestamp_ms, message.key(), message.value(), headers
    )
