"""One sender process in virtual time, without its pump: lanes are taken over and handed over, and nothing is posted."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from pipeline.sender.account import AccountState
from pipeline.sender.finish import Finish
from pipeline.sender.handover import Handover
from pipeline.sender.intake import Intake
from pipeline.sender.lane import Lane
from pipeline.sender.optouts import OptOuts
from pipeline.sender.replay import Apply, Standing
from pipeline.sender.scheduling import Scheduling
from pipeline.sender.scopes import alone
from pipeline.sender.takeover import Takeover
from pipeline.tracing import OFF, Tracing
from pipeline.whatsapp.client import Client
from pipeline.whatsapp.profiles import PROFILES
from tests.support.sender_kafka import SimDelivery, SimFollower, SimKafka, SimReader, Stored
from tests.support.sender_loop import Clock, ProcessLoop
from tests.support.sender_plan import BASE_URL, Plan, settings_of
from tests.support.sender_process import SimContext, SimProcess, SimStream, metrics
from tests.support.sender_values import ADA, NUMBER, job, message, record

T = TypeVar("T")
Hook = Callable[[], object]
GROUP = "wapipe-sender"
LEDGER, MARKS = "send-ledger", "account-state"


class Opening(SimFollower):
    """A follower that tells its world from where it reads."""

    def start(self) -> None:
        """Begin to read."""
        self._loop.world.began.append((self._topic, self.from_ms))  # type: ignore[attr-defined]
        super().start()


class Reader(SimReader):
    """A reader before whose calls a test lets things happen.

    Attributes:
        hooks: Per method, what happens before its next calls, one each; a hook may raise.
        reads: (start, end) of each read.
    """

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.hooks: dict[str, list[Hook]] = {}
        self.reads: list[tuple[int, int]] = []

    def _happens(self, name: str) -> None:
        if self.hooks.get(name):
            self.hooks[name].pop(0)()

    def begin_and_end(self, partition: int, window_ms: int) -> tuple[int, int]:
        """As the real one."""
        self._happens("begin_and_end")
        return super().begin_and_end(partition, window_ms)

    def read(self, partition: int, start: int, end: int, apply: Apply) -> int:
        """As the real one."""
        self._happens("read")
        self.reads.append((start, end))
        return super().read(partition, start, end, apply)

    def messages(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Any], int]:
        """As the real one."""
        self._happens("messages")
        return super().messages(topic, partition, start, end)

    def standings(self, group: str, topics: list[str], partition: int) -> dict[str, Standing]:
        """As the real one."""
        assert group == GROUP
        self._happens("standings")
        return super().standings(group, topics, partition)


class Bench:
    """A process, the brokers it talks to, and its time, which passes only while something is run.

    Args:
        skew_s: How far this host's idea of the date is off.
        follows: Whether `account-state` is read.
        tracing: Follows its messages.
        plan: Fields of `Plan`: profile, rate, burst, dedupe_window_s, outages.

    Attributes:
        began: (topic, from_ms) of each follower that was started.
        pumped: Request ids in the lane's memory, each time that the lane was to be looked at.
        positions: Where the stream goes on, by partition that it was told of.
    """

    generation = 0

    def __init__(self, *, skew_s: float = 0.0, follows: bool = True, tracing: Tracing = OFF, **plan: Any) -> None:
        self.plan = Plan(**{"seed": 1, "slow_kafka": 0.0, **plan})
        self.chance = random.Random(1)
        self.clock, self.skew_s, self.world = Clock(), skew_s, self
        self.settings = settings_of(self.plan)
        self.kafka = SimKafka(self)
        self.loop = ProcessLoop(self.clock, lambda: 0.001, self)
        self.crashes: list[BaseException] = []
        self.began: list[tuple[str, int | None]] = []
        self.pumped: list[list[str]] = []
        self.positions: dict[tuple[str, int], int] = {}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = itertools.count()
        process = cast("SimProcess", self)
        self.stream = SimStream(process)
        self.stream.lease.rebalance_ended(1e9)
        account = AccountState(lambda: None)
        self.ctx = SimContext(
            settings=self.settings, loop=self.loop, stream=self.stream, delivery=SimDelivery(self),
            client=cast("Client", None), account=account, metrics=metrics(), owner="host/1",
            optouts=OptOuts(self.settings, self.loop, lambda: None, Opening, self.kafka.broker_ms), tracing=tracing,
        )  # fmt: skip
        self.ctx.process = process
        self.account_follower = SimFollower(self.settings.kafka, MARKS, account.apply, self.loop)
        if follows:
            self.account_follower.start()
        self.reader = Reader(self)
        self.finish = Finish(self.ctx)
        self.scheduling = Scheduling(self.ctx)
        self.scheduling.pump = lambda lane: self.pumped.append(sorted(lane.jobs))
        self.intake = Intake(self.ctx, self.finish, self.scheduling)
        self.takeover = Takeover(
            self.ctx, self.finish, self.scheduling, self.intake, self.reader, self.account_follower, GROUP
        )
        self.handover = Handover(self.ctx)

    # -- what the fakes call -----------------------------------------------------------------------------------------
    @property
    def now_s(self) -> float:
        """Seconds since the world began."""
        return self.clock.now_s

    def at(self, when_s: float, call: Callable[..., None], *args: Any) -> None:
        """Have something happen then."""
        heapq.heappush(self._heap, (max(when_s, self.now_s), next(self._serial), call, args))

    def latency_s(self) -> float:
        """How long a record takes to the log."""
        return 0.001

    def point(self, _process: object) -> None:
        """No fault comes."""

    def fetch_soon(self, _process: object, _tp: tuple[str, int]) -> None:
        """The stream brings what a test delivers."""

    def crashed(self, _process: object, reason: BaseException) -> None:
        """A task failed that nobody foresaw."""
        self.crashes.append(reason)

    # -- time --------------------------------------------------------------------------------------------------------
    def run(self, work: Coroutine[Any, Any, T], within_s: float = 60.0) -> T:
        """Let time pass until it is done; what it raises is raised."""
        task = self.loop.create_task(work)
        self._drive(task.done, self.now_s + within_s)
        assert task.done(), f"not done within {within_s} s"
        return task.result()

    def run_for(self, seconds: float) -> None:
        """Let so much time pass."""
        self._drive(lambda: False, self.now_s + seconds)
        assert not self.loop.errors, self.loop.errors

    def pass_by(self, seconds: float) -> None:
        """Let so much time pass in which this process is not asked for anything."""
        self.clock.now_s += seconds

    def _drive(self, is_over: Callable[[], bool], end_s: float) -> None:
        while not is_over():
            next_s, due_s = self._heap[0][0] if self._heap else float("inf"), self.loop.next_s()
            if min(next_s, due_s) > end_s:
                self.clock.now_s = end_s
                return
            self.clock.now_s = max(self.now_s, min(next_s, due_s))
            if due_s <= next_s:
                self.loop.step()
            else:
                _, _, call, args = heapq.heappop(self._heap)
                call(*args)

    def close(self) -> None:
        """The process ends."""
        self.loop.kill()

    # -- Kafka -------------------------------------------------------------------------------------------------------
    def log(self, topic: str) -> list[dict[str, Any]]:
        """The values on the lane's partition of a topic."""
        return [stored.json() for stored in self.kafka.log(topic)]

    def ledger(self, *records: dict[str, Any]) -> list[Stored]:
        """Predecessors wrote these, now."""
        return [self.kafka.write(LEDGER, value) for value in records]

    def mark(self, needed: int, generation: int, last_attempt_ms: int | None = None) -> None:
        """A predecessor left this mark."""
        value = {"aspect": "mark", "needed": needed, "generation": generation, "last_attempt_ms": last_attempt_ms}
        self.kafka.write(MARKS, value, f"lane:{NUMBER}#0/mark")

    def ready(
        self, request_id: str = "r-1", offset: int = 0, topic: str = "ready-normal", **fields: Any
    ) -> Stored:  # fmt: skip
        """The gate, or a predecessor that deferred it, wrote a message; `offset` is that of its source."""
        source_ms = fields.pop("source_ms", None)
        value = message(request_id, offset, **fields).record
        if source_ms is not None:
            value = {**value, "source": {**value["source"], "timestamp_ms": source_ms}}
        return self.kafka.write(topic, value)

    def deliver(self, *records: Stored) -> None:
        """The stream brings records."""
        for stored in records:
            self.intake.take(*stored.where, stored.place, stored.time_ms, stored.raw_key, stored.raw, stored.pairs)

    def commit(self) -> None:
        """The stream commits what is finished."""
        for tp in self.stream.windows.partitions():
            position = self.stream.windows.position(tp)
            if position is not None:
                self.kafka.committed[tp] = self.stream.stored[tp] = position

    # -- lanes -------------------------------------------------------------------------------------------------------
    def lane(self, partition: int = 0) -> Lane:
        """A lane that was just assigned."""
        conf = self.settings.numbers[NUMBER]
        endpoint = PROFILES[conf.profile].endpoint(BASE_URL, NUMBER, "t")
        lane = Lane(NUMBER, partition, partition, conf, endpoint, alone(), self.now_s)
        self.ctx.lanes[partition] = lane
        return lane

    def opened(self, generation: int = 2) -> Lane:
        """A lane that was taken over."""
        lane = self.lane()
        self.run(self.takeover.open(lane, generation))
        return lane

    def opening(self, lane: Lane, generation: int = 2) -> asyncio.Task[None]:
        """A take-over that has begun."""
        return self.loop.create_task(self.takeover.open(lane, generation))

    def writes(self, lane: Lane, kind: str, request_id: str = "r-1", attempt: int = 1, **fields: Any) -> int:
        """The lane's owner writes to its ledger; returns the offset."""
        entry = record(kind, lane.generation, request_id, attempt, **fields)
        return self.run(self.finish.write_ledger(lane, entry)).offset


Make = Callable[..., Bench]
"""What the fixture `bench` gives: makes a process with these fields."""


def accepted(generation: int = 1, request_id: str = "r-1", **fields: Any) -> dict[str, Any]:
    """A settlement by the API's answer, with the event that all owners write."""
    event = {"event_id": f"end-{request_id}", "type": "accepted", "recipient": ADA, "request_id": request_id}
    nothing = {"reason": None, "message_id": None, "api_ms": None, "queue_ms": None}
    return record("settled", generation, request_id, event={**event, **nothing}, **fields)


def settle(world: Bench, lane: Lane, request_id: str = "r-1", topic: str = "ready-normal", **fields: Any) -> int:
    """A request is done, its event written and its record acknowledged; returns the offset of its first record."""
    one = job(request_id)
    stored = world.kafka.write(topic, one.message.record)
    world.stream.windows.open(stored.where, stored.place)
    one.places = [(*stored.where, stored.place)]
    first = world.writes(lane, "attempt", request_id)
    world.writes(lane, "settled", request_id, place=one.places[0], **fields)
    state = lane.ledger.ids[request_id]
    state.event = None
    world.ctx.acknowledge_job(lane, one)
    return first
