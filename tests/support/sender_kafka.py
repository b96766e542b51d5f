"""Kafka in memory, in virtual time: logs with broker time, late and lost appends, outages; and its clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from confluent_kafka import KafkaError, KafkaException

from pipeline.records.codec import Headers
from pipeline.sender.replay import Apply, LedgerReader, Standing
from pipeline.streams.delivery import Delivery, Done, Receipt
from pipeline.streams.follow import Follower, OnBatch
from tests.support.sender_loop import ProcessLoop

BASE_MS = 1_795_341_600_000
MESSAGE_TIMEOUT_S = 9.0
TRANSPORT, TIMED_OUT = -195, -192
TP = tuple[str, int]


class Stored(NamedTuple):
    """A record on a log; it looks like a confluent message, too."""

    where: TP
    place: int
    time_ms: int
    raw_key: bytes | None
    raw: bytes | None
    pairs: Headers

    def value(self) -> bytes | None:
        """As confluent's."""
        return self.raw

    def key(self) -> bytes | None:
        """As confluent's."""
        return self.raw_key

    def offset(self) -> int:
        """As confluent's."""
        return self.place

    def timestamp(self) -> tuple[int, int]:
        """As confluent's: (type, ms)."""
        return 2, self.time_ms

    def headers(self) -> Headers:
        """As confluent's."""
        return self.pairs

    def json(self) -> dict[str, Any]:
        """The value as an object."""
        value: dict[str, Any] = orjson.loads(self.raw or b"{}")
        return value


@dataclass(slots=True)
class Pending:
    """A record on its way from a process to the log."""

    owner: Any
    tp: TP
    key: bytes | None
    value: bytes | None
    headers: Headers
    done: Done
    made_s: float
    lands_s: float
    fails: bool
    lost: bool = False
    over: bool = False


class SimKafka:
    """The brokers.

    Args:
        world: Gives time, chance and the schedule.
    """

    def __init__(self, world: Any) -> None:
        self._world = world
        self.logs: dict[TP, list[Stored]] = {}
        self.committed: dict[TP, int] = {}
        self.watchers: list[Callable[[Stored], None]] = []
        self._on_way: list[Pending] = []
        self._last_landing_s: dict[tuple[int, TP], float] = {}

    def log(self, topic: str, partition: int = 0) -> list[Stored]:
        """The records of a partition."""
        return self.logs.setdefault((topic, partition), [])

    def broker_ms(self) -> int:
        """Broker time now."""
        return BASE_MS + int(self._world.now_s * 1000)

    def is_away(self) -> bool:
        """Whether no broker answers now."""
        return any(begin <= self._world.now_s < end for begin, end in self._world.plan.outages)

    def append(self, tp: TP, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Stored:
        """Put a record on a log."""
        log = self.log(*tp)
        stored = Stored(tp, len(log), self.broker_ms(), key, value, headers)
        log.append(stored)
        for watch in self.watchers:
            watch(stored)
        return stored

    def write(
        self, topic: str, value: dict[str, Any], key: str = "", partition: int = 0, headers: Headers = ()
    ) -> Stored:
        """Put an object on a log, at once."""
        return self.append((topic, partition), key.encode(), orjson.dumps(value), headers)

    # -- producing ---------------------------------------------------------------------------------------------------
    def produce(self, owner: Any, tp: TP, key: bytes | None, value: bytes | None, headers: Headers, done: Done) -> None:
        """Take a record from a process; it lands later, in the process's order per partition, or not at all."""
        world = self._world
        now_s = world.now_s
        lands_s = max(now_s + world.latency_s(), self._last_landing_s.get((id(owner), tp), 0.0))
        for begin_s, end_s in world.plan.outages:
            if begin_s <= lands_s < end_s:
                lands_s = end_s + 0.1
        fails = world.chance.random() < world.plan.append_failure or lands_s > now_s + MESSAGE_TIMEOUT_S
        pending = Pending(owner, tp, key, value, headers, done, now_s, lands_s, fails)
        if fails:
            pending.lost = lands_s > now_s + MESSAGE_TIMEOUT_S or world.chance.random() < 0.5
            at_s = min(now_s + MESSAGE_TIMEOUT_S, lands_s + world.chance.choice([0.0, 0.2, 3.0]))
            world.at(at_s, self._failed, pending)
        if not pending.lost:
            self._last_landing_s[id(owner), tp] = lands_s
            self._on_way.append(pending)
            world.at(lands_s, self._land, pending)
        world.point(owner)

    def _failed(self, pending: Pending) -> None:
        error = KafkaError(KafkaError._MSG_TIMED_OUT)
        pending.owner.loop.call_soon(pending.done, None, error)

    def _land(self, pending: Pending) -> None:
        if pending.over:
            return
        pending.over = True
        self._on_way.remove(pending)
        stored = self.append(pending.tp, pending.key, pending.value, pending.headers)
        if not pending.fails:
            pending.owner.loop.call_soon(pending.done, Receipt(stored.place, stored.time_ms), None)
        self._world.point(pending.owner)

    def cut(self, owner: Any, until_s: float | None) -> None:
        """A process stopped: per partition, some of what is on its way lands, the rest is lost or waits for it."""
        by_tp: dict[TP, list[Pending]] = {}
        for pending in self._on_way:
            if pending.owner is owner:
                by_tp.setdefault(pending.tp, []).append(pending)
        for waiting in by_tp.values():
            for pending in waiting[self._world.chance.randint(0, len(waiting)) :]:
                pending.over = True
                self._on_way.remove(pending)
                if until_s is not None:
                    self._later(pending, until_s)

    def _later(self, pending: Pending, until_s: float) -> None:
        world = self._world
        if until_s - pending.made_s >= MESSAGE_TIMEOUT_S:
            if not pending.fails:
                world.at(until_s, self._failed, pending)
            return
        late = Pending(
            pending.owner, pending.tp, pending.key, pending.value, pending.headers, pending.done, pending.made_s,
            max(until_s, pending.lands_s), pending.fails,
        )  # fmt: skip
        self._on_way.append(late)
        self._last_landing_s[id(pending.owner), pending.tp] = late.lands_s
        world.at(late.lands_s, self._land, late)


class SimDelivery(Delivery):
    """The producer of a simulated process; `send` is the real one."""

    def __init__(self, process: Any) -> None:
        self._process, self._loop = process, process.loop

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: str | bytes | None,
        headers: Headers | None,
        done: Done,
        partition: int = -1,
    ) -> None:
        """Hand the record to the simulated brokers."""
        raw_key = key.encode() if isinstance(key, str) else key
        kafka: SimKafka = self._process.world.kafka
        kafka.produce(self._process, (topic, max(0, partition)), raw_key, value, list(headers or ()), done)


