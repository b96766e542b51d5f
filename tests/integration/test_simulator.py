"""The simulator over real sockets: profiles, faults as a client meets them, webhooks as a receiver sees them, doors."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from pipeline.errors import ConfigError
from pipeline.simulator.control import TimedEvent
from pipeline.simulator.server import Simulator, start_simulator
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.webhooks import signature

SECRET = b"test-secret"
CLOUD_PATH = "/v24.0/200/messages"
BEARER = {"Authorization": "Bearer t"}
WAIT_S = 20.0
Answer = tuple[int, dict[str, str], bytes]


class Api:
    """A simulator with a client."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.session = session

    async def post(self, path: str, body: object, headers: dict[str, str]) -> Answer:
        """POST and read the answer."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.session.post(self.simulator.url + path, data=BytesIO(data), headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def cloud(self, to: str = "15550109999", callback: str = "r:1") -> Answer:
        """Send a text as the cloud profile does."""
        body = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "hi"}}
        body["biz_opaque_callback_data"] = callback
        return await self.post(CLOUD_PATH, body, {"Authorization": "Bearer t"})

    async def v1(self, token: str = "t") -> Answer:
        """Send a text as the v1 profile does."""
        body = {"to": "15550109999", "type": "text", "text": {"body": "hi"}}
        return await self.post("/v1/messages", body, {"Authorization": f"Bearer {token}"})

    async def call(
        self, method: str, path: str, headers: dict[str, str] = BEARER, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Call any endpoint."""
        async with self.session.request(method, self.simulator.url + path, headers=headers, data=body) as answer:
            return answer.status, await answer.read()

    async def get(self, door: str) -> bytes:
        """Read one of the simulator's own doors."""
        async with self.session.get(f"{self.simulator.url}/_simulator/{door}") as answer:
            assert answer.status == 200
            return await answer.read()

    async def stats(self) -> dict[str, Any]:
        """The stats door."""
        stats: dict[str, Any] = orjson.loads(await self.get("stats"))
        return stats

    async def ledger(self, query: str = "") -> list[dict[str, Any]]:
        """The rows of the ledger door."""
        return [orjson.loads(line) for line in (await self.get("ledger" + query)).splitlines()]

    async def control(self, body: object) -> tuple[int, dict[str, Any]]:
        """Use the control door."""
        status, _, raw = await self.post("/_simulator/control", body, {})
        return status, orjson.loads(raw)


