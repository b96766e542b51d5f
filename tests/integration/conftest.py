"""What several files of this room start."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from pipeline.simulator.control import TimedEvent
from pipeline.simulator.server import start_simulator
from pipeline.simulator.settings import SimulatorSettings
from tests.support.gate_stand import Stand
from tests.support.ingress_door import Ingress, write_config
from tests.support.simulator_client import SECRET, WAIT_S, Api, Receiver


@pytest.fixture
def stand(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    """Topics for one test; its gates are ended afterwards."""
    made = Stand(kafka, topic_prefix, tmp_path)
    yield made
    made.close()
    if os.environ.get("SHOW_GATE_LOGS"):
        for log in tmp_path.glob("*.log"):
            sys.stderr.write(log.read_text())


@pytest.fixture
def ingress(kafka: str, tmp_path: Path) -> Iterator[Ingress]:
    """An ingress of its own, on topics of its own."""
    running = Ingress(write_config(tmp_path, kafka), tmp_path / "log")
    try:
        yield running
    finally:
        running.end()


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
