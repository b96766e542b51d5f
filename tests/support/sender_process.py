"""One simulated sender process: the real parts on a loop of its own, with fakes for Kafka, the API and the stream."""

from __future__ import annotations

import os
import random
from typing import Any

from pipeline.health import Health
from pipeline.metrics import Metrics
from pipeline.sender.account import AccountState
from pipeline.sender.context import Context
from pipeline.sender.dispatch import Dispatch
from pipeline.sender.evidence import Evidence
from pipeline.sender.finish import Finish
from pipeline.sender.handover import Handover
from pipeline.sender.intake import Intake
from pipeline.sender.lane import Lane
from pipeline.sender.leaving import Leaving
from pipeline.sender.optouts import OptOuts
from pipeline.sender.posting import Posting
from pipeline.sender.replay import Tail
from pipeline.sender.scheduling import Scheduling
from pipeline.sender.scopes import scopes_of
from pipeline.sender.takeover import Takeover
from pipeline.sender.ticker import Ticker
from pipeline.sender.unknown import Unknowns
from pipeline.streams.lease import Lease
from pipeline.streams.windows import Windows
from pipeline.throttle.pair import PairBuckets
from pipeline.whatsapp.profiles import PROFILES
from tests.support.sender_api import SimClient
from tests.support.sender_kafka import BASE_MS, TP, SimDelivery, SimFollower, SimReader, Stored
from tests.support.sender_loop import ProcessLoop
from tests.support.sender_plan import BASE_URL, NUMBER

SESSION_S, REBALANCE_S, MARGIN_S = 10.0, 30.0, 2.0
FETCH_RECORDS = 50
_METRICS: list[Metrics] = []


def metrics() -> Metrics:
    """One set of metrics for all simulated processes: nobody reads them."""
    if not _METRICS:
        _METRICS.append(Metrics())
    return _METRICS[0]


class SimLease(Lease):
    """A lease on the world's clock."""

    def __init__(self, process: SimProcess) -> None:
        super().__init__(SESSION_S, REBALANCE_S, MARGIN_S)
        self._process = process

    @property
    def valid(self) -> bool:
        """As the real one."""
        return self.left_s(self._process.world.now_s) > 0.0


class SimContext(Context):
    """The context with the world's clock, and this host's idea of the date."""

    process: SimProcess

    def steady_s(self) -> float:
        """Seconds since the world began."""
        now_s: float = self.process.world.now_s
        return now_s

    def unix_ms(self) -> int:
        """This host's date."""
        return BASE_MS + int((self.process.world.now_s + self.process.skew_s) * 1000)


class SimStream:
    """What Faust does for the sender: windows, commits, fetching."""

    def __init__(self, process: SimProcess) -> None:
        self._process = process
        self.windows = Windows()
        self.lease: Lease = SimLease(process)
        self.paused: set[TP] = set()
        self.stored: dict[TP, int] = {}

    def pause(self, tp: TP) -> None:
        """Fetch no more of a partition."""
        self.paused.add(tp)

    def resume(self, tp: TP) -> None:
        """Fetch it again."""
        self.paused.discard(tp)
        self._process.world.fetch_soon(self._process, tp)

    def skip_to(self, tp: TP, offset: int) -> None:
        """Deliver a partition from here on."""
        self._process.positions[tp] = offset

    def committed(self, tp: TP) -> int | None:
        """What this process committed."""
        return self.stored.get(tp)

    def is_at_end(self, tp: TP) -> bool:
        """Whether everything was delivered."""
        return self.windows.next_of(tp) >= len(self._process.world.kafka.log(*tp))

    async def crash(self, reason: BaseException) -> None:
        """End the process; the world takes note."""
        self._process.world.crashed(self._process, reason)