class Receiver:
    """A tiny webhook receiver: keeps bodies and signatures, answers as told."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes, str | None]] = []
        self.answers: list[int] = []
        self.url = ""
        self.is_open = asyncio.Event()
        self.is_open.set()
        self._changed = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one webhook."""
        if request.method == "GET":
            is_right = request.query["hub.verify_token"] == "my-token"
            return web.Response(status=200 if is_right else 403, text=request.query["hub.challenge"])
        raw = await request.read()
        self.posts.append((request.path, raw, request.headers.get("X-Hub-Signature-256")))
        self._changed.set()
        await self.is_open.wait()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def until(self, is_enough: Callable[[], bool]) -> None:
        """Wait until the posts satisfy `is_enough`."""
        async with asyncio.timeout(WAIT_S):
            while not is_enough():
                self._changed.clear()
                await self._changed.wait()

    def events(self) -> list[str]:
        """What every change of the account says that happened, in the order of arrival."""
        return [orjson.loads(raw)["entry"][0]["changes"][0]["value"]["event"] for _, raw, _ in self.posts]

    def cloud_statuses(self) -> list[dict[str, Any]]:
        """Every status of the cloud bodies, in the order of arrival."""
        values = [orjson.loads(raw)["entry"][0]["changes"][0]["value"] for _, raw, _ in self.posts]
        return [status for value in values for status in value.get("statuses", [])]


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Api]]]:
    """Start simulators with given settings; they end with the test."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S)))

        async def start_one(*, events: Sequence[TimedEvent] = (), **settings: Any) -> Api:
            simulator = await start_simulator(SimulatorSettings.model_validate(settings), events)
            stack.push_async_callback(simulator.stop)
            return Api(simulator, session)

        yield start_one


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    server = web.Server(receiver.handle)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/webhook"
    yield receiver
    listener.close()
    server.pre_shutdown()
    await server.shutdown(1)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with the app secret."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    return path


Start = Callable[..., Awaitable[Api]]


async def test_cloud_profile(start: Start) -> None:
    """A cloud message is accepted under its number and stands in the ledger with callback and text."""
    api = await start()
    status, _, raw = await api.cloud(callback="order-1:1")
    body = orjson.loads(raw)
    assert status == 200
    assert body["messaging_product"] == "whatsapp"
    row = (await api.ledger())[0]
    assert row["message_id"] == body["messages"][0]["id"]
    assert (row["sender"], row["profile"], row["to"]) == ("200", "cloud", "15550109999")
    assert (row["callback"], row["text"], row["accepted"], row["status"]) == ("order-1:1", "hi", True, 200)


async def test_v1_profile_with_login(start: Start) -> None:
    """A v1 client logs in, sends with the token it got, and is refused with another."""
    api = await start(logins={"admin": "secret"})
    basic = "Basic " + b64encode(b"admin:secret").decode()
    status, _, raw = await api.post("/v1/users/login", b"", {"Authorization": basic})
    token = orjson.loads(raw)["users"][0]["token"]
    assert status == 200
    status, _, raw = await api.v1(token)
    assert status == 201
    assert orjson.loads(raw)["messages"][0]["id"].startswith("gBEG")
    status, _, raw = await api.v1("wrong")
    assert (status, orjson.loads(raw)["errors"][0]["code"]) == (401, 1005)
    wrong = "Basic " + b64encode(b"admin:no").decode()
    assert (await api.post("/v1/users/login", b"", {"Authorization": wrong}))[0] == 401


async def test_360dialog_profile(start: Start) -> None:
    """A 360dialog message is known by its key, and by its number if the key is mapped."""
    api = await start(number_of_token={"key-1": "201"})
    body = {"messaging_product": "whatsapp", "to": "1", "type": "text", "text": {"body": "hi"}}
    assert (await api.post("/messages", body, {"D360-API-KEY": "key-1"}))[0] == 200
    assert (await api.post("/messages", body, {"Authorization": "Bearer key-1"}))[0] == 401
    assert [row["sender"] for row in await api.ledger()] == ["201", "anonymous"]


async def test_burst_then_429_with_the_profiles_body(start: Start) -> None:
    """Beyond the burst a number hears 429, and stats tell the excess that arrived."""
    api = await start(rate_per_s=0.001, burst=5)
    answers = [await api.cloud() for _ in range(7)]
    assert [status for status, _, _ in answers] == [200] * 5 + [429] * 2
    assert orjson.loads(answers[-1][2])["error"]["code"] == 130429
    await api.v1()
    stats = await api.stats()
    sender = stats["senders"]["200"]
    assert (sender["requests"], sender["accepted"], sender["refused"]) == (7, 5, {"429": 2})
    assert 1.9 < sender["excess"] <= 2
    assert stats["accepted"] == 6
    assert stats["connections"] >= 1


async def test_unknown_endpoint_is_404_and_counted(start: Start) -> None:
    """Another endpoint does not exist, but has its own bucket."""
    api = await start(other={"rate_per_s": 0.001, "burst": 2})
    answers = [await api.post("/v24.0/200/nothing", b"x", {"Authorization": "Bearer t"}) for _ in range(3)]
    assert [status for status, _, _ in answers] == [404, 404, 429]
    assert (await api.cloud())[0] == 200
    assert list((await api.stats())["others"]) == ["t /v24.0/200/nothing"]


async def test_bad_bodies_are_400_and_large_ones_too(start: Start) -> None:
    """A body without what it needs is refused with Meta's code; so is one above 1 MiB, unread, and it is counted."""
    api = await start()
    status, _, raw = await api.post(CLOUD_PATH, {"messaging_product": "whatsapp"}, {"Authorization": "Bearer t"})
    assert (status, orjson.loads(raw)["error"]["code"]) == (400, 131008)
    status, _, raw = await api.post("/v1/messages", {"to": "1"}, {"Authorization": "Bearer t"})
    assert (status, orjson.loads(raw)["errors"][0]["code"]) == (400, 1008)
    status, _, raw = await api.post(CLOUD_PATH, b"x" * (1024 * 1024 + 1), {"Authorization": "Bearer t"})
    assert (status, orjson.loads(raw)["error"]["code"]) == (400, 100)
    assert len(await api.ledger()) == 3


