"""Silent connections, over real sockets: cut when no call comes, left alone when one did or is on its way in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from pipeline.health import Health, listen
from pipeline.ingress.access import Access
from pipeline.ingress.connections import Connections
from pipeline.ingress.door import Door
from pipeline.ingress.store import Store
from pipeline.metrics import Metrics
from tests.unit.ingress.support import FakeDelivery, settings_with

HEAD = b"GET /webhook HTTP/1.1\r\nHost: h\r\n"
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Stand:
    """A server, its watcher, and a clock of ours."""

    def __init__(self, connections: Connections, server: web.Server, port: int) -> None:
        self.connections, self.server, self.port = connections, server, port

    async def connect(self, sent: bytes) -> Pair:
        """A connection on which so much was sent, as the server has noticed."""
        before = len(self.server.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        async with asyncio.timeout(30):
            while len(self.server.connections) <= before:
                await asyncio.sleep(0.01)
        return reader, writer


NOW_S = [0.0]


@asynccontextmanager
async def _open(folder: Path) -> AsyncIterator[Stand]:
    settings, metrics = settings_with(folder), Metrics()
    NOW_S[0] = 0.0
    door = Door(settings, Access(settings), Store(FakeDelivery(), metrics, 60), Health(), metrics)
    door.connections = Connections(metrics, headers_s=10, clock=lambda: NOW_S[0])
    runner = web.AppRunner(door.app(), access_log=None, shutdown_timeout=1)
    port = await listen(runner, "127.0.0.1", 0, "ingress")
    assert runner.server is not None
    try:
        yield Stand(door.connections, runner.server, port)
    finally:
        await runner.cleanup()


async def test_connections_without_a_call_are_cut_and_others_stay(tmp_path: Path) -> None:
    """One that is silent and one that sends its headers byte by byte are cut after the time; one that called stays."""
    async with _open(tmp_path) as stand:
        silent, slow = await stand.connect(b""), await stand.connect(HEAD)
        called = await stand.connect(HEAD + b"\r\n")
        assert (await called[0].readline()).startswith(b"HTTP/1.1 400")
        assert stand.connections.look(stand.server) == 0
        NOW_S[0] = 9.9
        slow[1].write(b"X-Slow: y\r\n")
        young = await stand.connect(b"")
        assert stand.connections.look(stand.server) == 0
        NOW_S[0] = 10.0
        assert stand.connections.look(stand.server) == 2
        assert await asyncio.wait_for(silent[0].read(), 30) == b""
        assert await asyncio.wait_for(slow[0].read(), 30) == b""
        called[1].write(HEAD + b"\r\n")
        young[1].write(HEAD + b"\r\n")
        assert (await asyncio.wait_for(young[0].readline(), 30)).startswith(b"HTTP/1.1 400")
        assert len(stand.server.connections) == 2
        for _, writer in (silent, slow, called, young):
            writer.close()
