"""What the gate tells of a judgement: its event, the log line of an end, the span in the message's trace.

Runs in the gate's worker, synchronously; the log line is written when Kafka has the event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pipeline.clock import steady_s, unix_ms
from pipeline.gate.item import Item, Out, traced
from pipeline.logs import frequent
from pipeline.records import outbound
from pipeline.records.codec import TRACEPARENT, encode, trace_of
from pipeline.tracing import SpanKind, Tracing, traceparent_of

EVENTS: Final = "outbound-events"


class Teller:
    """Makes the records of events; one per judge, made after the logs were configured."""

    def __init__(self) -> None:
        self._lines = frequent(__name__)

    def event(self, item: Item, recipient: str, event: Mapping[str, Any]) -> Out:
        """The record of an event, told in the item's span, too; of an end, also in the log."""
        if item.span is not None:
            told = {"outcome": event["type"], "reason": event["reason"], **_labels(event)}
            item.span.set_attributes({f"wapipe.{name}": value for name, value in told.items() if value is not None})
        stored = self._line(item, event) if event["terminal"] else None
        return Out(EVENTS, recipient, encode(event), traced(outbound.SCHEMA, item), stored=stored)

    def _line(self, item: Item, event: Mapping[str, Any]) -> Callable[[int], None]:
        def stored(_offset: int) -> None:
            wait_ms = max(0, unix_ms() - item.timestamp_ms)
            self._lines.info("message_settled", **outbound.log_fields(event, trace_of(item.headers), wait_ms=wait_ms))

        return stored


def begun(tracing: Tracing, item: Item) -> Item:
    """The item with its span, as part of the trace of its record; what it causes continues from that span."""
    topic, (_, partition) = item.topic, item.tp
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": "judge",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": item.offset,
    }
    begin_ms = unix_ms() - int((steady_s() - item.read_at_s) * 1000)
    span = tracing.begin(f"judge {topic}", SpanKind.CONSUMER, trace_of(item.headers), begin_ms, attributes)
    kept = [(name, value) for name, value in item.headers or () if name != TRACEPARENT]
    return item._replace(headers=[*kept, (TRACEPARENT, traceparent_of(span))], span=span)


def ended(items: Iterable[Item]) -> None:
    """Kafka has all that these led to."""
    for item in items:
        if item.span is not None:
            item.span.end()


def _labels(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("request_id", "number", "category", "priority", "campaign", "attempt")}
