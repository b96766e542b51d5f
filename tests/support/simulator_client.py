"""A client of the simulator, and a receiver of its webhooks, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from pipeline.simulator.server import Simulator

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


Start = Callable[..., Awaitable[Api]]
"""Starts a simulator with these settings; it ends with the test."""
