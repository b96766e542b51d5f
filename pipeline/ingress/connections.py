"""Connections that bring no call: cut after a while, so that nobody can hold the door by holding many of them.

The server itself ends a connection that idles between two calls, and reading a body has its own limit; what neither
sees is a connection whose first call never comes, or comes byte by byte (slow loris). Runs on the ingress' loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog
from aiohttp import web

from pipeline.clock import steady_s
from pipeline.logs import Repeats
from pipeline.metrics import Metrics

HEADERS_S: Final = 10.0
"""From the connection to the end of the first call's headers; who delivers webhooks needs a fraction of a second."""
LOOK_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


class Connections:
    """Watches the connections of one server.

    Args:
        headers_s: How long a connection may take to bring its first call.
        clock: Seconds on a clock that never steps.
    """

    def __init__(self, metrics: Metrics, headers_s: float = HEADERS_S, clock: Callable[[], float] = steady_s) -> None:
        self._metrics, self._headers_s, self._clock = metrics, headers_s, clock
        # By connection, forgotten with it at the next look: aiohttp's connections cannot be referred to weakly.
        self._called: set[Any] = set()
        self._seen_s: dict[Any, float] = {}
        self._repeats = Repeats()

    def called(self, request: web.Request) -> None:
        """Note that a connection has brought a call."""
        self._called.add(request.protocol)

    async def watch(self, server: web.Server) -> None:
        """Cut silent connections until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look(server)

    def look(self, server: web.Server) -> int:
        """Cut what has been silent for too long; returns how many."""
        now_s, there = self._clock(), set(server.connections)
        self._called &= there
        silent = there - self._called
        self._seen_s = {connection: self._seen_s.get(connection, now_s) for connection in silent}
        cut = [connection for connection, seen_s in self._seen_s.items() if now_s - seen_s >= self._headers_s]
        for connection in cut:
            connection.force_close()
            self._metrics.webhook_requests.labels("too_slow").inc()
        if cut:
            held_back = self._repeats.pass_now("silent", now_s)
            if held_back is not None:
                log.warning("silent_connections_cut", count=len(cut), suppressed=held_back)
        return len(cut)
