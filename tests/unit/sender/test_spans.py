"""A message's spans at the sender: waits and requests as children of the gate's span, and what goes to the API."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline.records.codec import header_of
from pipeline.tracing import OFF, Tracing
from pipeline.whatsapp.callback import trace_in
from tests.support.sender_values import ADA, NOW_MS
from tests.support.spans import PARENT, PARENT_ID, TRACE_ID, Recorder, ids_of, place_of
from tests.unit.sender.making import Make
from tests.unit.sender.sending import EVENTS, REFUSED, TRANSIENT, Api, sends

POST, WAIT = "POST messages", "wait in lane"


def sent(bench: Make, tracing: Tracing, *answers: Any, trace: bytes = PARENT, **fields: Any) -> Api:
    """Let a traced message go, and wait for its end; returns the API."""
    world = bench(tracing=tracing)
    api = sends(world, *answers)
    world.opened()
    world.deliver(world.ready(**fields)._replace(pairs=[("traceparent", trace)]))
    world.run_for(20.0)
    assert world.kafka.log(EVENTS), "it has ended"
    assert {header_of(stored.pairs, "traceparent") for stored in world.kafka.log(EVENTS)} == {trace}
    assert not world.crashes
    return api


def test_wait_and_request_are_children_of_the_gate(bench: Make) -> None:
    """Wait and POST are siblings below the span that the record names; statuses continue from the POST."""
    recorder = Recorder()
    api = sent(bench, recorder.tracing)
    post, wait = recorder.named(POST), recorder.named(WAIT)
    assert {place_of(post)[::2], place_of(wait)[::2]} == {(TRACE_ID, PARENT_ID)}
    [callback] = api.posts
    assert callback.startswith("r-1:1:")
    assert ids_of(trace_in(callback)) == place_of(post)[:2]
    attributes = dict(post.attributes or {})
    assert (attributes["http.response.status_code"], attributes["wapipe.outcome"]) == (200, "accepted")
    assert wait.end_time == post.start_time
    assert ADA not in str([span.to_json() for span in recorder.ended])


def test_each_attempt_is_a_span(bench: Make) -> None:
    """A message that is tried again has a wait and a POST for each attempt; the first one failed."""
    recorder = Recorder()
    sent(bench, recorder.tracing, TRANSIENT)
    posts = [span for span in recorder.ended if span.name == POST]
    assert [dict(span.attributes or {})["wapipe.attempt"] for span in posts] == [1, 2]
    assert [span.status.is_ok for span in posts] == [False, True]
    first, second = (span for span in recorder.ended if span.name == WAIT)
    assert second.start_time == posts[0].end_time
    assert first.end_time == posts[0].start_time


def test_a_message_that_is_never_sent_ends_in_its_wait(bench: Make) -> None:
    """What expires in the lane has a wait that says so, and no POST."""
    recorder = Recorder()
    sent(bench, recorder.tracing, expires_ms=NOW_MS - 1, valid_until_ms=NOW_MS - 1)
    [wait] = recorder.ended
    assert (wait.name, dict(wait.attributes or {})["wapipe.outcome"]) == (WAIT, "expired")


@pytest.mark.parametrize("is_on", [True, False])
def test_what_is_not_traced_carries_the_contracts_callback(bench: Make, is_on: bool) -> None:
    """Without tracing, and for a trace that is not sampled, the API gets request id and attempt only."""
    recorder = Recorder(is_kept=False)
    api = sent(bench, recorder.tracing if is_on else OFF)
    assert api.posts == ["r-1:1"]
    assert recorder.ended == []


@pytest.mark.parametrize(("answers", "outcome"), [((), "accepted"), ((REFUSED,), "failed")])
def test_each_end_at_the_sender_is_one_line(bench: Make, answers: tuple[Any, ...], outcome: str) -> None:
    """The end of a message is one line, with its trace, its codes and times, and the person masked."""
    with capture_logs() as lines:
        sent(bench, OFF, *answers)
    [line] = [line for line in lines if line["event"] == "message_settled"]
    assert (line["outcome"], line["request_id"], line["attempt"]) == (outcome, "r-1", 1)
    assert (line["trace_id"], line["recipient"]) == (TRACE_ID, "1555•••9999")
    assert line["error_code"] == (131026 if answers else None)
    assert line["duration_ms"] is not None
    assert line["wait_ms"] is not None
    assert ADA not in str(line)
