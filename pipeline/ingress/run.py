"""The role `wapipe ingress`: one process, one loop, one producer; or several such processes on one port.

`run_ingress` owns the process' loop. With `ingress.workers` above 1 it starts so many processes and watches them
(`workers.py`), each of them an `Ingress` of its own.
"""

from __future__ import annotations

import uvloop

from pipeline.config import Settings
from pipeline.health import PORTS, serve_health
from pipeline.ingress.process import Ingress
from pipeline.ingress.workers import Workers
from pipeline.tracing import OFF, Tracing


def run_ingress(settings: Settings, tracing: Tracing = OFF) -> int:
    """Run the ingress until SIGTERM or SIGINT; returns the exit code of the process.

    Args:
        tracing: Of this process; where there are several, each makes its own.

    Raises:
        ConfigError: a setting would leave the door open, a secret cannot be read, or an address is taken.
        BrokerUnreachable: Kafka did not answer within `kafka.startup_timeout_s`.
        TopicsWrong: topics are missing or made differently.
    """
    return uvloop.run(_alone(settings, tracing) if settings.ingress.workers == 1 else _several(settings))


async def _alone(settings: Settings, tracing: Tracing) -> int:
    ingress = Ingress(settings, settings.ingress.port, tracing=tracing)
    server = await serve_health(ingress.health, ingress.metrics, settings.http.host, _health_port(settings))
    try:
        return await ingress.run(server.port)
    finally:
        await server.stop()


async def _several(settings: Settings) -> int:
    with Workers(settings) as workers:
        server = await serve_health(workers.health, workers, settings.http.host, _health_port(settings))
        try:
            return await workers.run(server.port)
        finally:
            await server.stop()


def _health_port(settings: Settings) -> int:
    return PORTS["ingress"] if settings.http.port is None else settings.http.port
