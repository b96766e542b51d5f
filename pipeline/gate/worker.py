"""The gate's one worker: takes batches of what the agents bring, judges them, writes, and finishes what is stored.

Agents only append (`accept`). One task (`run`) takes at most `BATCH_RECORDS` records at a time, the urgent entrance
first, then consent updates, judges them synchronously and hands all their records to the producer. When Kafka has all
records of a batch, its sources are finished and may be committed. A record that could not be stored ends the process:
whatever came after it must not overtake it. A second task (`ask_ends`) serves those who wait for fresher knowledge.
Everything is touched on the event loop only; questions to Kafka are asked in a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException

from pipeline.clock import steady_s, unix_ms
from pipeline.errors import BrokerUnreachable
from pipeline.gate.freshness import ChainKey, Freshness, Partition, Waiter, WaitingRoom
from pipeline.gate.inbound import InboundJudge
from pipeline.gate.item import Item, Kind, Out
from pipeline.gate.requests import Prepared, RequestJudge, Wait
from pipeline.gate.updates import UpdateJudge
from pipeline.gate.view import View
from pipeline.logs import Repeats
from pipeline.metrics import Metrics
from pipeline.streams.delivery import Delivery, Receipt
from pipeline.streams.windows import Windows

log = structlog.get_logger(__name__)

BATCH_RECORDS: Final = 200
BATCH_BYTES: Final = 4 * 1024 * 1024
BATCHES_ON_THE_WAY: Final = 8
BUSY_BATCHES: Final = 2
GATHER_S: Final = 0.002
WINDOW_HIGH: Final = 1000
WINDOW_LOW: Final = 500
HELD_BYTES_MAX: Final = 64 * 1024 * 1024
LOOK_EVERY_S: Final = 0.1
ASK_EVERY_S: Final = 0.01
ASK_AGAIN_S: Final = 0.25
ORDER: Final[tuple[Kind, ...]] = ("urgent", "update", "remerge", "inbound", "normal")

Answer = dict[Partition, tuple[int, int | None]]


class App(Protocol):
    """What the worker needs of the Faust app."""

    windows: Windows

    def pause(self, tp: tuple[str, int]) -> None:
        """Fetch no more of a partition."""

    def resume(self, tp: tuple[str, int]) -> None:
        """Fetch it again."""

    def crash(self, reason: BaseException) -> Coroutine[Any, Any, None]:
        """End the process."""


class Judges:
    """Those who say what is written about a record, and the tables that they share."""

    def __init__(
        self, requests: RequestJudge, updates: UpdateJudge, inbound: InboundJudge, consents: View, windows: View
    ) -> None:
        self.requests = requests
        self.updates = updates
        self.inbound = inbound
        self.consents = consents
        self.windows = windows


class Batch:
    """Records that were judged together; finished together, when Kafka has all that they caused."""

    __slots__ = ("bytes", "epoch", "items", "left", "outs")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.items: list[Item] = []
        self.outs: list[Out] = []
        self.bytes = 0
        self.left = 0

    def add(self, item: Item, outs: list[Out]) -> None:
        """A record was judged."""
        self.items.append(item)
        self.outs += outs
        self.bytes += item.size_bytes

    @property
    def has_room(self) -> bool:
        """Whether more may be judged into it."""
        return len(self.items) < BATCH_RECORDS and self.bytes < BATCH_BYTES


class Worker:
    """See the module.

    Args:
        topic: Full name of a topic by its short one.
        ask: Asks Kafka where partitions end and, for those of the second list, where this group begins to read. Blocks.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(
        self,
        app: App,
        judges: Judges,
        delivery: Delivery,
        topic: Callable[[str], str],
        ask: Callable[[list[Partition], list[Partition]], Answer],
        metrics: Metrics,
        clock_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._app = app
        self._judges = judges
        self._delivery = delivery
        self._topic = topic
        self._ask_kafka = ask
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._queues: dict[Kind, deque[Item]] = {kind: deque() for kind in ORDER}
        self._released: deque[ChainKey] = deque()
        self._paused: set[Partition] = set()
        self._held_bytes = 0
        self._on_the_way = 0
        self._epoch = 0
        self._is_open = False
        self._crashing: asyncio.Future[None] | None = None
        self._wake, self._ask, self._idle, self._merged = (asyncio.Event() for _ in range(4))
        self.freshness = Freshness()
        self.room = WaitingRoom(self.freshness)

    # -- intake: called by the agents, never blocks ------------------------------------------------------------------
    def accept(self, kind: Kind, topic: str, message: Any) -> None:
        """Take a record that Faust delivered; after the hand-over began nothing is taken, it comes again."""
        tp = (message.topic, message.partition)
        if not self._is_open or not self._app.windows.open(tp, message.offset):
            return
        item = Item(
            kind, topic, tp, message.offset, round(message.timestamp * 1000), message.key, message.value,
            message.headers, steady_s(),
        )  # fmt: skip
        self._queues[kind].append(item)
        self._held_bytes += item.size_bytes
        window = self._app.windows.of(tp)
        is_full = window is not None and len(window) >= WINDOW_HIGH
        if (is_full or self._held_bytes >= HELD_BYTES_MAX) and tp not in self._paused:
            self._paused.add(tp)
            self._app.pause(tp)
        self._wake.set()

    async def merge_again(self, items: list[Item]) -> None:
        """Take consent updates that are merged a second time; ends when they are merged or dropped."""
        if self._is_open:
            self._queues["remerge"].extend(items)
            self._held_bytes += sum(item.size_bytes for item in items)
            self._merged.clear()
            self._wake.set()
            await self._merged.wait()

    # -- assignment --------------------------------------------------------------------------------------------------
    def open(self) -> None:
        """Partitions were assigned."""
        self._is_open = True

    async def drain(self, seconds: float) -> bool:
        """Take nothing more and let what was judged be stored; what was not judged comes again elsewhere.

        Returns:
            False if something is still on its way after `seconds`.
        """
        self._is_open = False
        self._drop()
        if self._on_the_way:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), seconds)
            except TimeoutError:
                log.warning("drain_unfinished", batches=self._on_the_way)
        return self._on_the_way == 0

    def forget(self) -> None:
        """The partitions are no longer ours: what is stored from now on finishes nothing."""
        self._is_open = False
        self._epoch += 1
        self._drop()
        self.freshness.forget()
        self._judges.consents.forget()
        self._judges.windows.forget()

    def _drop(self) -> None:
        for queue in self._queues.values():
            queue.clear()
        self.room.clear()
        self._released.clear()
        self._paused.clear()
        self._held_bytes = 0
        self._merged.set()

    # -- the worker's task -------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Judge and write until cancelled."""
        while True:
            self._wake.clear()
            while self._on_the_way < BATCHES_ON_THE_WAY and self._crashing is None:
                batch = self._next_batch()
                if batch is None:
                    break
                self._ship(batch)
                # Let the agents bring more; a moment longer when Kafka is at work anyway: larger batches cost less.
                await asyncio.sleep(GATHER_S if self._on_the_way >= BUSY_BATCHES else 0)
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S if len(self.room) else None)
            except TimeoutError:
                continue

    def _next_batch(self) -> Batch | None:
        batch, now_ms, now_s = Batch(self._epoch), self._clock_ms(), steady_s()
        self._judges.consents.sweep()
        self._judges.windows.sweep()
        self._released.extend(self.room.release(now_s))
        while self._released and batch.has_room:
            self._judge_chain(self._released.popleft(), batch, now_ms, now_s)
        for kind in ORDER:
            queue = self._queues[kind]
            if kind in ("update", "remerge") and self._judges.consents.is_full:
                continue
            while queue and batch.has_room:
                self._take(queue.popleft(), batch, now_ms, now_s)
        if not self._queues["remerge"]:
            self._merged.set()
        return batch if batch.items else None

    def _take(self, item: Item, batch: Batch, now_ms: int, now_s: float) -> None:
        if item.kind in ("urgent", "normal"):
            prepared = self._judges.requests.prepare(item)
            if not isinstance(prepared, Prepared):
                batch.add(item, prepared)
                return
            key = (item.topic, prepared.request.to)
            if not self.room.queue_behind(key, prepared, item.read_at_s, now_s):
                self._judge(key, Waiter(prepared, item.read_at_s, now_s), batch, now_ms, now_s)
            return
        if item.kind == "inbound":
            batch.add(item, self._judges.inbound.apply(item))
        else:
            batch.add(item, self._judges.updates.apply(item))
        if item.kind != "remerge":
            self.freshness.processed(item.tp, item.offset, now_s)

    def _judge(self, key: ChainKey, waiter: Waiter, batch: Batch, now_ms: int, now_s: float) -> bool:
        prepared: Prepared = waiter.work
        partition = prepared.item.tp[1]

        def is_settled(topic: str) -> bool:
            tp = (self._topic(topic), partition)
            return tp in waiter.settled or self.freshness.is_current(tp, waiter.read_at_s)

        found = self._judges.requests.judge(prepared, now_ms, is_settled)
        if isinstance(found, Wait):
            self.room.enter(key, waiter, (self._topic(found.topic), partition), now_s)
            self._ask.set()
            return False
        batch.add(prepared.item, found)
        return True

    def _judge_chain(self, key: ChainKey, batch: Batch, now_ms: int, now_s: float) -> None:
        head = self.room.head(key)
        while head is not None and self._judge(key, head, batch, now_ms, now_s):
            self.room.leave(key)
            head = self.room.head(key)

    # -- writing -----------------------------------------------------------------------------------------------------
    def _ship(self, batch: Batch) -> None:
        batch.left = len(batch.outs)
        self._on_the_way += 1
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
        """Everything that a batch caused is on Kafka: its sources may be committed."""
        self._on_the_way -= 1
        if batch.epoch == self._epoch:
            windows = self._app.windows
            for item in batch.items:
                if item.kind != "remerge":
                    windows.done(item.tp, item.offset)
            self._held_bytes = max(0, self._held_bytes - batch.bytes)
            if self._paused:
                self._resume()
        if not self._on_the_way:
            self._idle.set()
        self._wake.set()

    def _resume(self) -> None:
        if self._held_bytes > HELD_BYTES_MAX // 2:
            return
        for tp in list(self._paused):
            window = self._app.windows.of(tp)
            if window is None or len(window) <= WINDOW_LOW:
                self._paused.discard(tp)
                self._app.resume(tp)

    def _fail(self, why: str) -> None:
        """A record was not stored: nothing may overtake it, so the process ends."""
        if self._crashing is None:
            self._metrics.producer_errors.inc()
            reason = BrokerUnreachable(f"Kafka did not store a record of the gate in time ({why}); it comes again")
            self._crashing = asyncio.ensure_future(self._app.crash(reason))

    # -- the task that asks where partitions end -----------------------------------------------------------------------
    async def ask_ends(self) -> None:
        """Ask for the ends of partitions as long as somebody waits for one, until cancelled."""
        repeats = Repeats()
        while True:
            await self._ask.wait()
            self._ask.clear()
            wanted = self.room.asking()
            if not wanted:
                continue
            epoch, asked_at_s = self._epoch, steady_s()
            unknown = [tp for tp in wanted if self.freshness.position(tp) is None]
            try:
                answer = await asyncio.to_thread(self._ask_kafka, wanted, unknown)
            except KafkaException as exc:
                held_back = repeats.pass_now("ends", steady_s())
                if held_back is not None:
                    log.warning("ends_unknown", error=str(exc), suppressed=held_back)
                await asyncio.sleep(ASK_AGAIN_S)
                self._ask.set()
                continue
            if epoch == self._epoch:
                self._learn(answer, asked_at_s)
            await asyncio.sleep(ASK_EVERY_S)
            self._ask.set()

    def _learn(self, answer: Answer, asked_at_s: float) -> None:
        for tp, (end, begin) in answer.items():
            if begin is not None:
                self.freshness.begins_at(tp, begin)
            self.room.answered(tp, asked_at_s, end)
        self._wake.set()


def _telling(
    stored: Callable[[int], None], done: Callable[[Receipt | None, KafkaError | None], None]
) -> Callable[[Receipt | None, KafkaError | None], None]:
    def call(receipt: Receipt | None, error: KafkaError | None) -> None:
        if receipt is not None:
            stored(receipt.offset)
        done(receipt, error)

    return call
