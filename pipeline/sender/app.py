"""The sender as a Faust app: one agent over all lane topics, lanes made at assignment and given up at revocation.

Partition n of every lane topic belongs to one process (checked at each assignment): it owns that lane, alone. The
agent only takes records in; lanes act by their own tasks and timers, all on the main loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException
from faust.types import TP

from pipeline.clock import steady_s, unix_ms, unix_s
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable
from pipeline.health import Health
from pipeline.metrics import Metrics
from pipeline.records.lanes import differing, with_lanes
from pipeline.sender.access import Access
from pipeline.sender.account import AccountState
from pipeline.sender.context import Context
from pipeline.sender.dispatch import Dispatch
from pipeline.sender.evidence import Evidence
from pipeline.sender.finish import Finish
from pipeline.sender.handover import Handover
from pipeline.sender.inbound_count import InboundCount
from pipeline.sender.intake import Intake
from pipeline.sender.lane import Lane
from pipeline.sender.leaving import Leaving
from pipeline.sender.logins import Logins
from pipeline.sender.looks import Looks
from pipeline.sender.optouts import OptOuts
from pipeline.sender.own_lanes import OwnLanes
from pipeline.sender.posting import Posting
from pipeline.sender.replay import LedgerReader, Tail
from pipeline.sender.scheduling import Scheduling
from pipeline.sender.scopes import scopes_of
from pipeline.sender.takeover import Takeover
from pipeline.sender.ticker import Ticker
from pipeline.sender.unknown import Unknowns
from pipeline.streams.batches import batches
from pipeline.streams.client import EVENTS_LINGER_MS, EVENTS_POLL_S, producer_conf
from pipeline.streams.delivery import Delivery
from pipeline.streams.follow import Follower
from pipeline.streams.hardened import HardenedApp
from pipeline.streams.outlets import Outlets
from pipeline.streams.topics import DELAYED, READY
from pipeline.streams.watchdog import Reader, ReaderWatchdog
from pipeline.tracing import OFF, Tracing
from pipeline.whatsapp.client import Client

log = structlog.get_logger(__name__)

ASSIGNED: Final = "assignment"
ACCOUNT: Final = "account_state"
CLOSE_S: Final = 10.0
KNOWN_SOON: Final[dict[str, Any]] = {"consumer_metadata_max_age_ms": 15_000}
"""Partitions that are added for new lanes are owned soon."""
PACE_RECORDS: Final = 32
PACE_S: Final = 0.01
"""Taking a backlog in must not keep the processor from sending what is in memory already: so much, then a pause."""
WRITTEN: Final = (
    "send-ledger", "outbound-events", "dead-letter", "account-state", "consent-updates", "suppressions", *DELAYED,
)  # fmt: skip


class Sender:
    """The role's parts on a running loop.

    Attributes:
        app: To be run by `run_role`.
        ctx: What the parts share; for tests and figures.
    """

    def __init__(self, settings: Settings, metrics: Metrics, health: Health, tracing: Tracing = OFF) -> None:
        self._settings, self._metrics, self._health = settings, metrics, health
        loop = asyncio.get_running_loop()
        self._scopes = scopes_of(settings.numbers)
        self._lane_topics = tuple(settings.topic(name) for name in (*READY, *DELAYED))
        urgent, *_ = self._lane_topics
        self.app = HardenedApp(settings, "sender", co_partitioned=self._lane_topics, ahead=(urgent,), **KNOWN_SOON)
        account = AccountState(self._hear)
        client, access = Client(), Access()
        access.on_change = self._has_token
        logins = Logins(settings, access, client, self._scopes, self._sister_wait_s, steady_s, unix_s)
        self.ctx = Context(
            settings=settings,
            loop=loop,
            stream=self.app,
            delivery=outlets(settings, self._crash),
            client=client,
            optouts=OptOuts(settings, loop, self._wake_all),
            account=account,
            metrics=metrics,
            access=access,
            owner=f"{socket.gethostname()}/{os.getpid()}",
            tracing=tracing,
        )
        self._account_follower = Follower(settings.kafka, settings.topic("account-state"), account.apply, loop)
        self._account_follower.start()
        self._suppressed = Follower(settings.kafka, settings.topic("suppressions"), self.ctx.suppressions.apply, loop)
        self._suppressed.start()
        self.ctx.suppressions.partitions = lambda: self._suppressed.partitions
        self._account_task = loop.create_task(self._account_known())
        self._inbound_count = InboundCount(settings, self.ctx, loop)
        self._inbound_count.start()
        self._login_tasks = logins.start(self._crash_by)
        watchdog = ReaderWatchdog(self._readers, lambda: self.app.lease.valid, self.app.crash)
        self._reader_task = loop.create_task(watchdog.run())
        self._looks = Looks(self.ctx, self._wake_number, self._crash_by)
        reader = LedgerReader(settings)
        self._evidence = Evidence(settings, loop, self._wake_all)
        finish = Finish(self.ctx)
        self._scheduling = Scheduling(self.ctx)
        unknowns = Unknowns(self.ctx, finish, self._scheduling, self._evidence, Tail(reader))
        posting = Posting(self.ctx, finish, self._scheduling)
        dispatch = Dispatch(self.ctx, finish, self._scheduling, posting, unknowns)
        self._intake = Intake(self.ctx, finish, self._scheduling)
        self._takeover = Takeover(
            self.ctx, finish, self._scheduling, self._intake, reader, self._account_follower, self.app.conf.id
        )
        self._handover = Handover(self.ctx)
        self._ticker = Ticker(
            self.ctx, dispatch, unknowns, self._handover, health, Leaving(self.ctx, finish, self._scheduling)
        )
        self._own_lanes = OwnLanes(self.ctx, self._scopes, self._open)
        self._tick_task = loop.create_task(self._ticker.run())
        self._tick_task.add_done_callback(self._crash_by)
        self._add_agents()
        self.app.hooks_assigned = self._assigned
        self.app.hooks_draining = self._draining
        self.app.hooks_handing_over = self._handing_over
        self.app.hooks_revoked = self._revoked

    async def warm_up(self) -> None:
        """Fetch the metadata of what will be written, and learn which lanes there are.

        Raises:
            BrokerUnreachable: no broker answered in time, or one refused us.
            ConfigError: by what is on record, two numbers have the same lane.
        """
        topics, timeout_s = [self._settings.topic(name) for name in WRITTEN], self._settings.kafka.startup_timeout_s
        await asyncio.to_thread(self.ctx.delivery.warm_up, topics, timeout_s)
        try:
            await asyncio.wait_for(self._account_follower.caught_up.wait(), timeout_s)
        except TimeoutError as exc:
            why = f"account-state: not read to the end within {timeout_s:g} s"
            raise BrokerUnreachable(f"{self._settings.kafka.bootstrap_servers}: {why}") from exc
        lanes = self._own_lanes.in_force()
        with_lanes(self._settings, {number: one.held for number, one in lanes.items()})
        for number, remedy in differing(self._settings, lanes).items():
            log.warning("lanes_differ", number=number, remedy=remedy)
        self._own_lanes.note_pinned()

    async def close(self) -> None:
        """Stop tasks, readers and clients, after the app has stopped."""
        tasks = self._tick_task, self._account_task, self._reader_task, *self._login_tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._looks.close()
        self._handover.close_all()
        await self.ctx.delivery.close(CLOSE_S)
        await self.ctx.optouts.stop()
        await self._evidence.stop()
        await self._inbound_count.stop()
        await self._account_follower.stop()
        await self._suppressed.stop()
        await self.ctx.client.close()

    def _add_agents(self) -> None:
        """One for what is urgent, which waits for nothing, and one for the rest, which lets sending go first."""
        take = self._intake.take

        async def bring(stream: Any, pace: Callable[[], float]) -> None:
            async for records in batches(self.app, stream, PACE_RECORDS):
                for record in records:
                    take(
                        record.topic, record.partition, record.offset, int(record.timestamp * 1000),
                        record.key, record.value, record.headers,
                    )  # fmt: skip
                pause_s = pace()
                if pause_s:
                    await asyncio.sleep(pause_s)

        async def http_sender(stream: Any) -> None:
            await bring(stream, lambda: PACE_S if self._scheduling.has_plenty() else 0.0)

        async def http_sender_urgent(stream: Any) -> None:
            await bring(stream, lambda: 0.0)

        urgent, *others = READY
        self.app.agent(self.app.bytes_topic(*others, *DELAYED), name="http_sender")(http_sender)
        self.app.agent(self.app.bytes_topic(urgent), name="http_sender_urgent")(http_sender_urgent)

    # -- assignment --------------------------------------------------------------------------------------------------
    async def _assigned(self, partitions: frozenset[TP], generation: int) -> None:
        self._metrics.rebalances.inc()
        assigned = {tp.partition for tp in partitions}
        self._handover.forget_others(assigned)
        self._own_lanes.assigned(assigned, generation)
        self._looks.follow({lane.number for lane in self.ctx.lanes.values()})
        self._health.meet(ASSIGNED)

    async def _open(self, lane: Lane, generation: int) -> None:
        """Take a lane over, once it is known who is suppressed."""
        await self._suppressed.caught_up.wait()
        await self._takeover.open(lane, generation)

    async def _draining(self, _partitions: frozenset[TP], _generation: int) -> None:
        await self._handover.drain()

    async def _handing_over(self, _partitions: frozenset[TP], _generation: int) -> None:
        await self._handover.hand_over()

    async def _revoked(self, _partitions: frozenset[TP], _generation: int) -> None:
        self._own_lanes.revoked()
        self._handover.close_all()

    async def _account_known(self) -> None:
        """Ready once `account-state` was read to its end, however little there is on it."""
        await self._account_follower.caught_up.wait()
        self._health.meet(ACCOUNT)

    def _readers(self) -> dict[str, Reader]:
        """Whom every sender needs to hear: those who read beside the stream."""
        own: dict[str, Reader] = {"account-state": self._account_follower, "suppressions": self._suppressed}
        return {**own, **self.ctx.optouts.readers}

    def _hear(self) -> None:
        """`account-state` said something: most of it is looked at by lanes; which lanes there are is seen to here."""
        if self._own_lanes.follow():
            self._looks.follow({lane.number for lane in self.ctx.lanes.values()})
        self._wake_all()

    def _wake_all(self) -> None:
        for lane in self.ctx.lanes.values():
            self._scheduling.wake(lane)

    def _sister_wait_s(self, base_url: str) -> float:
        """How long other processes' halts hold a login at that host back."""
        now_ms = unix_ms()
        halt = self.ctx.account.sister_halt("", -1, "", base_url, now_ms, self.ctx.owner)
        return 0.0 if halt is None else (halt.until_ms - now_ms) / 1000

    def _has_token(self, number: str) -> None:
        self._looks.renewed(number)
        self._wake_number(number)

    def _wake_number(self, number: str) -> None:
        for lane in self.ctx.lanes.values():
            if lane.number == number:
                self._scheduling.wake(lane)

    def _crash_by(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        self._crashing = asyncio.ensure_future(self.app.crash(error))


def outlets(settings: Settings, on_fatal: Callable[[KafkaException], None]) -> Outlets:
    """The sender's producers: events do not stand in the way of the ledger, which the next request waits for.

    Args:
        on_fatal: Hears of one that can never write again.
    """
    kafka, loop = settings.kafka, asyncio.get_running_loop()
    events = Delivery(producer_conf(kafka, **{"linger.ms": EVENTS_LINGER_MS}), loop, EVENTS_POLL_S, on_fatal)
    return Outlets(Delivery(producer_conf(kafka), loop, on_fatal=on_fatal), {settings.topic("outbound-events"): events})
