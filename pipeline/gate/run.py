"""`wapipe gate`: checks the topics, serves health and metrics, runs the gate until SIGTERM. Blocking."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import structlog

from pipeline.config import Settings
from pipeline.errors import EXIT_DONE
from pipeline.gate.app import ASSIGNED, RECOVERED, Gate
from pipeline.gate.pausing import Places, begin_anew, has_begun_anew, require_moved, wait_until_open
from pipeline.health import PORTS, Health, HealthServer, serve_health
from pipeline.metrics import Metrics
from pipeline.records.lanes import differing, with_lanes
from pipeline.streams import acls, topics
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
        BrokerUnreachable: no broker answered within `kafka.startup_timeout_s`, or one refused us.
        TopicsWrong: a topic is missing or made differently, or has partitions that nobody was moved to.
        SystemExit: SIGTERM came while recipients or a number were being moved; code 0.
        ConfigError: the health port is taken, a secret cannot be read, or two numbers have the same lane.
    """
    if not has_begun_anew():
        yield_processor()
    port = settings.http.port if settings.http.port is not None else PORTS[ROLE]
    acls.require(settings, ROLE, settings.kafka.startup_timeout_s)
    partitions = topics.require(settings)
    places = Places.read(settings, settings.kafka.startup_timeout_s)
    if places.closed is not None:
        places = wait_until_open(settings, port, places)
        partitions = topics.require(settings)
    require_moved(places.layout, partitions)
    for number, remedy in differing(settings, places.lanes).items():
        log.warning("lanes_differ", number=number, remedy=remedy)
    settings = with_lanes(settings, {number: lanes.written for number, lanes in places.lanes.items()})
    running: list[tuple[Gate, HealthServer]] = []

    async def build() -> HardenedApp:
        health, metrics = Health((ASSIGNED, RECOVERED)), Metrics()
        server = await serve_health(health, metrics, settings.http.host, port)
        log.info("serving_health", host=settings.http.host, port=server.port)
        gate = Gate(settings, partitions, metrics, health, tracing, places.layout)
        running.append((gate, server))
        await gate.warm_up()
        return gate.app

    async def close(_app: HardenedApp) -> None:
        for gate, server in running:
            await gate.close()
            await server.stop()

    code = run_role(build, close)
    if code == EXIT_DONE and any(gate.is_out_of_date and not gate.app.is_told_to_end for gate, _ in running):
        tracing.close()
        begin_anew()
    return code


def yield_processor() -> None:
    """Let others go first: this process among those of its session, and its session if it leads one."""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # not Linux, switched off, or read-only
            AUTOGROUP.write_text(str(NICENESS))