@pytest.mark.parametrize(
    ("kind", "status", "part"),
    [
        ("429", 429, b"130429"),
        ("503", 503, b"131016"),
        ("html503", 503, b"<html>"),
        ("500", 500, b"131000"),
        ("400", 400, b"131009"),
        ("empty", 200, b'"messages":[]'),
    ],
)
async def test_answered_faults(start: Start, kind: str, status: int, part: bytes) -> None:
    """A spell that answers does so with its status and body, takes nothing, and ends when cleared."""
    api = await start()
    assert (await api.control({"spell": {"kind": kind, "for_s": 600}}))[0] == 200
    heard, headers, raw = await api.cloud()
    assert (heard, part in raw) == (status, True)
    assert "Retry-After" not in headers
    assert (await api.stats())["spells"][0]["requests"] == 1
    await api.control({"clear_spells": True})
    assert (await api.cloud())[0] == 200
    assert [(row["fault"], row["accepted"]) for row in await api.ledger()] == [(kind, False), ("", True)]


@pytest.mark.parametrize(("kind", "accepted"), [("reset", False), ("lost", True)])
async def test_connections_end_with_a_reset(start: Start, kind: str, accepted: bool) -> None:
    """In such a spell the client's socket is reset; only the ledger knows whether the message was taken."""
    api = await start(spells=[{"kind": kind, "for_s": 600}])
    body = b'{"messaging_product":"whatsapp","to":"1","type":"text","text":{"body":"x"}}'
    reader, writer = await asyncio.open_connection("127.0.0.1", api.simulator.port)
    writer.write(
        b"POST /v24.0/200/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()
    row = (await api.ledger())[0]
    assert (row["status"], row["accepted"], row["fault"]) == (0, accepted, kind)


async def test_hang_is_silent_until_its_spell_ends(start: Start) -> None:
    """A hung request hears nothing, and its connection ends with the spell."""
    api = await start(spells=[{"kind": "hang", "for_s": 0.3}])
    with pytest.raises(aiohttp.ClientConnectionError):
        await api.cloud()
    first = (await api.ledger())[0]
    assert (first["status"], first["accepted"], first["fault"]) == (0, False, "hang")
    stats = await api.stats()
    assert stats["now_ns"] - first["t_ns"] >= 300_000_000
    assert (await api.cloud())[0] == 200


async def test_stop_ends_hanging_requests(start: Start) -> None:
    """Stopping does not wait for the end of a hang."""
    api = await start(spells=[{"kind": "hang", "for_s": 3600}])
    hanging = asyncio.create_task(api.cloud())
    async with asyncio.timeout(WAIT_S):
        while not len(api.simulator.referee.ledger):
            await asyncio.sleep(0.01)
        await api.simulator.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging


async def test_retry_after_header(start: Start) -> None:
    """`Retry-After` holds what remains of the spell in seconds, or as an HTTP date."""
    api = await start(spells=[{"kind": "429", "for_s": 30, "retry_after": "auto"}])
    assert 1 <= int((await api.cloud())[1]["Retry-After"]) <= 30
    await api.control({"clear_spells": True})
    await api.control({"spell": {"kind": "503", "for_s": 30, "retry_after": 9, "retry_after_as": "date"}})
    assert (await api.cloud())[1]["Retry-After"].endswith(" GMT")


async def test_latency_comes_after_the_decision(start: Start) -> None:
    """A request is in the ledger before its latency is over."""
    api = await start(latency_ms=60_000)
    waiting = asyncio.create_task(api.cloud())
    async with asyncio.timeout(WAIT_S):
        while not await api.ledger():
            await asyncio.sleep(0.01)
    assert (await api.stats())["in_flight"] == 1
    waiting.cancel()


async def test_cloud_webhooks_are_signed_and_echo_the_callback(
    start: Start, receiver: Receiver, secret_file: Path
) -> None:
    """Each accepted message is followed by sent, delivered and read, signed over the bytes, with its callback."""
    api = await start(
        webhook_url=receiver.url,
        webhook_secret_file=secret_file,
        webhook_delays_ms={"sent": 0, "delivered": 30, "read": 60},
    )
    _, _, raw = await api.cloud(callback="order-1:1")
    await receiver.until(lambda: len(receiver.cloud_statuses()) == 3)
    statuses = receiver.cloud_statuses()
    assert [status["status"] for status in statuses] == ["sent", "delivered", "read"]
    assert {status["biz_opaque_callback_data"] for status in statuses} == {"order-1:1"}
    assert {status["id"] for status in statuses} == {orjson.loads(raw)["messages"][0]["id"]}
    assert all(signed == signature(SECRET, body) for _, body, signed in receiver.posts)


async def test_v1_webhooks_go_flat_to_the_numbers_path(start: Start, receiver: Receiver) -> None:
    """A v1 number's statuses are flat and go to the URL with its number; without a secret there is no signature."""
    api = await start(
        webhook_url=receiver.url + "/{number}", number_of_token={"t": "201"}, webhook_delays_ms={"delivered": 0}
    )
    await api.v1()
    await receiver.until(lambda: bool(receiver.posts))
    path, raw, signed = receiver.posts[0]
    assert (path, signed) == ("/webhook/201", None)
    assert orjson.loads(raw)["statuses"][0]["status"] == "delivered"


async def test_failed_status_for_a_chosen_recipient(start: Start, receiver: Receiver) -> None:
    """A message to a chosen recipient is accepted and then fails with the code, and with nothing else."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0, "failed": 0})
    await api.control({"force": {"15550100666": {"code": 131026, "via": "webhook"}}})
    assert (await api.cloud(to="15550100666"))[0] == 200
    await receiver.until(lambda: bool(receiver.cloud_statuses()))
    (status,) = receiver.cloud_statuses()
    assert (status["status"], status["errors"][0]["code"]) == ("failed", 131026)


async def test_webhooks_are_tried_again_until_200(start: Start, receiver: Receiver) -> None:
    """A webhook that is not answered 200 comes again with the same bytes, and is given up after its tries."""
    receiver.answers = [503, 404]
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_tries=3)
    await api.cloud()
    await receiver.until(lambda: len(receiver.posts) == 3)
    assert len({raw for _, raw, _ in receiver.posts}) == 1
    receiver.answers = [500] * 3
    await api.cloud()
    async with asyncio.timeout(WAIT_S):
        while (await api.stats())["webhooks"]["failed"] == 0:
            await asyncio.sleep(0.02)
    assert (await api.stats())["webhooks"] == {"sent": 1, "failed": 1, "queued": 0, "dropped": 0}


async def test_webhooks_that_wait_together_share_a_post(start: Start, receiver: Receiver) -> None:
    """What becomes due while the only delivery is busy goes out in one POST."""
    receiver.is_open.clear()
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_concurrency=1)
    await api.cloud()
    await receiver.until(lambda: len(receiver.posts) == 1)
    for _ in range(5):
        await api.cloud()
    receiver.is_open.set()
    await receiver.until(lambda: len(receiver.cloud_statuses()) == 6)
    assert len(receiver.posts) == 2


async def test_webhooks_may_come_twice(start: Start, receiver: Receiver) -> None:
    """With a duplicate ratio of 1 each status arrives exactly twice."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_duplicate_ratio=1)
    for _ in range(3):
        await api.cloud()
    await receiver.until(lambda: len(receiver.cloud_statuses()) == 6)
    ids = [status["id"] for status in receiver.cloud_statuses()]
    assert {ids.count(each) for each in ids} == {2}


async def test_webhook_queue_is_bounded(start: Start, receiver: Receiver) -> None:
    """A full queue drops and counts; a reset empties it."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 3_600_000}, webhook_queue=5)
    for _ in range(8):
        await api.cloud()
    assert (await api.stats())["webhooks"] == {"sent": 0, "failed": 0, "queued": 5, "dropped": 3}
    await api.control({"reset": True})
    assert (await api.stats())["webhooks"]["queued"] == 0


async def test_inbound_message_by_control(start: Start, receiver: Receiver, secret_file: Path) -> None:
    """A person's STOP goes out as a signed webhook; without a webhook URL control says what is missing."""
    api = await start(webhook_secret_file=secret_file)
    stop = {"inbound": {"from": "15550109999", "number": "200", "text": "STOP"}}
    status, answer = await api.control(stop)
    assert status == 400
    assert "webhook_url" in answer["error"][0]
    status, answer = await api.control(stop | {"settings": {"webhook_url": receiver.url}})
    assert status == 200
    await receiver.until(lambda: bool(receiver.posts))
    _, raw, signed = receiver.posts[0]
    message = orjson.loads(raw)["entry"][0]["changes"][0]["value"]["messages"][0]
    assert (message["from"], message["text"]["body"]) == ("15550109999", "STOP")
    assert message["id"] == answer["inbound"]["message_id"]
    assert signed == signature(SECRET, raw)


async def test_control_changes_and_resets(start: Start) -> None:
    """Control changes limits while running, resets ledger and counters, and hides credentials in its answer."""
    api = await start(rate_per_s=0.001, burst=1, tokens=["t"])
    await api.cloud()
    assert (await api.cloud())[0] == 429
    status, answer = await api.control({"reset": True, "settings": {"burst": 3, "latency_ms": 1}})
    assert (status, answer["settings"]["burst"]) == (200, 3)
    assert "tokens" not in answer["settings"]
    assert await api.ledger() == []
    assert [(await api.cloud())[0] for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("body", [b"{", {"sped": {}}, {"spell": {"kind": "429"}}, {"settings": {"port": 1}}])
async def test_control_refuses_what_it_does_not_know(start: Start, body: object) -> None:
    """A wrong control request is a 400 with sentences that name the key, and changes nothing."""
    api = await start()
    status, answer = await api.control(body)
    assert status == 400
    assert answer["error"]
    assert (await api.cloud())[0] == 200


async def test_ledger_pages_and_doors(start: Start) -> None:
    """The ledger can be read from a row on, health answers, other doors are named, and none of it is counted."""
    api = await start(burst=1000)
    for number in range(5):
        await api.cloud(callback=str(number))
    assert [row["n"] for row in await api.ledger("?since=3")] == [3, 4]
    assert [row["callback"] for row in await api.ledger("?since=1&limit=2")] == ["1", "2"]
    assert orjson.loads(await api.get("health"))["status"] == "ok"
    async with api.session.get(api.simulator.url + "/_simulator/nothing") as answer:
        assert answer.status == 404
    async with api.session.get(api.simulator.url + "/_simulator/ledger?since=x") as answer:
        assert answer.status == 400
    stats = await api.stats()
    assert stats["requests"] == 5
    assert stats["max_lag_s"] >= stats["read_lag_s"] >= 0


async def test_start_refuses_what_cannot_work(start: Start, tmp_path: Path) -> None:
    """A taken port, a missing or an empty secret file stop the start with the key's name."""
    api = await start()
    with pytest.raises(ConfigError, match="cannot listen"):
        await start(port=api.simulator.port)
    with pytest.raises(ConfigError, match="webhook_secret_file"):
        await start(webhook_secret_file=tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match="empty"):
        await start(webhook_secret_file=tmp_path / "empty")


async def test_mark_read_and_marketing(start: Start) -> None:
    """Marking as read sends nothing and costs no message; marketing has an endpoint of its own for templates."""
    api = await start(burst=1, rate_per_s=0.001, templates=[{"name": "promo", "category": "marketing"}])
    read = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.1"}
    status, _, raw = await api.post(CLOUD_PATH, read, BEARER)
    assert (status, orjson.loads(raw)) == (200, {"success": True})
    assert (await api.stats())["accepted"] == 0
    body: dict[str, Any] = {"messaging_product": "whatsapp", "to": "1", "type": "text", "text": {"body": "hi"}}
    status, _, raw = await api.post("/v24.0/200/marketing_messages", body, BEARER)
    assert (status, orjson.loads(raw)["error"]["code"]) == (400, 131055)
    body |= {"type": "template", "template": {"name": "promo", "language": {"code": "en_US"}}}
    del body["text"]
    assert (await api.post("/v24.0/200/marketing_messages", body | {"product_policy": "STRICT"}, BEARER))[0] == 200


async def test_media_are_uploaded_read_and_deleted(start: Start) -> None:
    """A medium goes up as a form (cloud) or as bytes (v1), and comes back byte by byte until it is deleted."""
    api = await start()
    medium = bytes(range(256)) * 8192
    form = aiohttp.FormData()
    form.add_field("messaging_product", "whatsapp")
    form.add_field("type", "image/png")
    form.add_field("file", BytesIO(medium), content_type="image/png", filename="a.png")
    async with api.session.post(api.simulator.url + "/v24.0/200/media", data=form, headers=BEARER) as answer:
        name = (await answer.json())["id"]
    _, raw = await api.call("GET", f"/v24.0/{name}")
    known = orjson.loads(raw)
    assert (known["file_size"], known["mime_type"]) == (len(medium), "image/png")
    assert await api.call("GET", known["url"].removeprefix(api.simulator.url)) == (200, medium)
    assert (await api.call("DELETE", f"/v24.0/{name}"))[0] == 200
    assert (await api.call("DELETE", f"/v24.0/{name}"))[0] == 404
    status, _, raw = await api.post("/v1/media", medium, BEARER | {"Content-Type": "image/png"})
    name = orjson.loads(raw)["media"][0]["id"]
    assert status == 200
    assert await api.call("GET", f"/v1/media/{name}") == (200, medium)
    assert (await api.call("GET", "/v1/media/none"))[0] == 404
    assert (await api.post("/v24.0/200/media", b"x", BEARER))[0] == 400


async def test_v1_endpoints(start: Start) -> None:
    """Contacts are valid, the gateway is connected, a message is marked as read, a logout ends a token."""
    api = await start(logins={"admin": "secret"})
    basic = {"Authorization": "Basic " + b64encode(b"admin:secret").decode()}
    token = orjson.loads((await api.post("/v1/users/login", b"", basic))[2])["users"][0]["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    status, _, raw = await api.post("/v1/contacts", {"blocking": "wait", "contacts": ["+1 555 010"]}, bearer)
    assert orjson.loads(raw)["contacts"] == [{"input": "+1 555 010", "status": "valid", "wa_id": "1555010"}]
    assert (await api.post("/v1/contacts", {}, bearer))[0] == 400
    status, raw = await api.call("GET", "/v1/health", bearer)
    assert (status, orjson.loads(raw)["health"]["gateway_status"]) == (200, "connected")
    assert (await api.call("PUT", "/v1/messages/gBEG1", bearer, b'{"status":"read"}'))[0] == 200
    assert (await api.call("PUT", "/v1/messages/gBEG1", bearer, b'{"status":"x"}'))[0] == 400
    assert (await api.call("GET", "/v1/health", BEARER))[0] == 401
    assert (await api.post("/v1/users/logout", b"", bearer))[0] == 200
    assert (await api.v1(token))[0] == 401


async def test_one_profile_alone(start: Start) -> None:
    """With a profile the other shapes are not there."""
    api = await start(profile="v1")
    assert (await api.v1())[0] == 201
    assert (await api.cloud())[0] == 404


async def test_history_tells_what_became_of_webhooks(start: Start, receiver: Receiver) -> None:
    """`message_history` names each status with the fate of its webhook."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_tries=1)
    receiver.answers = [500]
    name = orjson.loads((await api.cloud())[2])["messages"][0]["id"]
    async with asyncio.timeout(WAIT_S):
        while (await api.stats())["webhooks"]["failed"] == 0:
            await asyncio.sleep(0.01)
    (row,) = orjson.loads((await api.call("GET", "/v24.0/200/message_history"))[1])["data"]
    (event,) = orjson.loads((await api.call("GET", f"/v24.0/{name}/events"))[1])["data"]
    assert (row["message_id"], row["events"]["data"]) == (name, [event])
    assert (event["delivery_status"], event["webhook_update_state"]) == ("SENT", "FAILED")


async def test_throughput_upgrade(start: Start, receiver: Receiver) -> None:
    """While a number is upgraded it hears 131057; then the webhook comes and the limit is the new one."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={})
    assert (await api.control({"upgrade": {"number": "200", "rate_per_s": 1000, "for_s": 0.2}}))[0] == 200
    status, _, raw = await api.cloud()
    assert (status, orjson.loads(raw)["error"]["code"]) == (500, 131057)
    await receiver.until(lambda: bool(receiver.posts))
    entry = orjson.loads(receiver.posts[0][1])["entry"][0]
    assert (entry["changes"][0]["field"], entry["changes"][0]["value"]["event"]) == (
        "phone_number_quality_update",
        "THROUGHPUT_UPGRADE",
    )
    _, raw = await api.call("GET", "/v24.0/200?fields=throughput,quality_rating")
    assert orjson.loads(raw) == {"throughput": {"level": "HIGH"}, "quality_rating": "GREEN", "id": "200"}
    assert (await api.call("GET", "/v24.0/200?fields=colour"))[0] == 400
    assert (await api.stats())["senders"]["200"]["rate_per_s"] == 1000


async def test_template_pause_ends_by_itself(start: Start, receiver: Receiver) -> None:
    """A pause of 3 h ends after 3 h of the long clock, which may be advanced, and both ends are told."""
    api = await start(webhook_url=receiver.url, clock_speed=20_000)
    await api.control({"template": {"name": "promo", "status": "PAUSED"}})
    await receiver.until(lambda: len(receiver.posts) == 2)
    assert receiver.events() == ["PAUSED", "APPROVED"]
    api = await start(webhook_url=receiver.url)
    await api.control({"template": {"name": "promo", "status": "PAUSED"}})
    await api.control({"advance_s": 3 * 3600})
    await receiver.until(lambda: len(receiver.posts) == 4)
    assert receiver.events()[2:] == ["PAUSED", "APPROVED"]
    assert (await api.stats())["templates"][0]["status"] == "APPROVED"


@pytest.mark.parametrize(
    ("act", "field"),
    [
        ({"template": {"name": "promo", "quality": "RED"}}, "message_template_quality_update"),
        ({"template": {"name": "promo", "category": "marketing"}}, "template_category_update"),
        ({"number": {"number": "200", "event": "FLAGGED", "quality": "RED"}}, "phone_number_quality_update"),
        ({"capability": {"limit": -1}}, "business_capability_update"),
        ({"account": {"event": "DISABLED_UPDATE", "info": {"ban_info": {}}}}, "account_update"),
        ({"field": {"field": "security", "value": {"event": "PIN_CHANGED"}}}, "security"),
        ({"preference": {"from": "15550109999", "number": "200"}}, "user_preferences"),
        ({"error": {"number": "200", "code": 130429}}, "messages"),
    ],
)
async def test_events_of_the_account(start: Start, receiver: Receiver, act: dict[str, Any], field: str) -> None:
    """Each event goes out under its field."""
    api = await start(webhook_url=receiver.url)
    assert (await api.control(act))[0] == 200
    await receiver.until(lambda: bool(receiver.posts))
    assert orjson.loads(receiver.posts[0][1])["entry"][0]["changes"][0]["field"] == field


async def test_timed_events_happen_after_the_first_message(start: Start, receiver: Receiver) -> None:
    """An event waits for the first message; one that cannot be applied is counted, not silent."""
    events = [
        TimedEvent.model_validate({"settings": {"burst": 1, "rate_per_s": 0.001}}),
        TimedEvent.model_validate({"inbound": {"from": "1", "number": "200"}}),
        TimedEvent.model_validate({"since": "start", "expire_tokens": True}),
    ]
    api = await start(events=events)
    assert (await api.stats())["events"] == {"done": 1, "refused": 0}
    await api.cloud()
    async with asyncio.timeout(WAIT_S):
        while (await api.stats())["events"] != {"done": 2, "refused": 1}:
            await asyncio.sleep(0.01)
    assert (await api.stats())["senders"]["200"]["burst"] == 1


async def test_handshake_of_a_subscription(start: Start, receiver: Receiver) -> None:
    """`verify` asks the receiver with challenge and token, and tells whether the challenge came back."""
    api = await start(webhook_url=receiver.url)
    for token, is_right in (("my-token", True), ("another", False)):
        _, answer = await api.control({"verify": {"number": "200", "token": token}})
        assert (answer["verify"]["verified"], answer["verify"]["status"]) == (is_right, 200 if is_right else 403)
    assert (await (await start()).control({"verify": {"number": "200", "token": "x"}}))[0] == 400


@pytest.mark.parametrize("mode", ["wrong", "none"])
async def test_signatures_may_be_wrong(start: Start, receiver: Receiver, secret_file: Path, mode: str) -> None:
    """A signature is wrong or missing if a receiver is to be tried with it."""
    api = await start(
        webhook_url=receiver.url, webhook_secret_file=secret_file, webhook_signature=mode, webhook_delays_ms={"sent": 0}
    )
    await api.cloud()
    await receiver.until(lambda: bool(receiver.posts))
    _, raw, signed = receiver.posts[0]
    assert signed != signature(SECRET, raw)
    assert (signed is None) == (mode == "none")


async def test_updates_gather_into_full_batches(start: Start, receiver: Receiver) -> None:
    """With a time to gather, updates of a number go out together, up to 1,000."""
    api = await start(
        webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_gather_ms=300, webhook_batch=1000, burst=500
    )
    for _ in range(40):
        await api.cloud()
    await receiver.until(lambda: len(receiver.cloud_statuses()) == 40)
    assert len(receiver.posts) < 10


async def test_a_bad_receiver_holds_up_nobody(start: Start, receiver: Receiver) -> None:
    """While webhooks of one number wait for another try, those of another go out."""
    api = await start(
        webhook_url=receiver.url, webhook_urls={"201": "http://127.0.0.1:1/"}, webhook_delays_ms={"sent": 0},
        webhook_concurrency=1, webhook_retry_s=3600, webhook_retry_s_max=3600,
    )  # fmt: skip
    body = {"messaging_product": "whatsapp", "to": "1", "type": "text", "text": {"body": "hi"}}
    await api.post("/v24.0/201/messages", body, BEARER)
    await api.cloud()
    await receiver.until(lambda: bool(receiver.posts))
    assert (await api.stats())["webhooks"]["queued"] == 1


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_run_simulator_ends_cleanly_on_a_signal(ending: signal.Signals) -> None:
    """A simulator process says where it listens and exits 0 on SIGTERM and SIGINT."""
    program = (
        "from pipeline.simulator.server import run_simulator\n"
        "from pipeline.simulator.settings import SimulatorSettings\n"
        "run_simulator(SimulatorSettings(), lambda simulator: print('at', simulator.url, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any(line.startswith("at http://127.0.0.1:") for line in process.stdout)
            process.send_signal(ending)
            assert process.wait(timeout=WAIT_S) == 0
        finally:
            process.kill()
