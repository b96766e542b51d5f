"""A record as the feed hands it over, and how the store reads it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.clock import parse_rfc3339_ms
from pipeline.records.codec import stable_id


class Taken(NamedTuple):
    """A record as it came from Kafka; `topic` is its name without the prefix."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Any

    @property
    def place(self) -> str:
        """`topic[partition]@offset`."""
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @property
    def key_text(self) -> str:
        """Its key as text; what is none is shown as such."""
        return (self.key or b"").decode(errors="replace")


def uid_of(event: Mapping[str, Any], record: Taken) -> bytes:
    """16 bytes that are the same whenever the same event is read."""
    event_id = text_of(event, "event_id") or record.place
    try:
        known = bytes.fromhex(event_id)
    except ValueError:
        known = b""
    return known if len(known) == 16 else bytes.fromhex(stable_id(event_id))


def text_of(event: Mapping[str, Any], name: str) -> str | None:
    """A field that is text; None: it is missing, or something else."""
    value = event.get(name)
    return value if isinstance(value, str) else None


def moment_of(value: object, record: Taken) -> int:
    """A time of ours; the broker's stands in for one that cannot be read."""
    try:
        return parse_rfc3339_ms(str(value))
    except ValueError:
        return record.timestamp_ms
