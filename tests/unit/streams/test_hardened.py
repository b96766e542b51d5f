"""Every private name of the pinned Faust, aiokafka and aiohttp that is overridden or touched still exists."""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from pipeline.config import Settings, StorageSettings
from pipeline.errors import InvariantBroken
from pipeline.streams.consumer import (
    FETCH_WAIT_BUSY_MS,
    FETCH_WAIT_MS,
    HardenedConsumer,
    HardenedConsumerThread,
)
from pipeline.streams.hardened import HardenedApp
from pipeline.streams.topics import DELAYED, READY
from pipeline.streams.windows import Windows

OVERRIDDEN = (
    (driver.Consumer, "on_buffer_drop"), (driver.Consumer, "_wait_next_records"), (driver.Consumer, "perform_seek"),
    (driver.Consumer, "resume_partitions"), (driver.Consumer, "resume_flow"), (driver.Consumer, "_new_offset"),
    (driver.Consumer, "_filter_tps_with_pending_acks"), (driver.Consumer, "_should_commit"),
    (driver.Consumer, "_commit"), (driver.Consumer, "on_partitions_revoked"),
    (driver.Consumer, "on_partitions_assigned"), (driver.Consumer, "wait_first"),
    (driver.Consumer, "_new_consumer_thread"), (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
    (driver.AIOKafkaConsumerThread, "_fetch_records"),
    (Recovery, "_build_offsets"), (TableManager, "recovery"), (aiohttp.ClientRequest, "write_bytes"),
    (aiohttp.ClientRequest, "update_auto_headers"),
)  # fmt: skip
TOUCHED = (
    (driver.Consumer, "_is_changelog_tp"), (driver.Consumer, "_get_active_partitions"),
    (driver.Consumer, "force_commit"), (GroupCoordinator, "_send_req"), (GroupCoordinator, "check_errors"),
    (GroupCoordinator, "fetch_committed_offsets"), (Fetcher, "_notify"), (base.Consumer, "on_buffer_full"),
    (driver.AIOKafkaConsumerThread, "seek"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "name"), [*OVERRIDDEN, *TOUCHED], ids=lambda value: getattr(value, "__name__", value)
)
def test_a_private_name_still_exists(owner: Any, name: str) -> None:
    """A new version that renames what we override would switch a safety off in silence: this fails first."""
    assert hasattr(owner, name)


def test_private_attributes_still_exist() -> None:
    """Attributes that exist on instances only are still set where we expect them."""
    assert "_fetch_waiters" in inspect.getsource(Fetcher.__init__)
    assert "self._fetch_max_wait_ms" in inspect.getsource(Fetcher._get_actions_per_node)
    assert "self._prefetch_backoff" in inspect.getsource(Fetcher.__init__)
    assert "self._records = collections.OrderedDict" in inspect.getsource(Fetcher.__init__)
    assert "self.generation" in inspect.getsource(GroupCoordinator.__init__)
    assert "_buffered_partitions" in inspect.getsource(base.Consumer.__init__)
    assert "_paused_partitions" in inspect.getsource(base.Consumer._reset_state)
    assert "_read_offset" in inspect.getsource(base.Consumer.__init__)
    assert "active_highwaters" in inspect.getsource(Recovery.__init__)


A, B = TP("a", 0), TP("b", 0)


class _App:
    co_partitioned = (*READY, *DELAYED)

    def __init__(self) -> None:
        self.windows = Windows()


def _consumer() -> Any:
    consumer = object.__new__(HardenedConsumer)
    consumer.app = _App()
    consumer._stored = {}
    return consumer


class _Fetcher:
    """Answers that were fetched and not taken yet, as aiokafka keeps them: taken in the order of their coming."""

    def __init__(self, fetched: dict[TP, int]) -> None:
        self._records = OrderedDict(fetched)
        self._fetch_max_wait_ms = 0

    def take(self, wanted: set[TP], most: int) -> dict[TP, list[int]]:
        for tp in [tp for tp in self._records if tp in wanted][:1]:
            taken = min(most, self._records[tp])
            self._records[tp] -= taken
            if not self._records[tp]:
                del self._records[tp]
            return {tp: [0] * taken}
        return {}


def _thread(monkeypatch: pytest.MonkeyPatch, fetcher: _Fetcher, *ahead: str) -> tuple[Any, Any]:
    """A consumer thread that takes from such a fetcher, and the consumer that it asks."""

    async def base(_self: Any, consumer: Any, wanted: set[TP], _timeout: Any, most: int) -> Any:
        return consumer._fetcher.take(wanted, most)

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", base)
    thread: Any = object.__new__(HardenedConsumerThread)
    thread.app = SimpleNamespace(ahead=frozenset(ahead))
    return thread, SimpleNamespace(_fetcher=fetcher)


async def test_what_goes_ahead_is_taken_before_a_backlog_and_partitions_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A code does not wait for the bulk that was fetched before it; no partition waits for all of another."""
    bulk, other, urgent = TP("bulk", 0), TP("bulk", 1), TP("urgent", 0)
    fetcher = _Fetcher({bulk: 3, other: 2, urgent: 1})
    thread, consumer = _thread(monkeypatch, fetcher, "urgent")
    taken = [await thread._fetch_records(consumer, {bulk, other, urgent}, 1.0, 1) for _ in range(7)]
    assert [next(iter(records), None) for records in taken] == [urgent, bulk, other, bulk, other, bulk, None]


async def test_a_fetch_waits_briefly_while_something_is_not_taken_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request on its way leaves such partitions out: what comes to them meanwhile is asked for soon."""
    bulk = TP("bulk", 0)
    fetcher = _Fetcher({bulk: 2})
    thread, consumer = _thread(monkeypatch, fetcher)
    waits = []
    for _ in range(2):
        await thread._fetch_records(consumer, {bulk}, 1.0, 1)
        waits.append(fetcher._fetch_max_wait_ms)
    assert waits == [FETCH_WAIT_BUSY_MS, FETCH_WAIT_MS]


def test_a_partition_is_resumed_though_the_thread_has_ended() -> None:
    """After a crash answers of Kafka still come, and finish what they finish: that must not hide why it crashed."""
    consumer, loop = _consumer(), asyncio.new_event_loop()
    loop.close()
    consumer._paused_by_us, consumer._buffered_partitions, consumer._active_partitions = {A}, {A}, {B}
    consumer._resumed, consumer._paused_partitions = asyncio.Event(), set()
    consumer._thread = SimpleNamespace(_consumer=object(), thread_loop=loop)
    consumer.resume(A)
    assert consumer._resumed.is_set()
    assert (consumer._buffered_partitions, consumer._active_partitions) == (set(), {A, B})


class _Kafka:
    """The consumer of a thread: where it goes to, and what the group has committed."""

    def __init__(self, committed: dict[TP, int]) -> None:
        self.sought: list[tuple[TP, int]] = []
        self._coordinator = SimpleNamespace(fetch_committed_offsets=self._committed)
        self._offsets = {tp: SimpleNamespace(offset=offset) for tp, offset in committed.items()}

    def seek(self, tp: TP, offset: int) -> None:
        self.sought.append((tp, offset))

    def assignment(self) -> set[TP]:
        return set(self._offsets)

    async def _committed(self, wanted: list[TP]) -> dict[TP, Any]:
        return {tp: self._offsets[tp] for tp in wanted}


def _assigned(committed: dict[TP, int]) -> tuple[Any, _Kafka]:
    """A consumer whose partitions were assigned; its stream has not begun."""
    consumer, kafka = _consumer(), _Kafka(committed)
    for name in ("_paused_by_us", "_buffered_partitions", "_active_partitions", "_to_resume"):
        setattr(consumer, name, set())
    consumer._paused_partitions, consumer.app.held = set(committed), frozenset(committed)
    consumer._read_offset, consumer._committed_offset = {}, {}
    consumer._resumed = consumer.can_resume_flow = consumer.suspend_flow = asyncio.Event()
    consumer._is_changelog_tp = lambda _tp: False
    consumer.assignment = kafka.assignment

    async def call_thread(call: Any, *args: Any) -> Any:
        return await call(*args)

    consumer._thread = SimpleNamespace(_consumer=kafka, call_thread=call_thread, thread_loop=None, seek=kafka.seek)
    return consumer, kafka


def _begin_flow(consumer: Any) -> None:
    consumer.resume_partitions(consumer.app.held)
    consumer.resume_flow()


def test_a_partition_that_was_paused_before_its_stream_began_is_not_fetched() -> None:
    """Faust resumes all partitions when it begins: not those that the take-over of their lane still reads."""
    consumer, kafka = _assigned({A: 5, B: 5})
    consumer.pause(A)
    _begin_flow(consumer)
    assert (consumer._active_partitions, consumer._buffered_partitions) == ({B}, {A})
    consumer.skip_to(A, 9)
    assert kafka.sought == [(A, 9)]
    assert consumer._read_offset == {A: 9}
    consumer._thread._consumer = None
    consumer.resume(A)
    assert consumer._active_partitions == {A, B}


def test_nothing_is_fetched_of_a_resumed_partition_before_its_stream_begins() -> None:
    """What is fetched then is thrown away when Faust begins: a take-over that was quicker waits for that."""
    consumer, kafka = _assigned({A: 5})
    consumer.pause(A)
    consumer.skip_to(A, 9)
    consumer.resume(A)
    assert (consumer._active_partitions, kafka.sought) == (set(), [])
    _begin_flow(consumer)
    assert consumer._active_partitions == {A}


async def test_a_stream_begins_behind_what_is_known_of_it() -> None:
    """What a take-over has read already is not delivered again; the window is told where the group has committed."""
    consumer, kafka = _assigned({A: 5, B: 7})
    for offset in (5, 6, 8):
        consumer.app.windows.open(A, offset)
    await consumer.perform_seek()
    assert sorted(kafka.sought) == [(A, 9), (B, 7)]
    assert consumer._read_offset == {A: 9, B: 7}
    assert consumer._committed_offset == {A: 5, B: 7}


def test_lane_topics_assigned_apart_are_refused() -> None:
    """Five members under a round-robin assignor would get partitions of different lanes: nothing may be sent then."""
    consumer = _consumer()
    together = {TP(topic, 3) for topic in _App.co_partitioned}
    consumer._check_co_partitioned(together)
    with pytest.raises(InvariantBroken, match="apart"):
        consumer._check_co_partitioned({*together, TP("ready-urgent", 4)})


def test_commits_cover_the_gapless_finished_beginning_only() -> None:
    """What is committed is the window's position, whatever Faust believes was acknowledged."""
    consumer, tp = _consumer(), TP("ready-normal", 0)
    windows = consumer.app.windows
    for offset in (10, 11, 12):
        windows.open(tp, offset)
    windows.done(tp, 11)
    windows.done(tp, 12)
    assert consumer._new_offset(tp) is None
    windows.done(tp, 10)
    assert consumer._new_offset(tp) == 13
    assert consumer._should_commit(tp, 13)
    consumer._stored[tp] = 13
    assert not consumer._should_commit(tp, 13)


def test_nothing_is_committed_behind_an_unproven_gap() -> None:
    """A first record from behind the place where reading began keeps its partition from being committed."""
    consumer, tp = _consumer(), ("outbound-requests", 2)
    windows = consumer.app.windows
    windows.expect(tp, 5)
    windows.open(tp, 8)
    windows.done(tp, 8)
    assert windows.gaps() == [(tp, 5, 8)]
    assert consumer._filter_tps_with_pending_acks() == []
    windows.close_gap(tp)
    assert consumer._filter_tps_with_pending_acks() == [TP(*tp)]


class _NoDeadline:
    """Notes that the exit deadline was armed."""

    def __init__(self) -> None:
        self.armed: list[tuple[str, int]] = []

    def arm(self, why: str, code: int, after_s: float | None = None) -> None:
        """Note it."""
        assert after_s is not None
        self.armed.append((why, code))


class _Part(Service):  # type: ignore[misc]  # mode has no types
    """A part of the app whose work fails."""

    @Service.task  # type: ignore[untyped-decorator]
    async def _work(self) -> None:
        raise OSError("Kafka did not answer")


async def test_a_crash_of_any_part_ends_the_process(tmp_path: Path) -> None:
    """Faust's own services mark the app as crashed without calling it; that, too, ends the process, within a bound."""
    app = HardenedApp(Settings(storage=StorageSettings(data_dir=tmp_path)), "gate")
    app.exit_deadline = deadline = cast("Any", _NoDeadline())
    part = _Part(beacon=app.beacon, loop=app.loop)
    await part.start()
    await asyncio.wait_for(app.ended.wait(), 10.0)
    await part.stop()
    assert isinstance(app.crash_reason_seen, OSError)
    assert deadline.armed == [("crash", 70)]
