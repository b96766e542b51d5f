"""What a gate does while recipients are moved to more partitions, or a number to other lanes: nothing, until they are;
then it begins anew.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Final, NamedTuple, NoReturn, Self

import structlog

from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, BrokerUnreachable, TopicsWrong
from pipeline.health import Health, serve_health
from pipeline.metrics import Metrics
from pipeline.records.lanes import Lanes
from pipeline.records.layout import Layout
from pipeline.streams.layout import read_lanes, read_layout

log = structlog.get_logger(__name__)

SCALING: Final = "scaling"
LOOK_EVERY_S: Final = 1.0
BEGAN_ANEW: Final = "_WAPIPE_BEGAN_ANEW"
"""In the environment of a process that replaced itself."""


class Places(NamedTuple):
    """Where people and numbers have their partitions.

    Attributes:
        layout: Of the recipients; None: nobody ever wrote one, the topics tell.
        lanes: Of each number of the settings.
    """

    layout: Layout | None
    lanes: dict[str, Lanes]

    @classmethod
    def read(cls, settings: Settings, timeout_s: float) -> Self:
        """As they stand now; blocks.

        Raises:
            BrokerUnreachable: no broker answered in time.
        """
        return cls(read_layout(settings, timeout_s), read_lanes(settings, timeout_s))

    @property
    def closed(self) -> str | None:
        """Why no gate may run, with the command that ends it; None: they may."""
        if self.layout is not None and not self.layout.is_open:
            target = self.layout.target
            return f"recipients move to {target} partitions: wapipe topics scale --recipients {target}"
        for number, lanes in self.lanes.items():
            if lanes.step == "pause":
                count = len(lanes.target or ())
                return f"{number} moves to {count} lanes: wapipe topics scale --lanes {number}={count}"
        return None


def wait_until_open(settings: Settings, port: int, places: Places) -> Places:
    """Wait as long as recipients or a number are being moved; `/readyz` says so. Blocks, without an end of its own.

    Args:
        port: Where health is served meanwhile.
        places: As they were read; closed.

    Returns:
        The places by which gates may run.

    Raises:
        SystemExit: SIGTERM or SIGINT came meanwhile; code 0.
    """
    log.warning("gate_waits_for_scaling", why=places.closed)
    return asyncio.run(_wait(settings, port, places))


async def _wait(settings: Settings, port: int, places: Places) -> Places:
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    health = Health()
    server = await serve_health(health, Metrics(), settings.http.host, port)
    log.info("serving_health", host=settings.http.host, port=server.port)
    try:
        while (why := places.closed) is not None:
            health.miss(SCALING, why)
            try:
                await asyncio.wait_for(ended.wait(), LOOK_EVERY_S)
            except TimeoutError:
                places = await _read(settings, places)
            else:
                raise SystemExit(EXIT_DONE)
    finally:
        await server.stop()
    log.info("scaling_is_over")
    return places


async def _read(settings: Settings, known: Places) -> Places:
    try:
        return await asyncio.to_thread(Places.read, settings, settings.kafka.startup_timeout_s)
    except BrokerUnreachable as exc:
        log.warning("gate_waits_for_kafka", error=str(exc))
        return known


def require_moved(layout: Layout | None, partitions: int) -> None:
    """Refuse partitions that were added by a bare alter: people would be looked for where they are not.

    Args:
        partitions: Of the recipient topics, as the broker has them.

    Raises:
        TopicsWrong: names both counts and the remedy.
    """
    if layout is not None and layout.partitions != partitions:
        raise TopicsWrong(
            f"outbound-requests: partitions: found {partitions}, but people are on {layout.partitions}: they were added"
            f" without moving anybody; remedy: wapipe topics scale --recipients {partitions}"
        )


def begin_anew() -> NoReturn:
    """Replace this process by a fresh one of the same id: nothing of the old partitions is left in memory."""
    log.info("gate_begins_anew")
    sys.stdout.flush()
    sys.stderr.flush()
    # S606 warns of starting a program without a shell: it is this one, by its own command line.
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, BEGAN_ANEW: "1"})  # noqa: S606


def has_begun_anew() -> bool:
    """Whether this process replaced itself: what it inherited (its niceness) it has already."""
    return BEGAN_ANEW in os.environ
