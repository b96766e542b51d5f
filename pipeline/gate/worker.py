"""The gate's one worker: takes batches of what the agents bring, judges them, writes, and finishes what is stored.

Agents only append (`accept`). One task (`run`) takes at most `BATCH_RECORDS` records at a time, the urgent entrance
first, then consent updates, judges them synchronously and hands all their records to the producer. When Kafka has all
records of a batch, its sources are finished and may be committed. A record that could not be stored in time ends the
process: whatever came after it must not overtake it. Everything is touched on the event loop only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException

from pipeline.clock import steady_s, unix_ms
from pipeline.errors import BrokerUnreachable
from pipeline.gate.asking import Ask, Asker
from pipeline.gate.freshness import ChainKey, Freshness, Waiter, WaitingRoom
from pipeline.gate.inbound import InboundJudge
from pipeline.gate.intake import ORDER, App, Intake
from pipeline.gate.item import Item, Kind, Out
from pipeline.gate.requests import UPDATES, Prepared, RequestJudge, Wait
from pipeline.gate.settling import First, Settling
from pipeline.gate.telling import begun, ended
from pipeline.gate.updates import UpdateJudge
from pipeline.gate.view import View
from pipeline.metrics import Metrics
from pipeline.streams.deadline import Deadline
from pipeline.streams.delivery import Delivery, Done, Receipt
from pipeline.streams.outlets import Outlets
from pipeline.tracing import OFF, Tracing

log = structlog.get_logger(__name__)

BATCH_RECORDS: Final = 50
BATCH_BYTES: Final = 4 * 1024 * 1024
BATCHES_ON_THE_WAY: Final = 8
BUSY_BATCHES: Final = 2
GATHER_S: Final = 0.002
LOOK_EVERY_S: Final = 0.1
DRAIN_WAITING_S: Final = 3.0
STORE_S: Final = 9.0


class Judges(NamedTuple):
    """Those who say what is written about a record, and the tables that they share (`consents` is one of them)."""

    requests: RequestJudge
    updates: UpdateJudge
    inbound: InboundJudge
    consents: View
    tables: tuple[View, ...]


class Batch:
    """Records that were judged together; finished together, when Kafka has all that they caused."""

    __slots__ = ("epoch", "items", "left", "outs", "shipped_s", "size_bytes")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.shipped_s = 0.0
        self.items: list[Item] = []
        self.outs: list[Out] = []
        self.size_bytes = 0
        self.left = 0

    def add(self, item: Item, outs: list[Out]) -> None:
        """A record was judged."""
        self.items.append(item)
        self.outs += outs
        self.size_bytes += item.size_bytes

    @property
    def has_room(self) -> bool:
        """Whether more may be judged into it."""
        return len(self.items) < BATCH_RECORDS and self.size_bytes < BATCH_BYTES


class Worker:
    """See the module.

    Args:
        topic: Full name of a topic by its short one.
        ask: Asks Kafka where partitions end.
        clock_ms: Milliseconds since 1970.
        store_s: How long Kafka may take to store a batch.
        tracing: Follows each request, from its arrival until Kafka has what it led to.

    Attributes:
        finished: Records judged and stored so far.
    """

    def __init__(
        self,
        app: App,
        judges: Judges,
        delivery: Delivery | Outlets,
        topic: Callable[[str], str],
        ask: Ask,
        metrics: Metrics,
        clock_ms: Callable[[], int] = unix_ms,
        store_s: float = STORE_S,
        tracing: Tracing = OFF,
    ) -> None:
        self._app = app
        self._judges = judges
        self._delivery = delivery
        self._topic = topic
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._store_s = store_s
        self._tracing = tracing
        self._wake, self._idle, self._merged = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._intake = Intake(app)
        self._freshness = Freshness()
        self._room = WaitingRoom(self._freshness)
        self._released: deque[ChainKey] = deque()
        self._shipped: dict[Batch, None] = {}
        self._epoch = 0
        self._crashing: asyncio.Future[None] | None = None
        self.finished = 0
        self._ask = ask
        self.asker = Asker(ask, self._room, self._freshness, self._wake.set)
        self.settling: Settling | None = None

    def settle(self, before: int, until_ms: int, first: First) -> Settling:
        """Judge what stood on fewer partitions first, for a while; see `Settling`. Its `run` is the caller's task."""
        self._intake.wide_from = before
        self.settling = Settling(
            before, until_ms, self._topic, self._ask, first, self._intake.is_paused, self._wake.set
        )  # fmt: skip
        return self.settling

    # -- intake ------------------------------------------------------------------------------------------------------
    def accept(self, kind: Kind, topic: str, message: Any) -> None:
        """Take a record that Faust delivered. Called by the agents; never blocks."""
        if self._intake.accept(kind, topic, message):
            self._wake.set()

    @property
    def in_hand(self) -> int:
        """Records that are queued or wait, and batches on their way to Kafka."""
        return len(self._intake) + len(self._room) + len(self._shipped)

    async def merge_again(self, items: list[Item]) -> None:
        """Take consent updates that are merged a second time; ends when they are merged or dropped."""
        if self._intake.is_open:
            self._intake.add_again(items)
            self._merged.clear()
            self._wake.set()
            await self._merged.wait()

    # -- assignment --------------------------------------------------------------------------------------------------
    def open(self) -> None:
        """Partitions were assigned."""
        self._intake.is_open = True

    async def drain(self, seconds: float) -> bool:
        """Take nothing more, and finish what is in hand; what was not judged comes again elsewhere.

        Who waits for fresher knowledge is part of that: later records of its partition are finished already, and
        would be repeated. It gets `DRAIN_WAITING_S`, and is never refused for having waited too long.

        Returns:
            False if something is still on its way after `seconds`.
        """
        self._intake.is_open = False
        self._intake.drop(("urgent", "normal", "remerge"))
        if self.settling is not None:
            self.settling.drop()
        self._merged.set()
        deadline = Deadline(seconds)
        if not await self._quiet(min(DRAIN_WAITING_S, seconds)):
            self._drop()
            await self._quiet(deadline.left_s)
        if self._shipped:
            log.warning("drain_unfinished", batches=len(self._shipped))
        return not self._shipped

    def forget(self) -> None:
        """The partitions are no longer ours: what is stored from now on finishes nothing."""
        self._epoch += 1
        self._intake.forget()
        self._drop()
        self._freshness.forget()
        self.asker.forget()
        for table in self._judges.tables:
            table.forget()

    async def _quiet(self, seconds: float) -> bool:
        """Wait until nothing is queued, waits or is on its way; False if that takes longer."""
        self._idle.clear()
        self._wake.set()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _drop(self) -> None:
        self._intake.drop()
        if self.settling is not None:
            self.settling.drop()
        self._room.clear()
        self._released.clear()
        self._merged.set()

    # -- the worker's task -------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Judge and write until cancelled."""
        while True:
            self._wake.clear()
            while len(self._shipped) < BATCHES_ON_THE_WAY and self._crashing is None:
                batch = self._next_batch()
                if batch is None:
                    break
                self._ship(batch)
                # Let the agents bring more; a moment longer when Kafka is at work anyway: larger batches cost less.
                await asyncio.sleep(GATHER_S if len(self._shipped) >= BUSY_BATCHES else 0)
            if not self.in_hand:
                self._idle.set()
            self._check_overdue(steady_s())
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S if len(self._room) or self._shipped else None)
            except TimeoutError:
                continue

    def _next_batch(self) -> Batch | None:
        batch, now_ms, now_s = Batch(self._epoch), self._clock_ms(), steady_s()
        for table in self._judges.tables:
            table.sweep()
        self._released.extend(self._room.release(now_s, may_give_up=self._intake.is_open))
        while self._released and batch.has_room:
            self._judge_chain(self._released.popleft(), batch, now_ms, now_s)
        settled: deque[Item] = self.settling.released if self.settling is not None else deque()
        while settled and batch.has_room:
            self._take_request(settled.popleft(), batch, now_ms, now_s)
        for kind in ORDER:
            queue = self._intake.queues[kind]
            if kind in ("update", "remerge") and self._judges.consents.is_full:
                continue
            while queue and batch.has_room:
                self._take(queue.popleft(), batch, now_ms, now_s)
        if not self._intake.queues["remerge"]:
            self._merged.set()
        return batch if batch.items else None

    def _take(self, item: Item, batch: Batch, now_ms: int, now_s: float) -> None:
        if item.kind in ("urgent", "normal"):
            if self.settling is None or not self.settling.hold(item):
                self._take_request(item, batch, now_ms, now_s)
            return
        if item.kind == "inbound":
            batch.add(item, self._judges.inbound.apply(item))
        else:
            batch.add(item, self._judges.updates.apply(item))
        if item.kind != "remerge":
            self._freshness.processed(item.tp, item.offset, now_s)
            self._freshness.reached_at(item.tp, item.timestamp_ms)

    def _take_request(self, item: Item, batch: Batch, now_ms: int, now_s: float) -> None:
        item = begun(self._tracing, item) if self._tracing.is_on else item
        prepared = self._judges.requests.prepare(item)
        if not isinstance(prepared, Prepared):
            batch.add(item, prepared)
            return
        key = (item.topic, prepared.person)
        if not self._room.queue_behind(key, prepared, item.read_at_s, now_s):
            self._judge(key, Waiter(prepared, item.read_at_s, now_s), batch, now_ms, now_s)

    def _judge(self, key: ChainKey, waiter: Waiter, batch: Batch, now_ms: int, now_s: float) -> bool:
        prepared: Prepared = waiter.work
        partition = prepared.item.tp[1]

        def is_settled(topic: str) -> bool:
            tp = (self._topic(topic), partition)
            return tp in waiter.settled or self._freshness.is_current(tp, waiter.read_at_s)

        updates = (self._topic(UPDATES), partition)
        self.asker.keep_known(updates, now_s)
        heard_ms = self._freshness.heard_ms(updates, now_s, now_ms)
        if prepared.item.known_ms is not None:
            # What came here from the parent has newer broker times than it was said at: they prove nothing.
            is_known = self._freshness.is_current(updates, waiter.read_at_s)
            heard_ms = prepared.item.known_ms if is_known else None
        found = self._judges.requests.judge(prepared, now_ms, is_settled, heard_ms)
        if isinstance(found, Wait):
            self._room.enter(key, waiter, (self._topic(found.topic), partition), now_s)
            self.asker.want()
            return False
        batch.add(prepared.item, found)
        return True

    def _judge_chain(self, key: ChainKey, batch: Batch, now_ms: int, now_s: float) -> None:
        head = self._room.head(key)
        while head is not None and self._judge(key, head, batch, now_ms, now_s):
            self._room.leave(key)
            head = self._room.head(key)

    # -- writing -----------------------------------------------------------------------------------------------------
    def _ship(self, batch: Batch) -> None:
        batch.left = len(batch.outs)
        batch.shipped_s = steady_s()
        self._shipped[batch] = None
        if not batch.outs:
            self._finish(batch)
            return

        def done(receipt: Receipt | None, error: KafkaError | None) -> None:
            if receipt is None:
                self._fail(str(error))
                return
            batch.left -= 1
            if not batch.left:
                self._finish(batch)

        try:
            for out in batch.outs:
                call = done if out.stored is None else _telling(out.stored, done)
                self._delivery.produce(self._topic(out.topic), out.value, out.key, out.headers, call, out.partition)
        except (BufferError, KafkaException) as exc:
            self._fail(f"{type(exc).__name__}: {exc}")

    def _finish(self, batch: Batch) -> None:
        del self._shipped[batch]
        self.finished += len(batch.items)
        if self._tracing.is_on:
            ended(batch.items)
        if batch.epoch == self._epoch:
            self._intake.finished(batch.items, batch.size_bytes)
        self._wake.set()

    def _check_overdue(self, now_s: float) -> None:
        oldest = next(iter(self._shipped), None)
        if oldest is not None and now_s - oldest.shipped_s > self._store_s:
            self._fail(f"not within {self._store_s:.0f} s")

    def _fail(self, why: str) -> None:
        """A record was not stored: nothing may overtake it, so the process ends."""
        if self._crashing is None:
            self._metrics.producer_errors.inc()
            reason = BrokerUnreachable(f"Kafka did not store a record of the gate in time ({why}); it comes again")
            self._crashing = asyncio.ensure_future(self._app.crash(reason))


def _telling(stored: Callable[[int], None], done: Done) -> Done:
    def call(receipt: Receipt | None, error: KafkaError | None) -> None:
        if receipt is not None:
            stored(receipt.offset)
        done(receipt, error)

    return call
