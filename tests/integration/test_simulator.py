"""The simulator over real sockets: profiles, endpoints, faults as a client meets them, doors."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from base64 import b64encode
from io import BytesIO
from typing import Any

import aiohttp
import orjson
import pytest

from pipeline.whatsapp.client import Client
from pipeline.whatsapp.look import FIELDS, Seen, look_at, read_look
from pipeline.whatsapp.profiles import PROFILES
from tests.support.simulator_client import BEARER, CLOUD_PATH, WAIT_S, Start


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


@pytest.mark.parametrize(
    ("profile", "path", "told"),
    [
        ("cloud", "/v24.0", ("GREEN", "TIER_10K", "STANDARD", None)),
        ("360dialog", "", (None, None, None, "can_send_message: AVAILABLE")),
        ("v1", "", (None, None, None, "gateway: connected")),
    ],
)
async def test_a_number_is_looked_at_with_its_token(
    start: Start, profile: str, path: str, told: tuple[str | None, ...]
) -> None:
    """Each profile has a look at the number for the right token, and refuses a wrong one as the API does."""
    api = await start(tokens=["right"], tier="TIER_10K")
    async with Client() as client:

        async def look(token: str) -> Seen:
            base_url = api.simulator.url + path
            posts = PROFILES[profile].endpoint(base_url, "200", token)
            where = look_at(profile, base_url, "200", posts, fields=FIELDS)
            answer = await client.get(where.url, where.headers)
            return read_look(answer.status, answer.headers, answer.body, 0.0)

        right, wrong = await look("right"), await look("wrong")
    assert right.token == "accepted"
    assert (right.quality, right.tier, right.throughput, right.detail) == told
    assert wrong.token == "refused"


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
