"""Statuses of traced messages: found by their callback data to belong to the trace, told when Kafka has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.ingress.outgoing import Translator, Webhook
from pipeline.records.codec import header_of
from pipeline.tracing import OFF, Tracing
from tests.support.spans import PARENT, PARENT_ID, TRACE_ID, Recorder, ids_of, place_of
from tests.unit.ingress.support import PERSON, cloud, settings_with, status, voice_for_all

NOW_MS = 1_795_300_100_000
CALLBACK = f"order-1:2:{PARENT.decode()}"


def translated(folder: Path, tracing: Tracing, said: str = "delivered", callback: str = CALLBACK) -> Webhook:
    """One status, and that Kafka has it."""
    settings = settings_with(folder)
    translator = Translator(settings, tracing=tracing)
    raw = cloud(statuses=[status(said, biz_opaque_callback_data=callback)])
    webhook = translator.webhook(raw, NOW_MS, None, voice_for_all(settings))
    translator.stored(webhook, NOW_MS)
    return webhook


@pytest.mark.parametrize("said", ["sent", "delivered", "read", "failed"])
def test_a_status_is_a_span_below_its_request_to_the_api(tmp_path: Path, said: str) -> None:
    """The span of a status continues from the POST, and the inbound event from the span."""
    recorder = Recorder()
    [record, *_] = translated(tmp_path, recorder.tracing, said).records
    span = recorder.named(f"webhook {said}")
    trace_id, span_id, parent_id = place_of(span)
    assert (trace_id, parent_id) == (TRACE_ID, PARENT_ID)
    assert ids_of(header_of(record.headers, "traceparent")) == (TRACE_ID, span_id)
    told = dict(span.attributes or {})
    assert (told["wapipe.request_id"], told["wapipe.attempt"], told["wapipe.status"]) == ("order-1", 2, said)
    assert span.status.is_ok is (said != "failed")
    assert PERSON not in str(told)


def test_a_status_that_kafka_did_not_take_is_no_span(tmp_path: Path) -> None:
    """What is not stored comes again, and is told then."""
    recorder, settings = Recorder(), settings_with(tmp_path)
    raw = cloud(statuses=[status("sent", biz_opaque_callback_data=CALLBACK)])
    Translator(settings, tracing=recorder.tracing).webhook(raw, NOW_MS, None, voice_for_all(settings))
    assert recorder.ended == []


@pytest.mark.parametrize("callback", ["order-1:2", "somebody else's", ""])
def test_an_untraced_status_begins_no_trace(tmp_path: Path, callback: str) -> None:
    """A status whose message is not traced, or not ours, has no span and no header."""
    recorder = Recorder()
    [record] = translated(tmp_path, recorder.tracing, callback=callback).records
    assert recorder.ended == []
    assert header_of(record.headers, "traceparent") is None


def test_an_ingress_without_tracing_hands_the_trace_on(tmp_path: Path) -> None:
    """Where only senders trace, readers of `inbound-events` can still join."""
    [record] = translated(tmp_path, OFF).records
    assert header_of(record.headers, "traceparent") == PARENT
