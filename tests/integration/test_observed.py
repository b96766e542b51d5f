"""What a whole pipeline tells the outside: one trace per message, at a collector; nowhere a secret, in no log a person.

One gate, one sender and one ingress for the whole file. One of two numbers posts to an API that refuses, and says back
what it was sent.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest

from pipeline.whatsapp.signature import HEADER, sign
from tests.support.campaign import ENTRANCE, Request, people, request
from tests.support.ingress_door import cloud
from tests.support.otlp import Collector, Span
from tests.support.spans import PARENT, PARENT_ID, TRACE_ID
from tests.support.world import NUMBER, Draft, World

ADA, BOB, EVE = people(3)
REFUSED = "200000000000002"
MARK, TEXT = "zebra", "giraffe"
"""In every secret, and in the text of every message."""
WAIT_S = 60.0
STATUSES = ("sent", "delivered", "read")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Takes the spans of all roles."""
    with Collector() as one:
        yield one


class Marked(World):
    """A world whose secrets look like no secret, so that no pattern knows them."""

    def _secret(self, name: str, content: str) -> Path:
        return super()._secret(name, f"{MARK}-is-the-{name}")


class Repeating(BaseHTTPRequestHandler):
    """An API that lets itself be looked at, and refuses each message with the token and the person in its words."""

    def do_GET(self) -> None:
        self._answer(200, {"id": REFUSED})

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        token = self.headers["Authorization"].removeprefix("Bearer ")
        said = f"{token} may not write to {body['to']}"
        self._answer(401, {"error": {"message": said, "code": 190, "error_data": {"details": said}}})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        raw = orjson.dumps(value)
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_args: Any) -> None:
        """Nothing: the test's output is for what fails."""


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """Address of that API."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repeating)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def world(kafka: str, collector: Collector, refusing: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The roles, traced by nothing but the standard variables of their environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        numbers = {NUMBER: {"profile": "cloud"}, REFUSED: {"profile": "cloud", "base_url": refusing}}
        folder = tmp_path_factory.mktemp("observed")
        with Marked(kafka, folder, numbers=numbers, partitions=3, webhooks=True) as one:
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


def malformed() -> list[Draft]:
    """Records that end in every other way than well; each holds the text, and names the person."""
    sound = request("bad-1", NUMBER, ADA, message={"type": "text", "text": {"body": TEXT}})
    values = [
        b'{"text": "' + TEXT.encode(),
        orjson.dumps(sound | {"request_id": None}),
        orjson.dumps(sound | {"expires_at": TEXT}),
        orjson.dumps(sound | {"request_id": "bad-2", "message": {"type": TEXT, "text": {"body": TEXT, "to": ADA}}}),
        orjson.dumps(sound | {"request_id": "bad-3", "category": "service"}),
        orjson.dumps(sound | {"request_id": "bad-4", "metadata": {TEXT: 7, ADA: ADA}}),
        orjson.dumps(sound | {"request_id": "bad-5", "from": "999", "to": EVE}),
    ]
    return [Draft(ADA.encode(), value) for value in values]


def knock(world: World, secrets: Mapping[str, str]) -> None:
    """Webhooks of every kind, good and bad."""
    heard = world.heard("ingress")
    assert heard is not None

    def call(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", heard["port"], timeout=WAIT_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            return connection.getresponse().status
        finally:
            connection.close()

    app, verify = secrets["app-secret"], secrets["verify-token"]
    said = {"id": "wamid.in", "timestamp": "1795300000", "type": "text", "text": {"body": TEXT}}
    body = cloud(NUMBER, messages=[{**said, "from": ADA}])
    assert call("POST", "/webhook", body, {HEADER: sign(body, b"another")}) == 401
    assert call("POST", f"/webhook/{NUMBER}/{verify}", body) == 401
    assert call("POST", "/webhook", body, {HEADER: sign(body, app.encode())}) == 200
    assert call("POST", "/webhook", body[:-9], {HEADER: sign(body[:-9], app.encode())}) == 200
    assert call("GET", f"/webhook?hub.mode=no&hub.verify_token={verify}&hub.challenge=1") == 400
    assert call("GET", f"/webhook?hub.mode=subscribe&hub.verify_token=x{verify}&hub.challenge=1") == 403
    with socket.create_connection(("127.0.0.1", heard["port"]), timeout=WAIT_S) as connection:
        connection.sendall(f"{verify} {app} {ADA} {TEXT}\r\n\r\n".encode())
        assert connection.recv(100)


def metrics(world: World, role: str) -> str:
    """A role's `/metrics`."""
    connection = http.client.HTTPConnection("127.0.0.1", world._ports[role], timeout=WAIT_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_no_secret_anywhere_and_no_person_in_a_log(world: World, collector: Collector) -> None:
    """Over good ways and bad ones no secret is in any log, event, metric or answer; logs name and quote nobody."""
    folder = world.config.parent
    secrets = {
        path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.read_text().startswith(MARK)
    }
    assert len(secrets) == 4
    world.write(ENTRANCE, [*malformed(), Draft(EVE.encode(), orjson.dumps(request("refused", REFUSED, ADA)))])
    world.write("ready-normal", [Draft(f"{NUMBER}#0".encode(), orjson.dumps({"to": ADA, TEXT: TEXT}))], partition=0)
    knock(world, secrets)
    world.until(lambda: world.said("sender", "halted") is not None, "the API refuses the token", WAIT_S)
    world.until(lambda: world.said("sender", "record_dead_lettered") is not None, "a dead letter at the sender", WAIT_S)
    world.until(lambda: len(world.read("dead-letter")) >= 4, "dead letters", WAIT_S)
    commands = ("config", "show"), ("doctor",), ("numbers", "list"), ("trace", "--to", ADA)
    with ThreadPoolExecutor() as pool:
        said = "".join(one.stdout + one.stderr for one in pool.map(lambda command: world.attempt(*command), commands))
    roles = ("gate", "sender", "ingress")
    logs = {role: (folder / f"{role}.log").read_text() for role in roles}
    shown = {f"metrics of {role}": metrics(world, role) for role in roles}
    spans = {"spans": str(collector.spans)}
    topics = {
        name: str([(record.key, record.value, record.headers) for record in world.read(name)])
        for name in ("outbound-events", "inbound-events", "account-state", "send-ledger", "delayed-retry")
    }
    for where, text in {**logs, **shown, **spans, **topics, "commands": said}.items():
        assert [line for line in text.splitlines() if MARK in line] == [], where
    for where, text in {**logs, **shown, **spans}.items():
        hits = [line for line in text.splitlines() if any(word in line for word in (TEXT, ADA, BOB, EVE))]
        assert hits == [], where
    halted = world.said("sender", "halted")
    assert halted is not None
    assert "[secret]" in halted["detail"], "what it said is told, without the token"
    assert "[secret]" in topics["delayed-retry"] or "[secret]" in topics["outbound-events"]
