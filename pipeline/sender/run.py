"""`wapipe sender`: checks the topics, serves health and metrics, runs the sender until SIGTERM. Blocking."""

from __future__ import annotations

from typing import Final

import structlog

from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.health import PORTS, Health, HealthServer, serve_health
from pipeline.metrics import Metrics
from pipeline.secrets import credential_of
from pipeline.sender.app import ACCOUNT, ASSIGNED, Sender
from pipeline.streams import acls, topics
from pipeline.streams.hardened import HardenedApp
from pipeline.streams.run import run_role
from pipeline.tracing import OFF, Tracing

log = structlog.get_logger(__name__)

ROLE: Final = "sender"


def run_sender(settings: Settings, tracing: Tracing = OFF) -> int:
    """Run one sender in the foreground.

    Returns:
        Exit code: 0 after SIGTERM or SIGINT, 1 after a crash (a supervisor starts it anew).

    Raises:
        BrokerUnreachable: no broker answered within `kafka.startup_timeout_s`, or one refused us.
        TopicsWrong: a topic is missing or made differently.
        ConfigError: no number is configured, a token or password is missing, or the health port is taken.
    """
    if not settings.numbers:
        raise ConfigError("numbers: at least one sending number is needed, e.g. [numbers.200000000000001]")
    for number, own in settings.numbers.items():
        credential_of(number, own)  # a missing one is told before Kafka is waited for
    acls.require(settings, ROLE, settings.kafka.startup_timeout_s)
    topics.require(settings)
    running: list[tuple[Sender, HealthServer]] = []

    async def build() -> HardenedApp:
        health, metrics = Health((ASSIGNED, ACCOUNT)), Metrics()
        sender = Sender(settings, metrics, health, tracing)
        port = settings.http.port if settings.http.port is not None else PORTS[ROLE]
        server = await serve_health(health, metrics, settings.http.host, port)
        log.info("serving_health", host=settings.http.host, port=server.port)
        running.append((sender, server))
        await sender.warm_up()
        return sender.app

    async def close(_app: HardenedApp) -> None:
        for sender, server in running:
            await sender.close()
            await server.stop()

    return run_role(build, close)