class SimFollower(Follower):
    """Follows a log of the simulated brokers."""

    def __init__(
        self, kafka: Any, topic: str, on_batch: OnBatch, loop: asyncio.AbstractEventLoop, from_ms: int | None = None
    ) -> None:
        assert isinstance(loop, ProcessLoop)
        self._topic, self._on_batch, self._loop = topic, on_batch, loop
        self._world, self.from_ms = loop.world, from_ms
        self._fresh_as_of = float("-inf")
        self.caught_up = asyncio.Event()
        self._ended = False
        self._position: int | None = None
        # Worlds name no ids of people: their readers leave each world's chance, and so the found seeds, as they are.
        self._every_s = (0.05, 0.05) if topic == "recipient-aliases" else (0.02, 0.4)

    def start(self) -> None:
        """Begin to read a little later."""
        self._later(0.01, self._every_s[1] + 0.1)

    def _later(self, least_s: float, most_s: float) -> None:
        is_even = self._every_s[0] == self._every_s[1]
        delay_s = least_s if is_even else self._world.chance.uniform(least_s, most_s)
        self._loop.call_later(delay_s, self._look)

    async def stop(self) -> None:
        """Read no more."""
        self._ended = True

    def _look(self) -> None:
        if self._ended:
            return
        world = self._world
        stalled = any(begin <= world.now_s < end for begin, end in world.plan.stalls)
        if not stalled and not world.kafka.is_away():
            log = world.kafka.log(self._topic)
            if self._position is None:
                since_ms = self.from_ms or 0
                self._position = next((s.place for s in log if s.time_ms >= since_ms), len(log))
            batch, self._position = log[self._position :], len(log)
            self._apply(list(batch), world.now_s)
        self._later(*self._every_s)


class SimReader(LedgerReader):
    """Reads of the simulated ledger; each happens in one moment, after the delay of a thread."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._topic = "send-ledger"

    def _reachable(self) -> SimKafka:
        kafka: SimKafka = self._world.kafka
        if kafka.is_away() or self._world.chance.random() < self._world.plan.read_failure:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return kafka

    def read(self, partition: int, start: int, end: int, apply: Apply) -> int:
        """As the real one."""
        for stored in self._reachable().log(self._topic, partition)[start:end]:
            apply(stored.json(), stored.place, stored.time_ms)
        return max(start, end)

    def messages(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Any], int]:
        """As the real one."""
        return list(self._reachable().log(topic, partition)[start:end]), max(start, end)

    def begin_and_end(self, partition: int, window_ms: int) -> tuple[int, int]:
        """As the real one."""
        log = self._reachable().log(self._topic, partition)
        if not log:
            return 0, 0
        since_ms = log[-1].time_ms - window_ms
        return next(s.place for s in log if s.time_ms >= since_ms), len(log)

    def end(self, partition: int) -> int:
        """As the real one."""
        return len(self._reachable().log(self._topic, partition))

    def standings(self, group: str, topics: list[str], partition: int) -> dict[str, Standing]:
        """As the real one."""
        kafka = self._reachable()
        return {t: Standing(kafka.committed.get((t, partition), 0), len(kafka.log(t, partition))) for t in topics}
