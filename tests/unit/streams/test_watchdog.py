"""Watchdogs end a stuck process, and leave one alone that waits for a reason."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping

from pipeline.streams.watchdog import LOOP_EXIT_CODE, FetchWatchdog, LoopWatchdog, ReaderWatchdog

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


class FakeReader:
    """A reader that a test moves."""

    def __init__(self) -> None:
        self.applied, self.fresh_s = 0, 0.0
        self.error: Exception | None = None

    def lag_s(self, now_s: float) -> float:
        """Age of its knowledge."""
        return now_s - self.fresh_s


def reader_watchdog(reader: FakeReader, *, is_kafka_here: Callable[[], bool] = lambda: True) -> ReaderWatchdog:
    """One that has enough after three looks; it is looked at by hand."""

    async def crash(_reason: BaseException) -> None: ...

    return ReaderWatchdog(lambda: {"consent-updates": reader}, is_kafka_here, crash, looks_max=3)


def test_reader_that_hears_nothing_ends_the_process() -> None:
    """Three looks in a row at a stale reader to which nothing new came, while the rest of Kafka works: a new start."""
    dog = reader_watchdog(FakeReader())
    assert [dog.look(now_s) for now_s in (100.0, 105.0)] == [None, None]
    assert "consent-updates" in str(dog.look(110.0))


def test_reader_on_its_way_is_left_alone() -> None:
    """A long topic takes its time: as long as something new is applied, the process goes on."""
    reader = FakeReader()
    dog = reader_watchdog(reader)
    for look in range(9):
        reader.applied += look % 2
        assert dog.look(100.0 + look) is None


def test_reader_that_is_fresh_again_starts_the_count_anew() -> None:
    """What was cut off and came back is no reason to end anything."""
    reader = FakeReader()
    dog = reader_watchdog(reader)
    for turn in range(3):
        assert [dog.look(100.0 * (turn + 1) + look) for look in (0, 1)] == [None, None]
        reader.fresh_s = 100.0 * (turn + 1) + 2
        assert dog.look(reader.fresh_s) is None


def test_kafka_away_altogether_is_a_wait_with_a_name() -> None:
    """Then a new process would read no better: senders wait, however long."""
    dog = reader_watchdog(FakeReader(), is_kafka_here=lambda: False)
    assert [dog.look(100.0 + look) for look in range(9)] == [None] * 9


async def test_dead_reader_ends_the_process_at_once() -> None:
    """Its thread is gone, it will never hear again; fresh or not, the process ends."""
    reader, crashes = FakeReader(), list[BaseException]()
    reader.fresh_s, reader.error = 1e18, ValueError("a bug")

    async def crash(reason: BaseException) -> None:
        crashes.append(reason)

    await ReaderWatchdog(lambda: {"suppressions": reader}, lambda: True, crash, look_s=0.0).run()
    assert "a bug" in str(crashes[0])
