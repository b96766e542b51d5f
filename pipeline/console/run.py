"""The role `wapipe console`: one process, one loop; the feed has a thread, searches have a few."""

from __future__ import annotations

import uvloop

from pipeline.config import Settings
from pipeline.console.process import Console
from pipeline.health import PORTS, serve_health


def run_console(settings: Settings, *, rebuild: bool = False) -> int:
    """Run the console until SIGTERM or SIGINT; returns the exit code of the process.

    Args:
        rebuild: Whether to forget the read model and read all of it from Kafka again.

    Raises:
        ConfigError: others could reach it without a login, a token cannot be read, or an address is taken.
        BrokerUnreachable: Kafka did not answer within `kafka.startup_timeout_s`.
        TopicsWrong: topics are missing or made differently.
    """

    async def run() -> int:
        console = Console(settings, rebuild=rebuild)
        port = PORTS["console"] if settings.http.port is None else settings.http.port
        server = await serve_health(console.health, console.metrics, settings.http.host, port)
        try:
            return await console.run(server.port)
        finally:
            await server.stop()

    return uvloop.run(run())
