"""Health of one process: is it alive, may it be given work, what does it count. Served by HTTP, per role.

`Health` is a plain object touched on the loop of its role only. `serve_health` runs a small aiohttp server and a
heartbeat on the same loop; it never blocks. `/livez` asks whether this process still turns: the age of the heartbeat
and what its watchdogs say; never Kafka or the API, for their outage must not restart the fleet. `/readyz` asks
whether every named condition of the role is met.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import orjson
from aiohttp import web

from pipeline.clock import steady_s
from pipeline.errors import ConfigError
from pipeline.metrics import CONTENT_TYPE

HEARTBEAT_EVERY_S = 1.0
HEARTBEAT_AGE_S_MAX = 10.0
SHUTDOWN_TIMEOUT_S = 2.0
MAX_BODY_BYTES = 1024
PORTS: Final = {"gate": 9101, "sender": 9102, "ingress": 9103, "console": 9104}
"""Where each role serves its health unless `http.port` says otherwise."""


class Health:
    """What a process knows about itself.

    Args:
        conditions: Names that must all be met before the process is ready; each starts as "not yet".
        clock: Seconds on a clock that never steps.
    """

    def __init__(self, conditions: Iterable[str] = (), clock: Callable[[], float] = steady_s) -> None:
        self._clock = clock
        self._beat_s = clock()
        self._stalls: dict[str, str] = {}
        self._conditions: dict[str, str | None] = dict.fromkeys(conditions, "not yet")

    def beat(self) -> None:
        """Note that the event loop still turns."""
        self._beat_s = self._clock()

    def report_stall(self, watchdog: str, reason: str) -> None:
        """Let a watchdog say that its part of the process is stuck; the process counts as dead until `clear_stall`."""
        self._stalls[watchdog] = reason

    def clear_stall(self, watchdog: str) -> None:
        """Take a watchdog's report back."""
        self._stalls.pop(watchdog, None)

    def meet(self, condition: str) -> None:
        """Mark a condition of readiness as met."""
        self._conditions[condition] = None

    def miss(self, condition: str, reason: str) -> None:
        """Mark a condition of readiness as not met; a name that is new is added.

        Args:
            reason: One short sentence for an operator.
        """
        self._conditions[condition] = reason

    def liveness(self) -> dict[str, str]:
        """What is wrong with this process itself, by name; empty: it lives."""
        age_s = self._clock() - self._beat_s
        late = {"event_loop": f"no heartbeat for {age_s:.1f} s"} if age_s >= HEARTBEAT_AGE_S_MAX else {}
        return {**late, **self._stalls}

    def readiness(self) -> dict[str, str]:
        """Conditions that are not met, with the reason of each; empty: ready."""
        return {name: reason for name, reason in self._conditions.items() if reason is not None}


class HealthServer:
    """A running health server.

    Attributes:
        port: The port that it listens on.
    """

    def __init__(self, runner: web.AppRunner, heartbeat: asyncio.Task[None], port: int) -> None:
        self.port = port
        self._runner = runner
        self._heartbeat = heartbeat

    async def stop(self) -> None:
        """Close the socket and end the heartbeat; answers under way have `SHUTDOWN_TIMEOUT_S`."""
        self._heartbeat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._heartbeat
        await self._runner.cleanup()


class Exposing(Protocol):
    """What /metrics needs: `Metrics` of one process, or of several together."""

    def exposition(self) -> bytes:
        """All metrics in the text format of Prometheus."""


async def serve_health(health: Health, metrics: Exposing, host: str, port: int) -> HealthServer:
    """Serve /livez, /readyz and /metrics on this loop until `stop`.

    Args:
        host: Address to listen on.
        port: 0: any free one.

    Raises:
        ConfigError: the address is taken or not ours; names `http.port`.
    """
    runner = web.AppRunner(_app(health, metrics), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    bound = await listen(runner, host, port, "http")
    heartbeat = asyncio.create_task(_heartbeat(health), name="heartbeat")
    return HealthServer(runner, heartbeat, bound)


async def listen(
    runner: web.AppRunner,
    host: str,
    port: int,
    section: str,
    tls: ssl.SSLContext | None = None,
    *,
    is_shared: bool = False,
) -> int:
    """Open the one listening socket of an application, and return its port.

    Args:
        port: 0: any free one.
        section: Table of the settings that host and port stand in, for the error.
        tls: None: plain HTTP.
        is_shared: Whether other processes of ours listen there, too (SO_REUSEPORT).

    Raises:
        ConfigError: the address is taken, not ours, or not an address.
    """
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls, reuse_port=is_shared or None).start()
    except OSError as exc:
        await runner.cleanup()
        raise ConfigError(
            f"{section}.port: cannot listen on {host}:{port} ({exc.strerror or exc});"
            f" choose another {section}.port, 0 for any free one, and a {section}.host of this machine"
        ) from exc
    return int(runner.addresses[0][1])


async def _heartbeat(health: Health) -> None:
    while True:  # ends by cancellation
        health.beat()
        await asyncio.sleep(HEARTBEAT_EVERY_S)


def _app(health: Health, metrics: Exposing) -> web.Application:
    async def livez(_request: web.Request) -> web.Response:
        reasons = health.liveness()
        return _answer({"alive": not reasons, "reasons": reasons}, ok=not reasons)

    async def readyz(_request: web.Request) -> web.Response:
        reasons = health.readiness()
        return _answer({"ready": not reasons, "reasons": reasons}, ok=not reasons)

    async def numbers(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", numbers)
    return app


def _answer(body: dict[str, object], *, ok: bool) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=200 if ok else 503, content_type="application/json")
