"""Tracing: one trace per message, in W3C trace context, by OpenTelemetry. Off unless the environment asks for it.

The API of OpenTelemetry is all that is needed here; the SDK and the OTLP exporter (extra `otel`) are loaded when
`OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. Everything else is the SDK's own: `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`,
`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, … Spans are begun and ended on the event loop; one thread of the SDK
sends them, from a queue that drops what has no room. Off, `is_on` is all that a message costs.

No attribute of a span tells who is written to, nor what: numbers, words of closed lists, request ids, codes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline import __version__
from pipeline.errors import ConfigError

__all__ = ["OFF", "Span", "SpanKind", "Status", "StatusCode", "Tracing", "end_at", "traceparent_of", "tracing_of"]

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"
FLUSH_S: Final = 3.0
"""How long the end of a process waits for its last spans: a collector that is away must not hold it up."""

Attributes = Mapping[str, str | int | bool]
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Tracing:
    """Begins spans, or does nothing at all.

    Args:
        tracer: None: tracing is off.
        shutdown: Sends what is left and stops; may block, e.g. while no collector answers.

    Attributes:
        is_on: Whether spans are made; to be asked before anything else is done for one.
    """

    def __init__(self, tracer: Tracer | None = None, shutdown: Callable[[], object] | None = None) -> None:
        self.is_on = tracer is not None
        self._tracer = tracer
        self._shutdown = shutdown

    def begin(
        self, name: str, kind: SpanKind, parent: bytes | None, begin_ms: int | None, attributes: Mapping[str, Any]
    ) -> Span:
        """Begin a span; it is sent when it has ended, and forgotten if it never does.

        Args:
            name: One of few: no id is part of it.
            parent: `traceparent` of the span that caused this one; None or malformed: a trace of its own begins.
            begin_ms: When it began, ms since 1970; None: now.
            attributes: Without a prefix if OpenTelemetry knows the name, else under `wapipe.`; None is left out.

        Raises:
            RuntimeError: tracing is off.
        """
        if self._tracer is None:
            raise RuntimeError("tracing is off: ask `is_on` first")
        told = {key: value for key, value in attributes.items() if value is not None}
        start_ns = None if begin_ms is None else begin_ms * 1_000_000
        return self._tracer.start_span(name, _context_of(parent), kind, told, start_time=start_ns)

    def close(self, timeout_s: float = FLUSH_S) -> None:
        """Send what is left, at most for `timeout_s`. Blocks."""
        if self._shutdown is not None:
            last = threading.Thread(target=self._shutdown, name="tracing-flush", daemon=True)
            last.start()
            last.join(timeout_s)


OFF: Final = Tracing()


def traceparent_of(span: Span) -> bytes:
    """The header by which others continue a span's trace."""
    context = span.get_span_context()
    ids = f"{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
    return f"00-{ids}-{context.trace_flags:02x}".encode()


def end_at(span: Span, end_ms: int) -> None:
    """End a span at a time, ms since 1970."""
    span.end(end_ms * 1_000_000)


def _context_of(parent: bytes | None) -> Context:
    """A context of nothing but the parent: what else goes on in this task does not belong to the message."""
    empty = Context()
    if parent is None:
        return empty
    return _PROPAGATOR.extract({"traceparent": parent.decode("ascii", "replace")}, empty)


def tracing_of(service: str, instance: str) -> Tracing:
    """Tracing as the environment asks for it.

    Args:
        service: The role; its spans come from the service `wapipe-<role>` unless `OTEL_SERVICE_NAME` says otherwise.
        instance: What tells two processes of one role apart.

    Raises:
        ConfigError: a collector is named, and the extra is not installed, or it cannot be spoken to.
    """
    variable = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if variable is None or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return OFF
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return OFF
    _require_speakable(variable)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as exc:
        remedy = f"pip install 'wapipe[otel]', or unset {variable}"
        raise ConfigError(f"{variable}: tracing needs the extra otel, which is not installed; {remedy}") from exc
    ours = {"service.name": f"wapipe-{service}", "service.instance.id": instance, "service.version": __version__}
    resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    try:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as exc:
        raise ConfigError(f"OTEL_*: {exc}") from exc
    return Tracing(provider.get_tracer("wapipe", __version__), provider.shutdown)


def _require_speakable(variable: str) -> None:
    """Refuse a collector that the exporter could not speak to; it would say so only when the first spans go out.

    Raises:
        ConfigError: names the variable and what would be right.
    """
    if not os.environ[variable].startswith(("http://", "https://")):
        raise ConfigError(f"{variable}: must begin with http:// or https://, e.g. http://collector:4318")
    protocol = next((name for name in PROTOCOLS if os.environ.get(name)), None)
    if protocol is not None and os.environ[protocol] != PROTOCOL:
        raise ConfigError(
            f"{protocol}: {os.environ[protocol]} is not spoken here; use {PROTOCOL} (port 4318 as a rule)"
        )
