"""Watchdogs end a stuck process, and leave one alone that waits for a reason."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

from pipeline.streams.watchdog import LOOP_EXIT_CODE, FetchWatchdog, LoopWatchdog

TP = ("ready-normal", 0)


async def test_a_blocked_loop_ends_the_process() -> None:
    """A loop that answers no look for the whole time makes the watchdog leave with its exit code."""
    left: list[int] = []
    gone = threading.Event()

    def leave(code: int) -> None:
        left.append(code)
        gone.set()

    watchdog = LoopWatchdog(asyncio.get_running_loop(), look_s=0.02, blocked_s=0.06, leave=leave)
    watchdog.start()
    gone.wait(5.0)  # blocks the loop, as a bug would
    watchdog.stop()
    assert left == [LOOP_EXIT_CODE]


async def test_a_turning_loop_is_left_alone() -> None:
    """A loop that answers is never taken for a blocked one."""
    left: list[int] = []
    watchdog = LoopWatchdog(asyncio.get_running_loop(), look_s=0.2, blocked_s=4.0, leave=left.append)
    watchdog.start()
    for _ in range(100):
        await asyncio.sleep(0.01)
    watchdog.stop()
    assert left == []


class _Stream:
    """A partition as a watchdog sees it."""

    def __init__(self, progress: Mapping[tuple[str, int], tuple[int, int]], step: int = 0) -> None:
        self._progress, self._step = dict(progress), step
        self.crashed: list[BaseException] = []
        self.looks = 0

    async def look(self) -> Mapping[tuple[str, int], tuple[int, int]]:
        self.looks += 1
        self._progress = {tp: (position + self._step, end) for tp, (position, end) in self._progress.items()}
        return self._progress

    async def crash(self, reason: BaseException) -> None:
        self.crashed.append(reason)


async def _watch(stream: _Stream, looks: int) -> None:
    watchdog = FetchWatchdog(stream.look, stream.crash, look_s=0.005, stalled_s=0.02)
    task = asyncio.create_task(watchdog.run())
    while stream.looks < looks and not task.done():
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_records_that_nobody_fetches_end_the_process() -> None:
    """Waiting records and no fetch at all for the whole time crash the app, with the partition named."""
    stream = _Stream({TP: (4, 10)})
    await _watch(stream, 1000)
    assert len(stream.crashed) == 1
    assert "ready-normal" in str(stream.crashed[0])


async def test_a_slow_stream_is_left_alone() -> None:
    """As long as records are fetched, however slowly, nothing is crashed."""
    stream = _Stream({TP: (0, 10_000)}, step=1)
    await _watch(stream, 40)
    assert stream.crashed == []


async def test_a_stream_without_work_is_left_alone() -> None:
    """A position at the end, and partitions that are not to be fetched now, trip nothing."""
    idle, paused = _Stream({TP: (10, 10)}), _Stream({})
    await _watch(idle, 40)
    await _watch(paused, 40)
    assert idle.crashed == paused.crashed == []
