"""What a whole pipeline tells the outside about its messages: one trace each, at a collector.

One gate, one sender and one ingress for the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from tests.support.campaign import ENTRANCE, Request, people, request
from tests.support.otlp import Collector, Span
from tests.support.spans import PARENT, PARENT_ID, TRACE_ID
from tests.support.world import NUMBER, Draft, World

ADA, BOB, EVE = people(3)
WAIT_S = 60.0
STATUSES = ("sent", "delivered", "read")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Takes the spans of all roles."""
    with Collector() as one:
        yield one


@pytest.fixture(scope="module")
def world(kafka: str, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The roles, traced by nothing but the standard variables of their environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        numbers = {NUMBER: {"profile": "cloud"}}
        folder = tmp_path_factory.mktemp("observed")
        with World(kafka, folder, numbers=numbers, partitions=3, webhooks=True) as one:
            one.spawn("gate")
            one.spawn("sender")
            one.ready()
            one.grant([ADA, BOB])
            yield one


def write(world: World, one: Request, traceparent: bytes | None) -> None:
    """Write a request, with a header or without."""
    headers = [] if traceparent is None else [("traceparent", traceparent)]
    world.write(ENTRANCE, [Draft(one["to"].encode(), orjson.dumps(one), headers)])


def traced(world: World, collector: Collector, request_id: str, names: set[str]) -> dict[str, Span]:
    """The spans of a message by name, once all of these have come; they are of one trace."""

    def found() -> dict[str, Span]:
        return {span.name: span for span in collector.of(request_id)}

    world.until(lambda: names <= found().keys(), f"spans of {request_id}", WAIT_S)
    assert found().keys() == names
    assert len({span.trace_id for span in found().values()}) == 1
    return found()


WHOLE = {"judge outbound-requests", "wait in lane", "POST messages", *(f"webhook {said}" for said in STATUSES)}


def test_a_message_is_one_trace_from_its_request_to_its_webhooks(world: World, collector: Collector) -> None:
    """Gate, lane, POST and statuses stand in the trace of the request's header, each below what caused it."""
    write(world, request("with-a-trace", NUMBER, ADA), PARENT)
    spans = traced(world, collector, "with-a-trace", WHOLE)
    judged, post = spans["judge outbound-requests"], spans["POST messages"]
    assert (judged.trace_id, judged.parent_id) == (TRACE_ID, PARENT_ID)
    assert {post.parent_id, spans["wait in lane"].parent_id} == {judged.span_id}
    assert {spans[f"webhook {said}"].parent_id for said in STATUSES} == {post.span_id}
    assert [spans[name].service for name in ("judge outbound-requests", "POST messages", "webhook read")] == [
        "wapipe-gate", "wapipe-sender", "wapipe-ingress",
    ]  # fmt: skip
    assert spans["wait in lane"].end_ns <= post.begin_ns < post.end_ns
    for topic in ("ready-normal", "outbound-events", "inbound-events"):
        headers = [record.headers for record in world.read(topic) if record.json().get("request_id") == "with-a-trace"]
        assert all(one["traceparent"].split(b"-")[1].decode() == TRACE_ID for one in headers), topic
        assert headers or topic == "ready-normal"  # there the id stands inside the request


@pytest.mark.parametrize("header", [None, b"00-malformed-01"])
def test_a_message_without_a_trace_begins_one(world: World, collector: Collector, header: bytes | None) -> None:
    """Without a readable `traceparent` the message is sent, and the span of the gate is the root of its trace."""
    request_id = f"no-trace-{header is None}"
    write(world, request(request_id, NUMBER, BOB), header)
    spans = traced(world, collector, request_id, WHOLE)
    judged = spans["judge outbound-requests"]
    assert judged.parent_id == ""
    assert judged.trace_id != TRACE_ID
    assert {span.parent_id for name, span in spans.items() if name.startswith("webhook")} == {
        spans["POST messages"].span_id
    }


def test_a_rejection_is_told_in_its_trace(world: World, collector: Collector) -> None:
    """A request without consent ends in the gate's span; nothing of it names the person."""
    write(world, request("no-consent", NUMBER, EVE), None)
    spans = traced(world, collector, "no-consent", {"judge outbound-requests"})
    assert spans["judge outbound-requests"].attributes["wapipe.reason"] == "no_consent"
    assert not any(person in str(span.attributes) for span in collector.spans for person in (ADA, BOB, EVE))
