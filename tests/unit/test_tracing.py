"""Tracing: what switches it on, what it costs when its collector is away, and what a malformed header does."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.tracing import OFF, SpanKind, Tracing, traceparent_of, tracing_of
from tests.support.spans import MALFORMED, PARENT, PARENT_ID, TRACE_ID, Recorder, ids_of, place_of

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
COLLECTOR = "http://127.0.0.1:9"
THREAD_ENDS_S = 20.0
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


@pytest.fixture(autouse=True)
def no_otel_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without what the environment of the tests says."""
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    monkeypatch.delenv("OTEL_TRACES_EXPORTER", raising=False)


def test_it_is_off_unless_a_collector_is_named() -> None:
    """Without an endpoint nothing is traced, nothing is loaded, and closing is nothing."""
    tracing = tracing_of("gate", "host:1")
    assert tracing is OFF
    assert not tracing.is_on
    tracing.close()


@pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_the_standard_switches_turn_it_off(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """What OpenTelemetry's own variables switch off stays off, whatever endpoint is named."""
    monkeypatch.setenv(ENDPOINT, COLLECTOR)
    monkeypatch.setenv(name, value)
    assert not tracing_of("gate", "host:1").is_on


def test_the_environment_switches_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint is enough; the service is named by the role unless OTEL_SERVICE_NAME says otherwise."""
    monkeypatch.setenv(ENDPOINT, COLLECTOR)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    tracing = tracing_of("gate", "host:1")
    span = tracing.begin("judge", SpanKind.CONSUMER, None, None, {})
    resource = span.resource.attributes  # type: ignore[attr-defined]
    assert (resource["service.name"], resource["service.instance.id"]) == ("wapipe-gate", "host:1")
    assert resource["deployment.environment"] == "test"
    tracing.close(0.1)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "acme-gate")
    named = tracing_of("gate", "host:1")
    span = named.begin("judge", SpanKind.CONSUMER, None, None, {})
    assert span.resource.attributes["service.name"] == "acme-gate"  # type: ignore[attr-defined]
    named.close(0.1)


def test_a_missing_extra_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector without the extra stops the start and says what to install."""
    monkeypatch.setenv(ENDPOINT, COLLECTOR)
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    with pytest.raises(ConfigError, match=rf"^{ENDPOINT}: .*extra otel.*pip install 'wapipe\[otel\]'") as caught:
        tracing_of("gate", "host:1")
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (ENDPOINT, "collector:4318", r"OTLP_ENDPOINT: must begin with http://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://c:4317", r"OTLP_TRACES_ENDPOINT: must begin with http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", r"OTLP_PROTOCOL: grpc is not spoken here; use http/protobuf"),
    ],
)
def test_what_cannot_be_spoken_to_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """An endpoint or protocol that would fail only with the first spans stops the start, by name."""
    monkeypatch.setenv(ENDPOINT, COLLECTOR)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=says):
        tracing_of("gate", "host:1")


def test_a_span_continues_its_parents_trace() -> None:
    """A span below a `traceparent` is of its trace, and the header made from the span leads on from there."""
    recorder = Recorder()
    span = recorder.tracing.begin("one", SpanKind.CONSUMER, PARENT, 1_000, {"wapipe.number": "2", "left_out": None})
    span.end()
    trace_id, span_id, parent_id = place_of(recorder.named("one"))
    assert (trace_id, parent_id) == (TRACE_ID, PARENT_ID)
    assert ids_of(traceparent_of(span)) == (TRACE_ID, span_id)
    assert recorder.named("one").start_time == 1_000 * 1_000_000
    assert dict(recorder.named("one").attributes or {}) == {"wapipe.number": "2"}


@pytest.mark.parametrize("header", [None, *MALFORMED], ids=lambda header: repr(header)[:24])
def test_what_names_no_trace_begins_one(header: bytes | None) -> None:
    """Without a header, or with one that cannot be read, a span is the root of a trace of its own."""
    recorder = Recorder()
    recorder.tracing.begin("one", SpanKind.CONSUMER, header, None, {}).end()
    trace_id, _, parent_id = place_of(recorder.named("one"))
    assert parent_id is None
    assert trace_id not in (TRACE_ID, "0" * 32)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening


def test_a_silent_collector_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, silent: socket.socket) -> None:
    """Spans beyond the queue are dropped, not kept and not waited for, and closing ends when its time is up."""
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")  # seconds: how long the SDK's threads outlive the test
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
    others = set(threading.enumerate())
    tracing = tracing_of("gate", "host:1")
    processor = _processor(tracing)
    for _ in range(2_000):
        tracing.begin("one", SpanKind.CONSUMER, None, None, {}).end()
    assert len(processor._queue) <= 64
    began_s = time.monotonic()
    tracing.close(0.2)
    assert time.monotonic() - began_s < 2.5, "the exporter's own time-out is 3 s, the SDK's 30 s"
    silent.close()
    for thread in set(threading.enumerate()) - others:
        thread.join(THREAD_ENDS_S)
        assert not thread.is_alive(), f"{thread.name} goes on"


def _processor(tracing: Tracing) -> Any:
    provider = tracing._shutdown.__self__  # type: ignore[union-attr]
    [processor] = provider._active_span_processor._span_processors
    return processor._batch_processor
