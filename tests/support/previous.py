"""What is kept of the previous release: all records that its real processes left on Kafka, in the midst of their work.

`tests/contract/kept/previous/` holds it; `python -m tests.support.previous_make` makes it anew. Times in the records
are moved to now when they are written to a broker: else everything would have expired.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from pipeline.clock import parse_rfc3339_ms, rfc3339
from tests.support.campaign import Request
from tests.support.reading import Record

FOLDER: Final = Path(__file__).parents[1] / "contract" / "kept" / "previous"
RECORDS: Final = "records.jsonl"
FACTS: Final = "facts.json"
INTERNAL: Final = (
    "ready-urgent", "ready-normal", "ready-bulk", "delayed-retry", "delayed-retry-1m", "delayed-retry-10m",
    "delayed-retry-1h", "send-ledger", "account-state",
)  # fmt: skip
"""Topics that only wapipe itself writes and reads."""
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")
_MS_SINCE_1970: Final = range(1_000_000_000_000, 10_000_000_000_000)


class Kept(NamedTuple):
    """A record of the previous release; `topic` is its name without the prefix."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str | None
    value: str | None
    headers: dict[str, str]

    @classmethod
    def of(cls, record: Record, topic: str) -> Kept:
        """A record as it was read; all that the pipeline writes is text."""
        key, value = (raw.decode() if raw is not None else None for raw in (record.key, record.value))
        headers = {name: raw.decode() for name, raw in record.headers.items()}
        return cls(topic, record.partition, record.offset, record.timestamp_ms, key, value, headers)

    def json(self) -> Any:
        """The parsed value."""
        return orjson.loads(self.value or "")


class Facts(NamedTuple):
    """What is known about it besides its records.

    Attributes:
        commit: Whose processes wrote it.
        at_ms: When it was read.
        requests: What had been asked, in order, by what was to become of it.
        taken: Ids of the requests that the API had taken, in order.
        committed: Role → topic → partition → offset of its group.
        schemas: Its JSON Schemas of internal records, by record.
    """

    commit: str
    at_ms: int
    requests: dict[str, list[Request]]
    taken: list[str]
    committed: dict[str, dict[str, dict[str, int]]]
    schemas: dict[str, dict[str, Any]]


def kept_records() -> list[Kept]:
    """All of its records, by topic and partition in their order."""
    return [Kept(**orjson.loads(line)) for line in (FOLDER / RECORDS).read_bytes().splitlines()]


def kept_facts() -> Facts:
    """What is known about it."""
    return Facts(**orjson.loads((FOLDER / FACTS).read_bytes()))


def moved(record: Kept, by_ms: int) -> bytes | None:
    """A record's value with all its times later by so much, else byte for byte the same; None: a tombstone."""
    return orjson.dumps(_moved(record.json(), by_ms)) if record.value is not None else None


def _moved(value: Any, by_ms: int) -> Any:
    if isinstance(value, dict):
        return {key: _moved(one, by_ms) for key, one in value.items()}
    if isinstance(value, list):
        return [_moved(one, by_ms) for one in value]
    if isinstance(value, str) and _TIME.fullmatch(value):
        return rfc3339(parse_rfc3339_ms(value) + by_ms)
    if type(value) is int and value in _MS_SINCE_1970:
        return value + by_ms
    return value


def known_shape(value: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Whether a reader that decides by kind and aspect knows this one at all; others it passes over."""
    shapes = [one for one in _shapes(schema, schema) if "aspect" in one.get("properties", {})]
    return not shapes or any(
        all(value.get(name) == shape["properties"][name].get("const") for name in ("kind", "aspect"))
        for shape in shapes
    )


def _shapes(part: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "$ref" in part:
        yield from _shapes(root["$defs"][part["$ref"].rsplit("/", 1)[1]], root)
        return
    yield part
    for one in (*part.get("anyOf", ()), *part.get("oneOf", ())):
        yield from _shapes(one, root)
