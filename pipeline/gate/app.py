"""The gate as a Faust app: four tables, four agents, one worker, and what happens when partitions come and go.

The agents' bodies only append; the worker's tasks do the work, all on the main loop. The tables' changelogs *are* the
topics `consent`, `service-windows`, `suppressions` and `recipient-aliases`: the gate writes those topics itself and
reads the tables, Faust keeps them live because their recovery buffer is one record. Faust delivers no record to an
agent before the tables have caught up. Suppressions are a table, too (senders follow the topic): it is restored before
anything is judged, however many people stand on it, and a gate judges on top of what it wrote a moment ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException
from faust.types import TP

from pipeline.clock import rfc3339, steady_s, unix_ms
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable
from pipeline.gate.confirmation import REQUESTS
from pipeline.gate.ends import EndsReader
from pipeline.gate.erased import CONSENT, ErasedSweep
from pipeline.gate.holds import Holds
from pipeline.gate.inbound import SUPPRESSIONS, WINDOWS, InboundJudge
from pipeline.gate.item import DEAD_LETTER, Kind
from pipeline.gate.people import ALIASES, People
from pipeline.gate.remerge import Remerge
from pipeline.gate.requests import INBOUND, UPDATES, RequestJudge
from pipeline.gate.settling import Settling
from pipeline.gate.state import AccountFacts
from pipeline.gate.telling import EVENTS
from pipeline.gate.tiers import Tiers
from pipeline.gate.updates import CONSENT_EVENTS, UpdateJudge
from pipeline.gate.view import View
from pipeline.gate.windows import is_windows
from pipeline.gate.worker import BATCH_RECORDS, Judges, Worker
from pipeline.health import Health
from pipeline.metrics import Metrics
from pipeline.records.alias import is_alias
from pipeline.records.consent_rule import is_consent
from pipeline.records.lanes import lanes_key, parse_lanes
from pipeline.records.layout import KEY as LAYOUT
from pipeline.records.layout import Layout, parse_layout
from pipeline.records.tier import COUNTED_MS
from pipeline.records.tier import TOPIC as TIERS
from pipeline.streams.batches import batches
from pipeline.streams.client import EVENTS_LINGER_MS, EVENTS_POLL_S, producer_conf
from pipeline.streams.delivery import Delivery
from pipeline.streams.follow import Follower
from pipeline.streams.hardened import DRAIN_S, HardenedApp
from pipeline.streams.lease import Lease
from pipeline.streams.outlets import Outlets
from pipeline.streams.peek import first_record
from pipeline.streams.progress import Progress
from pipeline.streams.restore import BulkTableManager, rocksdb_options
from pipeline.streams.topics import DELAYED, READY, retention_ms
from pipeline.streams.watchdog import ReaderWatchdog
from pipeline.tracing import OFF, Tracing
from pipeline.whatsapp.suppression import is_suppression

log = structlog.get_logger(__name__)

URGENT: Final = "outbound-requests-urgent"
ENTRANCES: Final[dict[str, Kind]] = {
    URGENT: "urgent", UPDATES: "update", INBOUND: "inbound", "outbound-requests": "normal",
}  # fmt: skip
WRITTEN: Final = (
    *READY, *DELAYED, EVENTS, CONSENT, CONSENT_EVENTS, WINDOWS, SUPPRESSIONS, ALIASES, TIERS, DEAD_LETTER, REQUESTS,
)  # fmt: skip
ACCOUNT: Final = "account-state"
WITHOUT_GAPS: Final[dict[str, Any]] = {"message.timeout.ms": 0, "enable.gapless.guarantee": True}
CHANGELOG_QUEUE: Final = 131_072
RECOVERED: Final = "tables"
ASSIGNED: Final = "assignment"
CLOSE_S: Final = 3.0
HEAR_EVERY_S: Final = 0.05


class Gate:
    """The role's parts on a running loop.

    Args:
        partitions: Number of recipient partitions, as the broker has them.
        layout: What is known of that number; None: nothing, it is taken as it is.

    Attributes:
        app: To be run by `run_role`.
        worker: For tests and figures.
        is_out_of_date: Whether recipients' partitions or a number's lanes are being changed, or have been.
    """

    def __init__(
        self, settings: Settings, partitions: int, metrics: Metrics, health: Health, tracing: Tracing = OFF,
        layout: Layout | None = None,
    ) -> None:  # fmt: skip
        self.is_out_of_date = False
        self._partitions = partitions
        self._lanes_seen: dict[str, Mapping[str, Any]] = {}
        self.app = HardenedApp(
            settings, "gate", ahead=(settings.topic(URGENT),), store="rocksdb://", TableManager=BulkTableManager
        )
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._crashing: asyncio.Future[None] | None = None
        self._ends = EndsReader(settings, self.app.conf.id)
        self._outlets = outlets(settings, self._crash)
        consents = self._view(CONSENT, partitions, is_consent)
        windows = self._view(WINDOWS, partitions, is_windows)
        suppressions = self._view(SUPPRESSIONS, partitions, is_suppression)
        aliases = self._view(ALIASES, partitions, is_alias)
        people = People(partitions, aliases, consents)
        account = AccountFacts()

        def learn(batch: list[Any]) -> None:
            account.apply(batch)
            self._check_layout(account.get(LAYOUT))
            self._check_lanes(account)

        self._follower = Follower(settings.kafka, settings.topic(ACCOUNT), learn, asyncio.get_running_loop())
        tiers, since_ms = Tiers(settings, partitions, account, metrics), unix_ms() - COUNTED_MS
        self._tiers_follower = Follower(
            settings.kafka, settings.topic(TIERS), tiers.apply, asyncio.get_running_loop(), since_ms
        )
        holds = Holds(settings, account, tiers)
        judges = Judges(
            RequestJudge(settings, consents, windows, suppressions, account, people, metrics, holds),
            UpdateJudge(settings, consents, windows, suppressions, people, metrics),
            InboundJudge(settings, windows, suppressions, people, metrics, consents),
            consents,
            (consents, windows, suppressions, aliases),
        )
        # A frozen process may not finish what it took before: as long as its producer may write, less than a session.
        store_s = settings.kafka.session_timeout_s - 1
        self.worker = Worker(
            self.app, judges, self._outlets, settings.topic, self._ends.ask, metrics, store_s=store_s, tracing=tracing
        )
        settling = self._settling(layout)
        self._remerge = Remerge(settings, self.worker, self._ends.ask, self._task)
        self._erased = ErasedSweep(
            settings.topic(CONSENT), retention_ms(settings, UPDATES) or 0, self._entries, self.worker, self._task
        )
        for topic, kind in ENTRANCES.items():
            self._add_agent(topic, kind)
        self._hook()
        readers = {ACCOUNT: self._follower, TIERS: self._tiers_follower}
        watchdog = ReaderWatchdog(lambda: readers, lambda: self.app.lease.valid, self.app.crash)
        self._tasks = [
            self._task(self.worker.run(), "gate-worker"),
            self._task(self.worker.asker.run(), "gate-ends"),
            self._task(watchdog.run(), "gate-readers"),
            self._task(
                Progress(metrics, health, "worker").watch(lambda: work_of(self.worker, self.app.lease)), "gate-progress"
            ),
            *([self._task(settling.run(), "gate-settling")] if settling is not None else []),
        ]

    async def warm_up(self) -> None:
        """Fetch the metadata of what will be written, and read `account-state` and `tier-recipients` to their ends.

        Raises:
            BrokerUnreachable: no broker answered in time.
        """
        kafka = self._settings.kafka
        followers = {ACCOUNT: self._follower, TIERS: self._tiers_follower}
        for follower in followers.values():
            follower.start()
        topics = [self._settings.topic(name) for name in WRITTEN]
        try:
            await asyncio.to_thread(self._outlets.warm_up, topics, kafka.startup_timeout_s)
            async with asyncio.timeout(kafka.startup_timeout_s):
                for follower in followers.values():
                    await follower.caught_up.wait()
        except TimeoutError as exc:
            unread = [name for name, follower in followers.items() if not follower.caught_up.is_set()]
            why = f"{', '.join(unread)}: not read to the end within {kafka.startup_timeout_s:g} s"
            raise BrokerUnreachable(f"{kafka.bootstrap_servers}: {why}") from exc

    async def close(self) -> None:
        """Stop the tasks and the clients, after the app has stopped."""
        await self._remerge.stop()
        await self._erased.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._follower.stop()
        await self._tiers_follower.stop()
        await self._outlets.close(CLOSE_S)
        await asyncio.to_thread(self._ends.close)

    # -- more partitions -----------------------------------------------------------------------------------------------
    def _check_layout(self, value: Mapping[str, Any] | None) -> None:
        """Stop if the recipients' partitions are being changed: nothing may be judged or written by the old count."""
        layout = parse_layout(value)
        if layout is None or (layout.is_open and layout.partitions == self._partitions) or self.is_out_of_date:
            return
        self.is_out_of_date = True
        log.warning("gate_stops_for_scaling", partitions=self._partitions, target=layout.target, step=layout.step)
        self.app.ended.set()

    def _check_lanes(self, account: AccountFacts) -> None:
        """Stop if a number gets other lanes: what is judged from then on goes there."""
        for number, own in self._settings.numbers.items():
            value = account.get(lanes_key(number))
            if value is None or value is self._lanes_seen.get(number) or self.is_out_of_date:
                continue
            self._lanes_seen[number] = value
            lanes = parse_lanes(value)
            if lanes is None or (lanes.step != "pause" and list(lanes.written) == (own.partitions or [0])):
                continue
            self.is_out_of_date = True
            log.warning("gate_stops_for_lanes", number=number, step=lanes.step, target=lanes.target)
            self.app.ended.set()

    async def _hear_layout(self) -> None:
        """Wait until everything is known that `account-state` said before the partitions were assigned."""
        assigned_s = steady_s()
        while self._follower.lag_s(now_s := steady_s()) > now_s - assigned_s and not self.is_out_of_date:
            await asyncio.sleep(HEAR_EVERY_S)

    def _settling(self, layout: Layout | None) -> Settling | None:
        until_ms = layout.settling_until_ms if layout is not None else None
        kept_ms = retention_ms(self._settings, "outbound-requests") or 0
        if layout is None or until_ms is None or until_ms + kept_ms <= unix_ms():
            return None
        before = layout.earlier[-1]
        log.info("requests_settle", partitions_before=before, partitions=self._partitions, until=rfc3339(until_ms))
        return self.worker.settle(before, until_ms, partial(first_record, self._settings.kafka))

    # -- tables ------------------------------------------------------------------------------------------------------
    def _view(self, name: str, partitions: int, is_sound: Callable[[Mapping[str, Any]], bool]) -> View:
        topic = self.app.topic(
            self._settings.topic(name),
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", partitions=partitions,
            compacting=True, acks=False, internal=True, allow_empty=True, maxsize=CHANGELOG_QUEUE,
        )  # fmt: skip
        table = self.app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            changelog_topic=topic,
            recovery_buffer_size=1,
            options=rocksdb_options(),
        )
        if name == CONSENT:
            table.on_recover(self._recovered)
        store = table.data
        full = self._settings.topic(name)

        def read(partition: int, key: bytes) -> bytes | None:
            value: bytes | None = store._db_for_partition(partition).get(key)
            return value

        def applied(partition: int) -> int:
            offset: int | None = store.persisted_offset(TP(full, partition))
            return -1 if offset is None else offset

        return View(read, applied, is_sound)

    def _entries(self, partition: int, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """What the consent table holds of a partition, from a key on; Faust's own keys are among it."""
        store = self.app.tables[CONSENT].data
        yield from store._db_for_partition(partition).items(from_key=after)

    def _add_agent(self, topic: str, kind: Kind) -> None:
        accept = self.worker.accept

        async def bring(stream: Any) -> None:
            async for records in batches(self.app, stream, BATCH_RECORDS):
                for record in records:
                    accept(kind, topic, record)

        self.app.agent(self.app.bytes_topic(topic), name=f"gate-{topic}")(bring)

    # -- assignment ----------------------------------------------------------------------------------------------------
    def _hook(self) -> None:
        async def assigned(partitions: frozenset[TP], _generation: int) -> None:
            self._metrics.rebalances.inc()
            await self._hear_layout()
            if self.is_out_of_date:
                return
            self._health.meet(ASSIGNED)
            if not partitions:
                self._health.meet(RECOVERED)  # a spare has nothing to restore
            self.worker.open()
            own = sorted(tp.partition for tp in partitions if tp.topic == self._settings.topic(UPDATES))
            self._remerge.assigned(own)
            self._erased.assigned(own)

        async def draining(_partitions: frozenset[TP], _generation: int) -> None:
            await self._remerge.stop()
            await self._erased.stop()
            await self.worker.drain(DRAIN_S)

        async def revoked(_partitions: frozenset[TP], _generation: int) -> None:
            self._health.miss(ASSIGNED, "no partitions")
            self._health.miss(RECOVERED, "tables are being restored")
            self.worker.forget()

        self.app.hooks_assigned = assigned
        self.app.hooks_draining = draining
        self.app.hooks_revoked = revoked
        self.app.on_restored = self._restored

    def _restored(self, records: int, seconds: float) -> None:
        self._metrics.consent_restore_seconds.set(seconds)
        log.info("tables_restored", records=records, seconds=round(seconds, 3))

    async def _recovered(self) -> None:
        self._health.meet(RECOVERED)
        self._remerge.recovered()
        self._erased.recovered()

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task of ours ended: by `close`, or by a bug that must not go unseen."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        self._crashing = asyncio.ensure_future(self.app.crash(error))


def work_of(worker: Worker, lease: Lease) -> tuple[int, bool]:
    """What was finished, and whether there is more; without Kafka there is nothing that a gate could get on with."""
    return worker.finished, worker.in_hand > 0 and lease.valid


def outlets(settings: Settings, on_fatal: Callable[[KafkaException], None]) -> Outlets:
    """The gate's producers; `on_fatal` hears of one that can never write again.

    A producer with a message time-out gives a record up and goes on with the next one: a request would overtake an
    earlier one of its recipient, which comes again only after a restart. So whatever has an order goes through a
    producer without a time-out: what it stores of a partition is always the beginning of what it was given. The worker
    ends the process when that takes too long. The tables' topics have no order that matters, as merging decides by
    date, but a frozen process must not write an old state late: their producer's time-out is below the group's session.
    """
    kafka, loop = settings.kafka, asyncio.get_running_loop()
    in_time = Delivery(producer_conf(kafka), loop, on_fatal=on_fatal)
    patient = producer_conf(kafka, **WITHOUT_GAPS, **{"linger.ms": EVENTS_LINGER_MS})
    events = Delivery(patient, loop, EVENTS_POLL_S, on_fatal)
    own = {settings.topic(name): in_time for name in (CONSENT, WINDOWS, SUPPRESSIONS, ALIASES, TIERS)} | {
        settings.topic(EVENTS): events
    }
    return Outlets(Delivery(producer_conf(kafka, **WITHOUT_GAPS), loop, on_fatal=on_fatal), own)
