"""The spool over a real folder: kept means synced, drained in order, bounded, and out of use when it is empty."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.ingress import spool as spool_module
from pipeline.ingress.access import Voice
from pipeline.ingress.journal import DAMAGED, Entry, Journal
from pipeline.ingress.spool import Spool, SpoolFull
from pipeline.ingress.store import NotStored
from pipeline.metrics import Metrics

LIMIT_BYTES = 1000


def entry(number: int, size_bytes: int = 10) -> Entry:
    """A webhook that came at that time."""
    return Entry(number, None, Voice(frozenset()), b"x" * size_bytes)


class Kafka:
    """Takes entries when it is there."""

    def __init__(self) -> None:
        self.is_there = asyncio.Event()
        self.asked = asyncio.Event()
        self.taken: list[int] = []

    async def deliver(self, entries: list[Entry]) -> None:
        """As the door's writer."""
        self.asked.set()
        if not self.is_there.is_set():
            raise NotStored("away")
        self.taken += [one.received_ms for one in entries]


@asynccontextmanager
async def running(folder: Path, kafka: Kafka, limit_bytes: int = LIMIT_BYTES) -> AsyncIterator[Spool]:
    """A spool whose tasks run."""
    with Journal(folder) as journal:
        spool = Spool(journal, limit_bytes, kafka.deliver, Metrics())
        task = asyncio.create_task(spool.run())
        try:
            yield spool
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until_unused(spool: Spool) -> None:
    """Wait until nothing stands on disk."""
    async with asyncio.timeout(30):
        while spool.is_in_use:
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is asked again without a wait worth the name."""
    monkeypatch.setattr(spool_module, "RETRY_S", 0.01)


async def test_what_was_kept_reaches_kafka_in_order_when_it_is_back(tmp_path: Path) -> None:
    """While Kafka is away all stays on disk; afterwards it comes in the order it was kept, and nothing is left."""
    kafka = Kafka()
    async with running(tmp_path, kafka) as spool:
        unused = not spool.is_in_use
        await asyncio.gather(*(spool.keep(entry(number)) for number in range(5)))
        await spool.keep(entry(5))
        assert (unused, spool.is_in_use) == (True, True)
        await asyncio.wait_for(kafka.asked.wait(), 30)
        assert kafka.taken == []
        kafka.is_there.set()
        await until_unused(spool)
    assert sorted(set(kafka.taken), key=kafka.taken.index) == list(range(6))
    assert list(tmp_path.glob("*.webhooks")) == []


async def test_the_next_process_drains_what_the_last_one_left(tmp_path: Path) -> None:
    """What stood on disk at the start is brought to Kafka without a new webhook."""
    kafka = Kafka()
    async with running(tmp_path, kafka) as spool:
        await spool.keep(entry(1))
    kafka.is_there.set()
    async with running(tmp_path, kafka) as spool:
        await until_unused(spool)
    assert kafka.taken == [1]


async def test_an_end_waits_for_what_the_disk_is_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cancels the spool may close its journal as soon as it has ended: no thread is at it any more."""
    is_at_it, may_go_on = threading.Event(), threading.Event()
    oldest = Journal.oldest

    def slow(self: Journal) -> Path | None:
        is_at_it.set()
        assert may_go_on.wait(30)
        return oldest(self)

    monkeypatch.setattr(Journal, "oldest", slow)
    with Journal(tmp_path) as journal:
        spool = Spool(journal, LIMIT_BYTES, Kafka().deliver, Metrics())
        task = asyncio.create_task(spool.run())
        await spool.keep(entry(1))
        assert await asyncio.to_thread(is_at_it.wait, 30)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=0.05)
        assert not done
        may_go_on.set()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_past_its_bound_nothing_more_is_taken(tmp_path: Path) -> None:
    """A full spool refuses, with what it holds in the error, and keeps what it has."""
    kafka = Kafka()
    async with running(tmp_path, kafka) as spool:
        await spool.keep(entry(1, LIMIT_BYTES // 2))
        with pytest.raises(SpoolFull, match=f"of {LIMIT_BYTES} bytes"):
            await spool.keep(entry(2, LIMIT_BYTES // 2))
        kafka.is_there.set()
        await until_unused(spool)
    assert kafka.taken == [1]


async def test_a_disk_that_refuses_is_told_to_every_waiting_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call is answered 200 for what did not get to the disk; the spool goes on when the disk does."""

    def refuse(_self: Journal, _entries: list[Entry]) -> None:
        raise OSError(28, "No space left on device")

    kafka = Kafka()
    async with running(tmp_path, kafka) as spool:
        with monkeypatch.context() as broken:
            broken.setattr(Journal, "append", refuse)
            results = await asyncio.gather(*(spool.keep(entry(number)) for number in range(3)), return_exceptions=True)
        assert [str(one) for one in results] == ["the disk refuses: No space left on device"] * 3
        await spool.keep(entry(7))
        kafka.is_there.set()
        await until_unused(spool)
    assert kafka.taken == [7]


async def test_a_call_that_gave_up_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """A caller that hangs up while the disk is at work leaves the calls beside it their answer."""
    kafka = Kafka()
    async with running(tmp_path, kafka) as spool:
        gone = asyncio.create_task(spool.keep(entry(1)))
        stays = asyncio.create_task(spool.keep(entry(2)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(stays, 30)
        kafka.is_there.set()
        await until_unused(spool)
    assert 2 in kafka.taken


async def test_a_damaged_file_is_kept_for_a_person_and_stops_nothing(tmp_path: Path) -> None:
    """What stands before the damage is delivered, the file stays under another name, and what comes after goes on."""
    kafka = Kafka()
    async with running(tmp_path, kafka) as spool:
        await spool.keep(entry(1))
        first = next(tmp_path.glob("*.webhooks"))
        await spool.keep(entry(2))
    raw = bytearray(first.read_bytes())
    raw[-1] ^= 1
    first.write_bytes(raw)
    kafka.is_there.set()
    with capture_logs() as logs:
        async with running(tmp_path, kafka) as spool:
            await until_unused(spool)
    assert [line["kept_as"] for line in logs if line["event"] == "spool_damaged"] == [first.stem + DAMAGED]
    assert len(list(tmp_path.glob(f"*{DAMAGED}"))) == 1
