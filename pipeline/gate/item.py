"""What goes in and out of the gate's judgement: a record read, a record to be written. Plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import structlog

from pipeline.clock import steady_s, unix_ms
from pipeline.logs import Repeats
from pipeline.metrics import Metrics
from pipeline.records.codec import Headers, headers_for, trace_of
from pipeline.records.deadletter import dead_letter_headers
from pipeline.tracing import Span

log = structlog.get_logger(__name__)

Kind = Literal["urgent", "update", "remerge", "inbound", "normal"]
DEAD_LETTER: Final = "dead-letter"
STAGE: Final = "gate"


class Item(NamedTuple):
    """A record that was read.

    Attributes:
        kind: Which entrance it came by; `remerge` is a consent update read a second time on purpose.
        topic: Name without the prefix.
        tp: Full topic name and partition.
        timestamp_ms: Broker time.
        read_at_s: When it was read, on the steady clock; of a request that was held back (`settling.py`): until when.
        span: Its judgement in the trace of its message; None: not traced.
        known_ms: Of a request that was held back: up to when consent updates of the partition's parent have come here.
    """

    kind: Kind
    topic: str
    tp: tuple[str, int]
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Any
    read_at_s: float
    span: Span | None = None
    known_ms: int | None = None

    @property
    def source(self) -> dict[str, Any]:
        """Identity of the record, as ready records and events carry it."""
        return {
            "topic": self.topic, "partition": self.tp[1], "offset": self.offset, "timestamp_ms": self.timestamp_ms,
        }  # fmt: skip

    @property
    def size_bytes(self) -> int:
        """Memory that its value takes."""
        return len(self.value) if self.value is not None else 0


class Out(NamedTuple):
    """A record to be written.

    Attributes:
        topic: Name without the prefix.
        partition: -1: by the key.
        stored: Called with the offset once Kafka has it.
    """

    topic: str
    key: bytes | str | None
    value: bytes | None
    headers: Headers
    partition: int = -1
    stored: Callable[[int], None] | None = None


class Misplaced:
    """Counts records that have to be re-routed, and says now and then that a producer uses another partitioner."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._repeats = Repeats()

    def told(self, item: Item, home: int) -> None:
        """A record was found on a foreign partition."""
        self._metrics.rerouted.labels(item.topic).inc()
        held_back = self._repeats.pass_now("misplaced", steady_s())
        if held_back is not None:
            log.warning(
                "record_rerouted", topic=item.topic, partition=item.tp[1], home=home, offset=item.offset,
                suppressed=held_back,
            )  # fmt: skip


def traced(schema: str, item: Item) -> Headers:
    """Headers of a record that an item caused: ours, and the item's trace context."""
    return headers_for(schema, trace_of(item.headers))


class DeadLetters:
    """Writes away what cannot be read, counts it, and says so now and then."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._repeats = Repeats()

    def of(self, item: Item, code: str, message: str, attempts: int = 0) -> Out:
        """The record that keeps an item's bytes."""
        self._metrics.dead_letters.labels(STAGE, code).inc()
        if item.span is not None:
            item.span.set_attributes({"wapipe.outcome": "dead-letter", "error.type": code})
        held_back = self._repeats.pass_now(code, steady_s())
        if held_back is not None:
            log.warning(
                "record_dead_lettered", topic=item.topic, partition=item.tp[1], offset=item.offset, code=code,
                detail=message, suppressed=held_back, remedy="wapipe dead-letters list",
            )  # fmt: skip
        return dead_letter(item, code, message, attempts)


def dead_letter(item: Item, code: str, message: str, attempts: int = 0) -> Out:
    """Write the original bytes away, with headers that say why."""
    headers = dead_letter_headers(
        topic=item.tp[0],
        partition=item.tp[1],
        offset=item.offset,
        stage=STAGE,
        code=code,
        message=message,
        attempts=attempts,
        timestamp_ms=unix_ms(),
        original=item.headers,
    )
    return Out(DEAD_LETTER, item.key, item.value, headers, item.tp[1])
