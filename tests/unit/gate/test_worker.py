"""The worker: what is finished when, in which order, and what ends the process. Kafka is a list here."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import orjson
from confluent_kafka import KafkaError, KafkaException

from pipeline.clock import steady_s
from pipeline.gate.app import work_of
from pipeline.gate.asking import Answer
from pipeline.gate.intake import HELD_BYTES_MAX, WINDOW_HIGH
from pipeline.gate.item import Kind
from pipeline.gate.worker import Worker
from pipeline.records.alias import person_header
from pipeline.streams.delivery import Delivery, Receipt
from pipeline.streams.lease import Lease
from pipeline.streams.partition import partition_of
from pipeline.streams.windows import Windows
from tests.unit.gate import making
from tests.unit.gate.making import ADA, NOW_MS, PARTITIONS, TOPICS, Tables

HOME = partition_of(ADA, PARTITIONS)
REQUESTS, URGENT, UPDATES = (("t-" + TOPICS[kind], HOME) for kind in ("normal", "urgent", "update"))
LIMIT_S = 10.0


class Message(NamedTuple):
    """What Faust delivers."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: Any


class FakeApp:
    """Windows, and a note of what was asked for."""

    def __init__(self) -> None:
        self.windows = Windows()
        self.paused: set[tuple[str, int]] = set()
        self.crashes: list[BaseException] = []

    def pause(self, tp: tuple[str, int]) -> None:
        """Note it."""
        self.paused.add(tp)

    def resume(self, tp: tuple[str, int]) -> None:
        """Note it."""
        self.paused.discard(tp)

    async def crash(self, reason: BaseException) -> None:
        """Note it."""
        self.crashes.append(reason)


class FakeDelivery:
    """Keeps what is produced; the test says when Kafka has it."""

    def __init__(self) -> None:
        self.on_the_way: list[tuple[str, bytes | None, Callable[..., None]]] = []
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.acks_at_once = True
        self.is_full = False
        self._offsets = itertools.count()

    def produce(self, topic: str, value: bytes, _key: Any, _headers: Any, done: Any, _partition: int = -1) -> None:
        """Take a record."""
        if self.is_full:
            raise BufferError("queue full")
        self.on_the_way.append((topic, value, done))
        if self.acks_at_once:
            asyncio.get_running_loop().call_soon(self.ack)

    def ack(self, count: int | None = None, error: KafkaError | None = None) -> None:
        """Let Kafka have (or refuse) the oldest records."""
        taken, self.on_the_way = self.on_the_way[:count], self.on_the_way[len(self.on_the_way[:count]) :]
        for topic, value, done in taken:
            if error is None:
                told = orjson.loads(value) if value is not None and topic != "t-dead-letter" else {}
                self.written.append((topic.removeprefix("t-"), told))
                done(Receipt(next(self._offsets), NOW_MS), None)
            else:
                done(None, error)

    def told(self) -> list[tuple[str, str | None]]:
        """(request id, reason or type) of the outbound events written, in order."""
        return [(v["request_id"], v["reason"] or v["type"]) for topic, v in self.written if topic == "outbound-events"]


