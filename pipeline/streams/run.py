"""Runs one role's Faust app until SIGTERM or a crash, on uvloop. Blocking; one per process."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from pipeline.errors import EXIT_CRASHED, EXIT_DONE
from pipeline.streams.hardened import HardenedApp
from pipeline.streams.watchdog import LoopWatchdog

log = structlog.get_logger(__name__)

GC_THRESHOLD = (50_000, 20, 50)


def run_role(build: Callable[[], Awaitable[HardenedApp]], close: Callable[[HardenedApp], Awaitable[None]]) -> int:
    """Build an app on a fresh event loop, run it until it is told to stop, and tear it down.

    Args:
        build: Makes the app and whatever it needs (health server, producer) on the running loop.
        close: Releases that, after the app has stopped.

    Returns:
        Exit code: 0 after SIGTERM or SIGINT, 1 after a crash.
    """
    uvloop.install()  # the consumer thread makes a loop of its own by the policy
    gc.set_threshold(*GC_THRESHOLD)
    gc.freeze()
    return asyncio.run(_run(build, close))


async def _run(build: Callable[[], Awaitable[HardenedApp]], close: Callable[[HardenedApp], Awaitable[None]]) -> int:
    loop = asyncio.get_running_loop()
    watchdog = LoopWatchdog(loop)
    app = await build()
    watchdog.start()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, app.end_on_signal)
    started = loop.create_task(app.start())
    ended = loop.create_task(app.ended.wait())
    await asyncio.wait({started, ended}, return_when=asyncio.FIRST_COMPLETED)
    if started.done() and started.exception() is not None and app.crash_reason_seen is None:
        await app.crash(started.exception() or RuntimeError("start failed"))
    fetching = loop.create_task(app.fetch_watchdog().run())
    await ended
    watchdog.stop()
    fetching.cancel()
    app.exit_deadline.arm("stop", code=71)
    log.info("stopping", crashed=app.crash_reason_seen is not None)
    if not started.done():
        started.cancel()
    await app.stop()
    await close(app)
    app.exit_deadline.disarm()
    return EXIT_CRASHED if app.crash_reason_seen is not None else EXIT_DONE
