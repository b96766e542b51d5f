"""What a reader hands on of a Kafka record, for tests of those who apply it."""

from __future__ import annotations

from typing import NamedTuple


class KafkaMessage(NamedTuple):
    """Key and value, asked for as on a message of the Kafka client."""

    raw_key: bytes | None
    raw: bytes | None
    place: int = 0

    def key(self) -> bytes | None:
        """As of a Kafka message."""
        return self.raw_key

    def value(self) -> bytes | None:
        """As of a Kafka message."""
        return self.raw

    def offset(self) -> int:
        """As of a Kafka message."""
        return self.place