class Stand:
    """A worker between fakes.

    Args:
        is_abreast: Whether it knows already that it has merged all updates.
    """

    def __init__(self, store_s: float = LIMIT_S, *, is_abreast: bool = True) -> None:
        self.app, self.kafka, self.tables = FakeApp(), FakeDelivery(), Tables()
        self.answers: list[Answer | KafkaException] = []
        self.asked: list[list[tuple[str, int]]] = []
        self.worker = Worker(
            self.app, self.tables.judges, cast("Delivery", self.kafka), lambda name: "t-" + name, self.ask,
            self.tables.metrics, lambda: NOW_MS, store_s,
        )  # fmt: skip
        self.worker.open()
        if is_abreast:
            self.worker._freshness.ends_at(UPDATES, steady_s(), 0)
            self.worker._freshness.reached_at(UPDATES, NOW_MS)
        self._offsets: dict[str, itertools.count[int]] = {}

    def ask(self, partitions: list[tuple[str, int]], _unknown: list[tuple[str, int]]) -> Answer:
        """Where partitions end: as the test says, else at 0, where reading begins."""
        self.asked.append(partitions)
        nothing: Answer = dict.fromkeys(partitions, (0, 0))
        answer = self.answers.pop(0) if self.answers else nothing
        if isinstance(answer, KafkaException):
            raise answer
        return answer

    def bring(self, kind: Kind, value: Any, headers: Sequence[tuple[str, bytes]] = ()) -> int:
        """Let an agent bring a record of Ada's partition; returns its offset."""
        topic = TOPICS[kind]
        offset = next(self._offsets.setdefault(topic, itertools.count()))
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        message = Message("t-" + topic, HOME, offset, NOW_MS / 1000, ADA.encode(), raw, list(headers))
        self.worker.accept(kind, topic, message)
        return offset

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Let the worker work until something holds."""
        async with asyncio.timeout(LIMIT_S):
            while not is_true():
                await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Both tasks of the worker run."""
        tasks = [asyncio.create_task(self.worker.run()), asyncio.create_task(self.worker.asker.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def requests(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Requests r-0, r-1, …"""
    return [making.request(request_id=f"r-{i}", **fields) for i in range(count)]


async def test_record_is_finished_when_kafka_has_all_it_caused() -> None:
    """Nothing may be committed before both the ready record and the event are stored."""
    stand = Stand()
    stand.tables.grant()
    stand.kafka.acks_at_once = False
    stand.bring("normal", making.request())
    async with stand.running():
        await stand.until(lambda: len(stand.kafka.on_the_way) == 2)
        assert stand.app.windows.position(REQUESTS) is None
        stand.kafka.ack(1)
        assert stand.app.windows.position(REQUESTS) is None
        stand.kafka.ack(1)
        assert stand.app.windows.position(REQUESTS) == 1


async def test_work_in_hand_and_work_done_can_be_told_apart() -> None:
    """What its watchdog goes by: a batch is work until Kafka has it, but none while Kafka is away altogether."""
    stand, lease = Stand(), Lease(10, 30, 1)
    lease.renew(steady_s())
    stand.kafka.acks_at_once = False
    stand.bring("update", making.update())
    async with stand.running():
        await stand.until(lambda: bool(stand.kafka.on_the_way))
        assert work_of(stand.worker, lease) == (0, True)
        lease.revoke()
        assert work_of(stand.worker, lease) == (0, False)
        lease.renew(steady_s())
        stand.kafka.ack()
        assert work_of(stand.worker, lease) == (1, False)


async def test_urgent_entrance_is_judged_first_then_updates() -> None:
    """A code behind a backlog, and an opt-out behind it, do not wait for it."""
    stand = Stand()
    for value in requests(3):
        stand.bring("normal", value)
    stand.bring("update", making.update())
    stand.bring("urgent", making.request(request_id="code", category="authentication"))
    stand.answers = [dict.fromkeys([UPDATES], (1, 0))] * 9
    async with stand.running():
        await stand.until(lambda: len(stand.kafka.told()) == 4)
    assert [reason for _, reason in stand.kafka.told()] == ["queued", "queued", "queued", "no_consent"]


async def test_grant_that_is_read_later_counts_for_a_waiting_request() -> None:
    """A request read before its grant waits until consent-updates was read to its end, then goes on the grant."""
    stand = Stand()
    stand.answers = [{UPDATES: (1, 0)}]
    for value in requests(2):
        stand.bring("normal", value)
    stand.bring("urgent", making.request(request_id="u", to="15550100000"))
    async with stand.running():
        await stand.until(lambda: bool(stand.asked))
        assert stand.kafka.told() == []
        stand.bring("update", making.update())
        await stand.until(lambda: len(stand.kafka.told()) == 2)
    assert stand.kafka.told() == [("r-0", "queued"), ("r-1", "queued")]


async def test_others_go_on_while_one_waits() -> None:
    """Only requests of the same person wait behind one that waits; a later good one is not overtaken by it."""
    stand = Stand()
    stand.tables.grant()
    stand.answers = [{UPDATES: (5, 0)}]
    stand.bring("normal", making.request(request_id="first", category="marketing"))
    stand.bring("normal", making.request(request_id="second"))
    stand.bring("urgent", making.request(request_id="other-entrance"))
    async with stand.running():
        await stand.until(lambda: len(stand.kafka.told()) == 1)
        assert stand.kafka.told() == [("other-entrance", "queued")]
        for _ in range(5):
            stand.bring("update", making.update(action="revoke", categories=["service"]))
        await stand.until(lambda: len(stand.kafka.told()) == 3)
    assert stand.kafka.told()[1:] == [("first", "no_consent"), ("second", "queued")]
    assert stand.app.windows.position(REQUESTS) == 2


async def test_another_id_of_the_person_waits_behind() -> None:
    """Order is the person's: a request to their user id does not overtake one to their number that waits."""
    stand = Stand()
    stand.tables.grant()
    stand.answers = [{UPDATES: (1, 0)}]
    stand.bring("normal", making.request(request_id="first", category="marketing"))
    stand.bring("normal", making.request(request_id="second", to="US.1"), headers=[person_header(making.ADA, 1)])
    async with stand.running():
        await stand.until(lambda: bool(stand.asked))
        assert stand.kafka.told() == []
        stand.bring("update", making.update(action="revoke", categories=["service"]))
        await stand.until(lambda: len(stand.kafka.told()) == 2)
    assert stand.kafka.told() == [("first", "no_consent"), ("second", "queued")]


async def test_nothing_is_admitted_before_it_is_known_how_far_opt_outs_are_merged() -> None:
    """After an outage revokes may wait unread: the ready record says how far the gate had heard, never a guess."""
    stand = Stand(is_abreast=False)

    def ready() -> list[dict[str, Any]]:
        return [value for topic, value in stand.kafka.written if topic == "ready-normal"]

    stand.tables.grant()
    stand.answers = [{UPDATES: (2, 0)}]
    stand.bring("normal", making.request())
    async with stand.running():
        await stand.until(lambda: bool(stand.asked) and len(stand.worker._room) == 1)
        assert stand.kafka.written == []
        stand.bring("update", making.update(action="revoke", categories=["service"]))
        stand.bring("update", making.update(action="revoke", categories=["service"]))
        await stand.until(lambda: bool(ready()))
    assert [record["heard_ms"] for record in ready()] == [NOW_MS]


async def test_question_without_answer_is_asked_again() -> None:
    """Kafka's silence delays a refusal and ends nothing."""
    stand = Stand()
    stand.answers = [KafkaException(KafkaError(KafkaError._TIMED_OUT))]
    stand.bring("normal", making.request())
    async with stand.running():
        await stand.until(lambda: len(stand.kafka.told()) == 1)
    assert stand.kafka.told() == [("r-1", "no_consent")]
    assert len(stand.asked) == 2
    assert stand.app.crashes == []


async def test_record_that_is_not_stored_ends_the_process() -> None:
    """After a produce error nothing more is written or finished: it would overtake what failed."""
    stand = Stand()
    stand.tables.grant()
    stand.kafka.acks_at_once = False
    stand.bring("normal", making.request())
    async with stand.running():
        await stand.until(lambda: len(stand.kafka.on_the_way) == 2)
        stand.kafka.ack(1, KafkaError(KafkaError._MSG_TIMED_OUT))
        stand.kafka.ack(1)
        stand.bring("normal", making.request(request_id="later"))
        await stand.until(lambda: bool(stand.app.crashes))
        for _ in range(20):
            await asyncio.sleep(0)
    assert stand.kafka.on_the_way == []
    assert stand.app.windows.position(REQUESTS) is None
    assert len(stand.app.crashes) == 1


async def test_batch_that_is_not_stored_in_time_ends_the_process() -> None:
    """The producer gives nothing up, as a gap would change the order: so the worker ends the process."""
    stand = Stand(store_s=0.0)
    stand.tables.grant()
    stand.kafka.acks_at_once = False
    stand.bring("normal", making.request())
    async with stand.running():
        await stand.until(lambda: bool(stand.app.crashes))
        stand.bring("normal", making.request(request_id="later"))
        for _ in range(20):
            await asyncio.sleep(0)
    assert len(stand.kafka.on_the_way) == 2
    assert stand.app.windows.position(REQUESTS) is None


async def test_full_producer_queue_ends_the_process() -> None:
    """A queue that cannot take a record is no reason to drop it."""
    stand = Stand()
    stand.kafka.is_full = True
    stand.bring("normal", b"not json")
    async with stand.running():
        await stand.until(lambda: bool(stand.app.crashes))
    assert stand.app.windows.position(REQUESTS) is None


async def test_drain_waits_for_what_was_judged_and_drops_the_rest() -> None:
    """At a hand-over what is on its way is stored and finished; what was not judged comes again elsewhere."""
    stand = Stand()
    stand.kafka.acks_at_once = False
    stand.bring("normal", b"not json")
    async with stand.running():
        await stand.until(lambda: len(stand.kafka.on_the_way) == 1)
        for _ in range(9):
            await asyncio.sleep(0)  # the worker has nothing to do and sleeps
        drained = asyncio.create_task(stand.worker.drain(LIMIT_S))
        stand.bring("normal", b"not json either")
        await stand.until(lambda: not stand.worker._intake.is_open)
        stand.bring("normal", b"too late")
        stand.kafka.ack()
        assert await drained
    assert stand.app.windows.position(REQUESTS) == 1
    assert len(stand.kafka.written or stand.kafka.on_the_way) <= 1


async def test_drain_lets_those_who_wait_end() -> None:
    """At a hand-over a waiting request is judged, so that those judged after it are not repeated elsewhere."""
    stand = Stand()
    stand.answers = [{UPDATES: (1, 0)}]
    stand.bring("normal", making.request(request_id="waits"))
    stand.bring("normal", b"not json")
    async with stand.running():
        await stand.until(lambda: bool(stand.asked) and bool(stand.kafka.written))
        drained = asyncio.create_task(stand.worker.drain(LIMIT_S))
        stand.bring("update", making.update())
        assert await drained
    assert stand.kafka.told() == [("waits", "queued")]
    assert stand.app.windows.position(REQUESTS) == 2


async def test_drain_never_refuses_for_waiting_too_long() -> None:
    """Who still waits when the hand-over's time is up is left to the next owner, not rejected."""
    stand = Stand()
    stand.answers = [{UPDATES: (1, 0)}]
    stand.bring("normal", making.request())
    async with stand.running():
        await stand.until(lambda: bool(stand.asked))
        assert await stand.worker.drain(0.05)
    assert stand.kafka.told() == []
    assert stand.app.windows.position(REQUESTS) is None


async def test_drain_is_bounded() -> None:
    """A hand-over does not wait for ever for Kafka."""
    stand = Stand()
    stand.kafka.acks_at_once = False
    stand.bring("normal", b"not json")
    async with stand.running():
        await stand.until(lambda: len(stand.kafka.on_the_way) == 1)
        assert not await stand.worker.drain(0.01)


async def test_what_is_stored_after_the_hand_over_finishes_nothing() -> None:
    """An ack that comes after the partitions went away does not move the next assignment's position."""
    stand = Stand()
    stand.kafka.acks_at_once = False
    stand.bring("normal", b"not json")
    async with stand.running():
        await stand.until(lambda: len(stand.kafka.on_the_way) == 1)
        stand.worker.forget()
        stand.app.windows.forget_all()
        stand.worker.open()
        stand.app.windows.open(REQUESTS, 0)
        stand.kafka.ack()
    assert stand.app.windows.position(REQUESTS) is None


async def test_full_window_pauses_its_partition_until_half_is_done() -> None:
    """Memory is bounded: a partition whose records are not finished is not fetched any more."""
    stand = Stand()
    for _ in range(WINDOW_HIGH):
        stand.bring("normal", b"not json")
    assert stand.app.paused == {REQUESTS}
    async with stand.running():
        await stand.until(lambda: not stand.app.paused)
        await stand.until(lambda: stand.app.windows.unfinished() == 0)
    assert stand.app.windows.position(REQUESTS) == WINDOW_HIGH


async def test_held_bytes_pause_too() -> None:
    """Few large records fill the memory as many small ones do."""
    stand = Stand()
    large = b"x" * (1024 * 1024)
    for _ in range(HELD_BYTES_MAX // len(large)):
        stand.bring("normal", large)
    assert stand.app.paused == {REQUESTS}
    async with stand.running():
        await stand.until(lambda: not stand.app.paused)


async def test_merging_again_ends_when_it_is_done() -> None:
    """The second merge runs beside the rest, and its records are neither opened nor committed."""
    stand = Stand()
    again = making.item("remerge", making.update())
    async with stand.running():
        async with asyncio.timeout(LIMIT_S):
            await stand.worker.merge_again([again] * 3)
        await stand.until(lambda: bool(stand.kafka.written))
        stand.worker.forget()
        async with asyncio.timeout(LIMIT_S):
            await stand.worker.merge_again([again])
    assert [topic for topic, _ in stand.kafka.written] == ["consent"]
    assert stand.app.windows.partitions() == []
