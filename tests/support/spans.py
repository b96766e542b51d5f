"""Tracing for tests without a collector: what ended stands in a list."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from pipeline.tracing import Tracing

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01".encode()
MALFORMED = [
    b"",
    b"00-abc-def-01",
    b"\xff\xfe",
    PARENT[:-1],
    PARENT + b"-more",
    PARENT.upper(),
    b"00-" + b"0" * 32 + PARENT[35:],
    PARENT[:36] + b"0" * 16 + b"-01",
    b"x" * 100_000,
]
"""What no trace context of version 00 is."""


class Recorder:
    """Spans that have ended.

    Args:
        is_kept: Whether the sampler keeps traces that begin here.

    Attributes:
        tracing: To be handed to what is under test.
    """

    def __init__(self, *, is_kept: bool = True) -> None:
        provider = TracerProvider(sampler=ALWAYS_ON if is_kept else ALWAYS_OFF, shutdown_on_exit=False)
        self._spans = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracing = Tracing(provider.get_tracer("test"), provider.shutdown)

    @property
    def ended(self) -> list[ReadableSpan]:
        """In the order of their ends."""
        return list(self._spans.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        """The one span of that name."""
        [found] = [span for span in self.ended if span.name == name]
        return found


def ids_of(header: bytes | None) -> tuple[str, str]:
    """Trace id and span id of a `traceparent`."""
    assert header is not None
    _, trace_id, span_id, _ = header.decode().split("-")
    return trace_id, span_id


def place_of(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Trace id, span id, parent's span id, as a `traceparent` has them."""
    assert span.context is not None
    parent = f"{span.parent.span_id:016x}" if span.parent is not None else None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent
