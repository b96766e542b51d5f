"""What a reader hands on of a Kafka record, for tests of those who apply it."""

from __future__ import annotations

from typing import NamedTuple


class KafkaMessage(NamedTuple):
    """Key, value and partition, asked for as on a message of the Kafka client."""

    raw_key: bytes | None
    raw: bytes | None
    at_partition: int = 0
    time_ms: int = 0
    place: int = 0
    said: tuple[tuple[str, bytes], ...] = ()

    def headers(self) -> list[tuple[str, bytes]] | None:
        """As of a Kafka message; None: it has none."""
        return list(self.said) or None

    def key(self) -> bytes | None:
        """As of a Kafka message."""
        return self.raw_key

    def timestamp(self) -> tuple[int, int]:
        """As of a Kafka message: (type, ms)."""
        return 2, self.time_ms

    def value(self) -> bytes | None:
        """As of a Kafka message."""
        return self.raw

    def partition(self) -> int:
        """As of a Kafka message."""
        return self.at_partition

    def offset(self) -> int:
        """As of a Kafka message."""
        return self.place
