"""`wapipe gate`: checks the topics, serves health and metrics, runs the gate until SIGTERM. Blocking."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import structlog

from pipeline.config import Settings
from pipeline.gate.app import ASSIGNED, RECOVERED, Gate
from pipeline.health import PORTS, Health, HealthServer, serve_health
from pipeline.metrics import Metrics
from pipeline.streams import topics
from pipeline.streams.hardened import HardenedApp
from pipeline.streams.run import run_role
from pipeline.tracing import OFF, Tracing

log = structlog.get_logger(__name__)

ROLE: Final = "gate"
NICENESS: Final = 5
"""Where gate and sender share a machine, judging ahead must not take the processor from sending."""
AUTOGROUP: Final = Path("/proc/self/autogroup")
"""Linux weighs sessions first, then the processes in each: sched(7), "The autogroup feature"."""


def run_gate(settings: Settings, tracing: Tracing = OFF) -> int:
    """Run one gate in the foreground.

    Returns:
        Exit code: 0 after SIGTERM or SIGINT, 1 after a crash (a supervisor starts it anew).

    Raises:
        BrokerUnreachable: no broker answered within `kafka.startup_timeout_s`.
        TopicsWrong: a topic is missing or made differently.
        ConfigError: the health port is taken, or a secret cannot be read.
    """
    yield_processor()
    partitions = topics.require(settings)
    running: list[tuple[Gate, HealthServer]] = []

    async def build() -> HardenedApp:
        health, metrics = Health((ASSIGNED, RECOVERED)), Metrics()
        port = settings.http.port if settings.http.port is not None else PORTS[ROLE]
        server = await serve_health(health, metrics, settings.http.host, port)
        log.info("serving_health", host=settings.http.host, port=server.port)
        gate = Gate(settings, partitions, metrics, health, tracing)
        running.append((gate, server))
        await gate.warm_up()
        return gate.app

    async def close(_app: HardenedApp) -> None:
        for gate, server in running:
            await gate.close()
            await server.stop()

    return run_role(build, close)


def yield_processor() -> None:
    """Let others go first: this process among those of its session, and its session if it leads one."""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # not Linux, switched off, or read-only
            AUTOGROUP.write_text(str(NICENESS))