class SimProcess:
    """A process that has got the lanes in one generation."""

    def __init__(self, world: Any, generation: int, skew_s: float) -> None:
        self.world, self.generation, self.skew_s = world, generation, skew_s
        self.loop = ProcessLoop(world.clock, lambda: world.chance.uniform(0.001, 0.05), world)
        self.loop.process = self
        self.stream = SimStream(self)
        self.positions: dict[TP, int] = {}
        self.last_beat_s = world.now_s
        self.steps = 0
        self.is_told = False
        self.fetches = True
        self.stream.lease.rebalance_ended(world.now_s)
        self._build()

    def _build(self) -> None:
        settings, loop = self.world.settings, self.loop
        account = AccountState(self._wake_all)
        self.ctx = SimContext(
            settings=settings, loop=loop, stream=self.stream, delivery=SimDelivery(self), client=SimClient(self),
            optouts=OptOuts(settings, loop, self._wake_all, SimFollower, self.world.kafka.broker_ms), account=account,
            metrics=metrics(), owner=f"sim/{os.getpid()}/{self.generation}",
        )  # fmt: skip
        self.ctx.process = self
        self.ctx.random = random.Random(self.world.chance.random())
        follower = SimFollower(settings.kafka, settings.topic("account-state"), account.apply, loop)
        follower.start()
        reader = SimReader(self.world)
        finish = Finish(self.ctx)
        self.scheduling = Scheduling(self.ctx)
        evidence = Evidence(settings, loop, self._wake_all, SimFollower)
        unknowns = Unknowns(self.ctx, finish, self.scheduling, evidence, Tail(reader))
        posting = Posting(self.ctx, finish, self.scheduling)
        dispatch = Dispatch(self.ctx, finish, self.scheduling, posting, unknowns)
        self.intake = Intake(self.ctx, finish, self.scheduling)
        self._takeover = Takeover(self.ctx, finish, self.scheduling, self.intake, reader, follower, "wapipe-sender")
        self.handover = Handover(self.ctx)
        health = Health(("assignment",), self.ctx.steady_s)
        leaving = Leaving(self.ctx, finish, self.scheduling)
        ticker = Ticker(self.ctx, dispatch, unknowns, self.handover, health, leaving)
        self._ticking = loop.create_task(ticker.run())
        self._ticking.add_done_callback(self._tick_ended)

    def assigned(self) -> None:
        """Take the lanes over: a callback on the loop, as the stream's hook."""
        settings = self.world.settings
        scopes = scopes_of(settings.numbers)
        for partition, (number, shard) in settings.lanes().items():
            conf = settings.numbers[number]
            endpoint = PROFILES[conf.profile].endpoint(BASE_URL, NUMBER, "t")
            lane = Lane(
                number, shard, partition, conf, endpoint, scopes[number], self.ctx.steady_s()
            )  # fmt: skip
            if lane.pairs is not None and self.world.plan.pair_burst is not None:
                lane.pairs = PairBuckets(6.0, self.world.plan.pair_burst)
            self.ctx.lanes[partition] = lane
            self.ctx.spawn(lane, self._takeover.open(lane, self.world.group_generation))

    def deliver(self, batch: list[Stored]) -> None:
        """Records of one partition, as the agent gets them."""
        if not self.fetches:
            return
        for stored in batch:
            self.intake.take(
                stored.where[0], stored.where[1], stored.place, stored.time_ms, stored.raw_key, stored.raw, stored.pairs
            )

    async def give_up(self, *, leaves: bool) -> None:
        """Hand the lanes over, in the order of `HardenedConsumer.on_partitions_revoked` and `HardenedApp.on_stop`.

        Args:
            leaves: The process stops: it leaves the group before its parts are closed.
        """
        await self.handover.drain()
        self.world.commit(self)
        await self.handover.hand_over()
        if not leaves:
            self._revoked()
        self.world.given_up(self, leaves=leaves)

    def _revoked(self) -> None:
        self.fetches = False
        self.handover.close_all()
        self.stream.windows.forget_all()

    async def expelled(self) -> None:
        """The group went on without us, and told us so."""
        self.stream.lease.revoke()
        await self.handover.drain()
        self.world.commit(self)
        await self.handover.hand_over()
        self._revoked()
        self.world.woke(self)

    def _wake_all(self) -> None:
        for lane in self.ctx.lanes.values():
            self.scheduling.wake(lane)

    def _tick_ended(self, task: Any) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.world.crashed(self, error)
