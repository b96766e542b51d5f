"""After recipients moved to more partitions: earlier requests first, and a judgement rests on all that came before."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.gate import settling as module
from pipeline.gate.freshness import Partition
from pipeline.gate.item import Item
from pipeline.gate.settling import Settling
from tests.unit.gate.making import NOW_MS, item, request

BEFORE, NEW, PARENT = 6, 8, 2
HERE: Partition = ("t-outbound-requests", NEW)
THERE: Partition = ("t-outbound-requests", PARENT)
UPDATES: Partition = ("t-consent-updates", PARENT)
EVENTS: Partition = ("t-inbound-events", PARENT)
UNTIL_MS = NOW_MS


class Kafka:
    """Where partitions end, what is committed, and what stands on them."""

    def __init__(self) -> None:
        self.ends: dict[Partition, int] = {HERE: 0, THERE: 0, UPDATES: 0, EVENTS: 0}
        self.committed: dict[Partition, int] = {}
        self.is_away = False
        self.asked: list[list[Partition]] = []

    def ask(self, partitions: list[Partition], unknown: list[Partition]) -> dict[Partition, tuple[int, int | None]]:
        """As `EndsReader.ask`."""
        if self.is_away:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self.asked.append(partitions)
        return {tp: (self.ends[tp], self.committed.get(tp, 0) if tp in unknown else None) for tp in partitions}

    def first(self, tp: Partition, offset: int) -> int:
        """Everything behind what is committed is a record, but on `EVENTS`, which ends in a marker."""
        return self.ends[tp] if tp == EVENTS else offset


class Stand:
    """A settling with its task, and what it lets go."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka, self.is_paused = kafka, False
        self.settling = Settling(
            BEFORE, UNTIL_MS, lambda name: f"t-{name}", kafka.ask, kafka.first, lambda _tp: self.is_paused,
            lambda: None,
        )  # fmt: skip

    def comes(self, offset: int, name: str, source: int | None = None) -> bool:
        """A request is read from the new partition, re-routed from that offset of the parent or directly."""
        headers: list[tuple[str, bytes]] = []
        if source is not None:
            first = {"topic": "outbound-requests", "partition": PARENT, "offset": source, "timestamp_ms": NOW_MS}
            headers = [("wapipe-rerouted", b"12"), ("wapipe-source", orjson.dumps(first))]
        came = item("normal", request(request_id=name), partition=NEW, offset=offset, headers=headers)
        return self.settling.hold(came)

    @property
    def released(self) -> list[str]:
        """Ids of what may be judged, in order."""
        return [name_of(one) for one in self.settling.released]

    async def until_released(self, count: int) -> list[str]:
        """Wait for so many."""
        async with asyncio.timeout(20):
            while len(self.settling.released) < count:
                await asyncio.sleep(0)
        return self.released


def name_of(one: Item) -> str:
    """The request's id."""
    value: dict[str, Any] = orjson.loads(one.value or b"")
    return str(value["request_id"])


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    """One that looks without a pause."""
    monkeypatch.setattr(module, "ASK_EVERY_S", 0.001)
    monkeypatch.setattr(module, "STILL_S", 0.01)
    return Stand(Kafka())


async def rounds(stand: Stand, seconds: float = 0.1) -> None:
    """Let it look for a while."""
    await asyncio.sleep(seconds)


async def run(stand: Stand) -> asyncio.Task[None]:
    """Its task."""
    return asyncio.create_task(stand.settling.run())


def test_partitions_of_before_wait_for_nothing(stand: Stand) -> None:
    """What stands on an old partition is judged at once."""
    assert not stand.settling.hold(item("normal", request(), partition=BEFORE - 1))
    assert len(stand.settling) == 0


async def test_it_ends_once_nothing_older_can_come(stand: Stand) -> None:
    """After producers must have heard, one more look at the parent is enough; then nothing is held back."""
    stand.kafka.ends |= {HERE: 1}
    task = await run(stand)
    try:
        assert stand.comes(0, "first")
        await stand.until_released(1)
        await rounds(stand)
        assert not stand.comes(1, "second")
        stand.settling.drop()
        assert stand.comes(1, "second")  # of another assignment nobody has looked yet
    finally:
        task.cancel()


async def test_what_the_parent_holds_goes_first(stand: Stand) -> None:
    """A request that came directly waits for the parent's to be re-routed and taken, and is judged after them."""
    stand.kafka.ends |= {THERE: 2, HERE: 1}
    task = await run(stand)
    try:
        assert stand.comes(0, "late")
        await rounds(stand)
        assert stand.released == []
        stand.kafka.committed[THERE], stand.kafka.ends[HERE] = 2, 3  # the parent's two were re-routed behind it
        await rounds(stand)
        assert stand.released == []
        stand.comes(1, "first", source=0)
        stand.comes(2, "second", source=1)
        assert await stand.until_released(3) == ["first", "second", "late"]
    finally:
        task.cancel()


async def test_consent_of_the_parent_comes_first(stand: Stand) -> None:
    """Nothing of a new partition is judged before the parent's consent updates are re-routed, up to then."""
    stand.kafka.ends |= {UPDATES: 5, THERE: 1, HERE: 1}
    stand.kafka.committed |= {UPDATES: 4, THERE: 1}
    task = await run(stand)
    try:
        stand.comes(0, "asked", source=0)
        await rounds(stand)
        assert stand.released == []
        stand.kafka.committed[UPDATES] = 5
        await stand.until_released(1)
        (one,) = stand.settling.released
        assert one.known_ms is not None
        assert one.read_at_s > 0
        assert stand.kafka.asked[0] == [THERE]  # the entrance before what it rests on
        assert set(stand.kafka.asked[1]) == {UPDATES, EVENTS}
    finally:
        task.cancel()


async def test_an_end_that_no_record_has_holds_nobody_up(stand: Stand) -> None:
    """A partition that ends in the marker of a transaction is done though nobody can commit that."""
    stand.kafka.ends |= {EVENTS: 7, HERE: 1}
    task = await run(stand)
    try:
        stand.comes(0, "asked")
        assert await stand.until_released(1) == ["asked"]
    finally:
        task.cancel()


async def test_it_waits_for_kafka(stand: Stand) -> None:
    """An answer that does not come releases nothing; the next one does."""
    stand.kafka.is_away, stand.kafka.ends[HERE] = True, 1
    task = await run(stand)
    try:
        stand.comes(0, "asked")
        await rounds(stand)
        assert stand.released == []
        stand.kafka.is_away = False
        assert await stand.until_released(1) == ["asked"]
    finally:
        task.cancel()


async def test_a_full_memory_gives_order_up(stand: Stand) -> None:
    """What it waits for stands behind more than may be held: it goes on, as nothing else would ever end the wait."""
    stand.kafka.ends |= {HERE: 50}
    task = await run(stand)
    try:
        stand.comes(0, "asked")
        await rounds(stand)
        assert stand.released == []
        stand.is_paused = True
        assert await stand.until_released(1) == ["asked"]
    finally:
        task.cancel()


async def test_partitions_that_go_away_are_forgotten(stand: Stand) -> None:
    """What is held back comes again to the next owner; answers on their way release nothing."""
    stand.kafka.ends |= {THERE: 1, HERE: 1}
    task = await run(stand)
    try:
        stand.comes(0, "asked")
        await rounds(stand)
        stand.settling.drop()
        stand.kafka.committed[THERE] = 1
        await rounds(stand)
        assert len(stand.settling) == 0
        assert not task.done()
    finally:
        task.cancel()
