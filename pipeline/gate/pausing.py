"""What a gate does while recipients are moved to more partitions: nothing, until they are; then it begins anew."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Final, NoReturn

import structlog

from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, BrokerUnreachable, TopicsWrong
from pipeline.health import Health, serve_health
from pipeline.metrics import Metrics
from pipeline.records.layout import Layout
from pipeline.streams.layout import read_layout

log = structlog.get_logger(__name__)

SCALING: Final = "scaling"
LOOK_EVERY_S: Final = 1.0
BEGAN_ANEW: Final = "_WAPIPE_BEGAN_ANEW"
"""In the environment of a process that replaced itself."""


def wait_until_open(settings: Settings, port: int, layout: Layout) -> Layout | None:
    """Wait as long as recipients are being moved; `/readyz` says so. Blocks, without an end of its own.

    Args:
        port: Where health is served meanwhile.
        layout: As it was read; not open.

    Returns:
        The layout by which gates may run; None: it is gone, and the topics tell.

    Raises:
        SystemExit: SIGTERM or SIGINT came meanwhile; code 0.
    """
    log.warning("gate_waits_for_scaling", partitions=layout.partitions, target=layout.target, step=layout.step)
    return asyncio.run(_wait(settings, port, layout))


async def _wait(settings: Settings, port: int, layout: Layout | None) -> Layout | None:
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    health = Health()
    server = await serve_health(health, Metrics(), settings.http.host, port)
    log.info("serving_health", host=settings.http.host, port=server.port)
    try:
        while layout is not None and not layout.is_open:
            target = layout.target
            health.miss(SCALING, f"recipients move to {target} partitions: wapipe topics scale --recipients {target}")
            try:
                await asyncio.wait_for(ended.wait(), LOOK_EVERY_S)
            except TimeoutError:
                layout = await _read(settings, layout)
            else:
                raise SystemExit(EXIT_DONE)
    finally:
        await server.stop()
    log.info("scaling_is_over", partitions=layout.partitions if layout is not None else None)
    return layout


async def _read(settings: Settings, known: Layout) -> Layout | None:
    try:
        return await asyncio.to_thread(read_layout, settings)
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
