"""A stalled worker must not look healthy: watchdogs that end the process, so that its supervisor starts it anew.

`LoopWatchdog` is a thread: it notices an event loop that no longer turns. `FetchWatchdog` is a task: it notices records
that wait on Kafka while the stream fetches none. `ReaderWatchdog` is a task: it notices a reader beside the stream that
hears nothing while the rest of Kafka works. Waits with a name (a paused partition, a rebalance, tables being restored,
Kafka away) never trip them.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from pipeline.clock import steady_s
from pipeline.errors import InvariantBroken

log = structlog.get_logger(__name__)

LOOP_LOOK_S = 5.0
LOOP_BLOCKED_S = 30.0
LOOP_EXIT_CODE = 72
FETCH_LOOK_S = 10.0
FETCH_STALLED_S = 120.0
READER_LOOK_S = 5.0
READER_STALE_S = 5.0
READER_LOOKS_MAX = 12
"""A minute: longer than a broker's restart or a change of leaders takes."""

Progress = Mapping[tuple[str, int], tuple[int, int]]


class LoopWatchdog:
    """Leaves the process when its event loop does not turn.

    The loop has to answer several looks in a row: a process that was frozen as a whole, and has just been thawed, is
    given the time to answer.

    Args:
        leave: Called with the exit code; for tests.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        look_s: float = LOOP_LOOK_S,
        blocked_s: float = LOOP_BLOCKED_S,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._loop, self._look_s, self._leave = loop, look_s, leave
        self._looks_max = max(2, int(blocked_s / look_s))
        self._answered = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """The loop is about to end on purpose."""
        self._stop.set()

    def _run(self) -> None:
        silent = 0
        while not self._stop.is_set():
            self._answered.clear()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return  # the loop is closed
            if self._answered.wait(self._look_s):
                silent = 0
                self._stop.wait(self._look_s)
                continue
            silent += 1
            if silent >= self._looks_max and not self._stop.is_set():
                sys.stderr.write(f"event loop blocked for {silent * self._look_s:.0f} s, leaving\n")
                faulthandler.dump_traceback(all_threads=True)
                self._leave(LOOP_EXIT_CODE)
                return


class FetchWatchdog:
    """Crashes the app when records wait on Kafka and none is fetched.

    Args:
        look: Asks the consumer for (position, end of log) of each partition that should be fetched now. The position
            is the consumer's own: it passes what is no record, such as the markers of transactions.
        crash: Ends the process.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Progress]],
        crash: Callable[[BaseException], Awaitable[None]],
        *,
        look_s: float = FETCH_LOOK_S,
        stalled_s: float = FETCH_STALLED_S,
    ) -> None:
        self._look, self._crash = look, crash
        self._look_s, self._stalled_s = look_s, stalled_s

    async def run(self) -> None:
        """Look until cancelled."""
        last: Progress = {}
        since = steady_s()
        while True:
            await asyncio.sleep(self._look_s)
            try:
                now = await asyncio.wait_for(self._look(), self._look_s)
            except Exception as exc:  # noqa: BLE001  whatever keeps Kafka from answering is a wait with a name
                log.warning("fetch_watchdog_without_answer", error=repr(exc))
                since = steady_s()
                continue
            behind = {tp: (position, end) for tp, (position, end) in now.items() if position < end}
            if not behind or any(tp not in last or last[tp][0] != position for tp, (position, _) in behind.items()):
                since = steady_s()
            last = now
            if steady_s() - since > self._stalled_s:
                await self._crash(InvariantBroken(f"nothing fetched for {self._stalled_s:.0f} s; behind: {behind}"))
                return


class Reader(Protocol):
    """What is watched of a follower."""

    applied: int
    error: Exception | None

    def lag_s(self, now_s: float) -> float:
        """Age of its knowledge."""


class ReaderWatchdog:
    """Crashes the app when a reader has died, or learns nothing although the rest of Kafka works.

    Looks in a row are counted, not seconds: a process that was frozen as a whole is given the time to read on.

    Args:
        readers: Those that ought to read now, by topic.
        is_kafka_here: Whether Kafka answers this process otherwise; away altogether is a wait with a name.
        crash: Ends the process.
        looks_max: So many looks in a row must find a reader stale, with nothing new applied.
    """

    def __init__(
        self,
        readers: Callable[[], Mapping[str, Reader]],
        is_kafka_here: Callable[[], bool],
        crash: Callable[[BaseException], Awaitable[None]],
        *,
        look_s: float = READER_LOOK_S,
        looks_max: int = READER_LOOKS_MAX,
    ) -> None:
        self._readers, self._is_kafka_here, self._crash = readers, is_kafka_here, crash
        self._look_s, self._looks_max = look_s, looks_max
        self._silent: dict[str, tuple[int, int]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            reason = self.look(steady_s())
            if reason is not None:
                await self._crash(reason)
                return

    def look(self, now_s: float) -> InvariantBroken | None:
        """Look once; returns why the process has to end, if it has to."""
        is_kafka_here, before = self._is_kafka_here(), self._silent
        self._silent = {}
        for topic, reader in self._readers().items():
            if reader.error is not None:
                return InvariantBroken(f"the reader of {topic} has died: {reader.error!r}")
            looks, applied = before.get(topic, (0, -1))
            if is_kafka_here and reader.lag_s(now_s) > READER_STALE_S:
                self._silent[topic] = (looks + 1 if applied in (-1, reader.applied) else 1, reader.applied)
                if self._silent[topic][0] >= self._looks_max:
                    return InvariantBroken(f"the reader of {topic} hears nothing, but the rest of Kafka works")
        return None
