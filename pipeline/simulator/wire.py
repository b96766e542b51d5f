"""What the shell needs of sockets and HTTP: bounded requests, resets, and how long an answer takes."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from random import Random

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from pipeline.simulator.media import MEDIUM_BYTES_MAX
from pipeline.simulator.requests import BODY_BYTES_MAX
from pipeline.simulator.settings import LATENCY_MS_MAX, LiveSettings

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Latency:
    """Draws how long answers take."""

    def __init__(self, seed: int) -> None:
        """Draw by `seed`."""
        self._seed = seed
        self.restart()

    def restart(self) -> None:
        """Draw the same again."""
        self._rng = Random(f"{self._seed}/latency")  # noqa: S311 - reproducible on purpose

    def draw_s(self, settings: LiveSettings) -> float:
        """Seconds that the next answer takes."""
        latency_s = settings.latency_ms / 1000
        if settings.latency_sigma and latency_s:
            latency_s = self._rng.lognormvariate(math.log(latency_s), settings.latency_sigma)
        return min(latency_s, LATENCY_MS_MAX / 1000)


def bounded_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """A request whose body may have 1 MiB, or what a medium may have where media are uploaded."""
    loop = asyncio.get_running_loop()
    bytes_max = MEDIUM_BYTES_MAX + BODY_BYTES_MAX if message.path.endswith("/media") else BODY_BYTES_MAX
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=bytes_max)


def reset(request: web.BaseRequest) -> None:
    """End the connection with a RST: linger 0 throws away what is unsent and skips the FIN."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
