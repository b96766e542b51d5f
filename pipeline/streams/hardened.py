"""Faust 0.15.3, made safe: the only way that Faust is used here.

What its defaults would do, and what happens instead:
* It commits past unfinished records, and acknowledges what raised → commits cover only the gapless finished
  beginning of each partition, as `Windows` has it; Faust's own acknowledgements are not used.
* A rebalance forgets what is finished → drain (bounded), commit, hand over, in that order, before the base class.
* Coordinator errors park for ever, stops and commits can hang → watchdog, bounded final commit, exit deadline.
* A frozen process goes on sending → a lease from the sending time of accepted heartbeats.
* A resumed partition waits a second → the fetcher is woken; delivery of a record costs no task.

The consumer talks to Kafka in a thread of its own; hooks and everything else run on the main loop.
Private names of the pinned versions are used: `tests/unit/streams/test_hardened.py` checks each still exists.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import faust
import structlog
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from pipeline.clock import steady_s
from pipeline.config import KafkaSettings, Settings
from pipeline.errors import InvariantBroken
from pipeline.secrets import read_secret_file
from pipeline.streams.client import faust_broker, ssl_context
from pipeline.streams.deadline import ExitDeadline
from pipeline.streams.lease import Lease
from pipeline.streams.windows import Windows

log = structlog.get_logger(__name__)

REBALANCE_TIMEOUT_S = 30.0
DRAIN_S = 8.0
FINAL_COMMIT_S = 5.0
COMMIT_EVERY_S = 1.0
POLL_RECORDS = 200
BUFFER_RECORDS = 2000
FETCH_WAIT_MS = 500
ERROR_NONE, ERROR_REBALANCE_IN_PROGRESS = 0, 27

Hook = Callable[[frozenset[TP], int], Awaitable[None]]


async def _nothing(_partitions: frozenset[TP], _generation: int) -> None:
    return None


class HardenedConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka: renews the lease, installs a co-partitioning assignor if asked to."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        if self.app.co_partitioned:
            consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        return consumer

    async def on_start(self) -> None:
        """Wrap the coordinator's requests, so that accepted heartbeats renew the lease."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        send, lease = coordinator._send_req, self.app.lease

        async def send_and_renew(request: Any) -> Any:
            sent_at = steady_s()
            response = await send(request)
            kind, code = type(request).__name__, getattr(response, "error_code", None)
            if kind.startswith("HeartbeatRequest"):
                if code == ERROR_NONE:
                    lease.renew(sent_at)
                elif code == ERROR_REBALANCE_IN_PROGRESS:
                    lease.rebalance_began(sent_at)
                else:
                    lease.revoke()
            elif kind.startswith("SyncGroupRequest") and code == ERROR_NONE:
                lease.rebalance_ended(sent_at)
            return response

        coordinator._send_req = send_and_renew


class HardenedConsumer(driver.Consumer):
    """Commits by `Windows`, drains before a revoke, and wakes the fetcher when a partition is resumed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._paused_by_us: set[TP] = set()
        self._resumed = asyncio.Event()
        self._stored: dict[TP, int] = {}

    # -- back-pressure, apart from that of Faust's own queues -----------------------------------------------------
    def pause(self, tp: TP) -> None:
        """Fetch no more of a partition; what was fetched is still delivered."""
        self._paused_by_us.add(tp)
        self.on_buffer_full(tp)

    def resume(self, tp: TP) -> None:
        """Fetch it again, at once."""
        self._paused_by_us.discard(tp)
        self.on_buffer_drop(tp)

    def on_buffer_drop(self, tp: TP) -> None:
        """Faust's queue has drained: resume, unless the partition is paused by `pause`."""
        if tp in self._paused_by_us:
            return
        super().on_buffer_drop(tp)
        self._resumed.set()
        thread = self._thread
        if thread is not None and thread._consumer is not None:
            thread.thread_loop.call_soon_threadsafe(_wake_fetch, thread._consumer)

    async def _wait_next_records(self, timeout: float) -> Any:
        if self.flow_active and self._buffered_partitions and not self._get_active_partitions():
            self._resumed.clear()
            try:  # the base class would sleep a whole second
                await asyncio.wait_for(self._resumed.wait(), 1.0)
            except TimeoutError:
                return {}, set()
        return await super()._wait_next_records(timeout)

    # -- commits -----------------------------------------------------------------------------------------------------
    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return [TP(*tp) for tp in self.app.windows.partitions() if topics is None or tp in topics or tp[0] in topics]

    def _new_offset(self, tp: TP) -> int | None:
        position: int | None = self.app.windows.position(tp)
        return position

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return self._stored.get(tp, -1) < offset

    async def _commit(self, offsets: Any) -> bool:
        stored: bool = await super()._commit(offsets)
        if stored:
            self._stored.update(offsets)
        return stored

    def stored_offset(self, tp: TP) -> int | None:
        """The offset that Kafka accepted from us last."""
        return self._stored.get(tp)

    # -- rebalance ---------------------------------------------------------------------------------------------------
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Hand partitions over. The order keeps what was sent from being sent again by the next owner."""
        app, began = self.app, steady_s()
        given = frozenset(revoked)
        generation = self.group_generation()
        if given:
            # Step 1: take nothing new, finish what is on its way (bounded by the hook).
            await app.hooks_draining(given, generation)
            # Step 2: commit what is finished, while the broker still accepts it from us.
            committed = await self._commit_bounded()
            # Step 3: leave the next owner what it needs to know (marks).
            await app.hooks_handing_over(given, generation)
            log.info("handed_over", partitions=len(given), duration_s=steady_s() - began, committed=committed)
        # Step 4: let Faust forget them; then forget them ourselves.
        await super().on_partitions_revoked(revoked)
        self._paused_by_us.clear()
        self._buffered_partitions.clear()
        self._stored.clear()
        app.windows.forget_all()
        app.held = frozenset()
        await app.hooks_revoked(given, generation)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take partitions over: the hook runs before any record of them is delivered."""
        try:
            self._check_co_partitioned(assigned)
        except InvariantBroken as exc:
            await self.app.crash(exc)
            return
        self.app.held = frozenset(assigned)
        await self.app.hooks_assigned(frozenset(assigned), self.group_generation())
        await super().on_partitions_assigned(assigned, generation_id)

    def _check_co_partitioned(self, assigned: set[TP]) -> None:
        groups = self.app.co_partitioned
        if not groups or not assigned:
            return
        by_topic = {topic: {tp.partition for tp in assigned if tp.topic == topic} for topic in groups}
        if len({frozenset(partitions) for partitions in by_topic.values()}) != 1:
            raise InvariantBroken(f"lane topics were assigned apart: {by_topic}; all members must run this version")

    def group_generation(self) -> int:
        """Generation of the consumer group as this member knows it; -1: none."""
        consumer = getattr(self._thread, "_consumer", None)
        coordinator = getattr(consumer, "_coordinator", None)
        return int(getattr(coordinator, "generation", -1))

    async def _commit_bounded(self) -> bool:
        try:
            return bool(await asyncio.wait_for(self.force_commit(), FINAL_COMMIT_S))
        except Exception as exc:  # noqa: BLE001  whatever it is, the hand-over goes on; records come again
            log.warning("commit_at_hand_over_failed", error=repr(exc))
            return False

    # -- cheap delivery ----------------------------------------------------------------------------------------------
    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Deliver a record synchronously; only a delivery that really blocks pays for tasks."""
        if len(coros) != 2 or timeout is not None:
            return await super().wait_first(*coros, timeout=timeout)
        deliver, suspended = coros
        try:
            yielded = deliver.send(None)
        except StopIteration:
            suspended.close()
            return None
        except BaseException:
            suspended.close()
            raise
        return await super().wait_first(_rest(deliver, yielded), suspended)

    def _new_consumer_thread(self) -> HardenedConsumerThread:
        return HardenedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- watchdog ----------------------------------------------------------------------------------------------------
    @Service.task
    async def _coordinator_watchdog(self) -> None:
        """aiokafka parks coordinator errors until someone collects them; Faust never does."""
        while not self.should_stop:
            await self.sleep(1.0)
            consumer = getattr(self._thread, "_consumer", None)
            if consumer is None or consumer._coordinator is None:
                continue
            try:
                await self._thread.call_thread(_collect_errors, consumer)
            except Exception as exc:  # noqa: BLE001  any coordinator error ends the process
                if not self.app.should_stop:
                    await self.app.crash(exc)
                return


class HardenedTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = HardenedConsumer


class HardenedApp(faust.App):
    """A Faust app that loses nothing.

    Args:
        settings: Of the process.
        role: `gate` or `sender`; the group id is `<topic prefix>wapipe-<role>`.
        co_partitioned: Full names of topics whose partition n must always belong to one member; empty: Faust's
            own assignor, which keeps tables and topics together.
        options: Further Faust settings.
    """

    def __init__(self, settings: Settings, role: str, *, co_partitioned: tuple[str, ...] = (), **options: Any) -> None:
        kafka = settings.kafka
        self.settings = settings
        self.co_partitioned = co_partitioned
        self.windows = Windows()
        self.lease = Lease(kafka.session_timeout_s, REBALANCE_TIMEOUT_S, max(1.0, kafka.session_timeout_s * 0.2))
        self.hooks_assigned: Hook = _nothing
        self.hooks_draining: Hook = _nothing
        self.hooks_handing_over: Hook = _nothing
        self.hooks_revoked: Hook = _nothing
        self.on_restored: Callable[[int, float], None] = lambda _records, _seconds: None
        self.held: frozenset[TP] = frozenset()
        self.crash_reason_seen: BaseException | None = None
        self.ended = asyncio.Event()
        self.exit_deadline = ExitDeadline()
        Path(settings.storage.data_dir, role).mkdir(parents=True, exist_ok=True)
        super().__init__(f"{kafka.topic_prefix}wapipe-{role}", **{**faust_options(kafka, settings, role), **options})

    def bytes_topic(self, *names: str) -> Any:
        """A channel of raw bytes over topics, given by their names without the prefix."""
        return self.topic(
            *(self.settings.topic(name) for name in names),
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
        )  # fmt: skip

    def pause(self, tp: tuple[str, int]) -> None:
        """Fetch no more of a partition; nothing that was fetched is dropped."""
        self.consumer.pause(TP(*tp))

    def resume(self, tp: tuple[str, int]) -> None:
        """Fetch a paused partition again."""
        self.consumer.resume(TP(*tp))

    def committed(self, tp: tuple[str, int]) -> int | None:
        """What this process committed for a partition in this assignment; None: nothing yet."""
        stored: int | None = self.consumer.stored_offset(TP(*tp))
        return stored

    async def crash(self, reason: BaseException) -> None:
        """End this process: nothing more is acknowledged, a supervisor starts it anew."""
        if self.crash_reason_seen is None:
            self.crash_reason_seen = reason
            log.error("crashed", error=repr(reason), exc_info=reason)
        self.exit_deadline.arm("crash", code=70)
        self.ended.set()
        await super().crash(reason)

    async def on_stop(self) -> None:
        """Drain, commit and leave the group, each within its bound."""
        self.exit_deadline.arm("stop", code=71)
        if self._consumer is not None and self.crash_reason_seen is None:
            held = self.held
            generation = self.consumer.group_generation()
            await self.hooks_draining(held, generation)
            await self.consumer._commit_bounded()
            await self.hooks_handing_over(held, generation)
        await super().on_stop()

    def _new_transport(self) -> HardenedTransport:
        return HardenedTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> HardenedTransport:
        return HardenedTransport(self.conf.broker_producer, self)


def faust_options(kafka: KafkaSettings, settings: Settings, role: str) -> dict[str, Any]:
    """Faust's settings: dynamic members, short sessions, no topic creation, no web server, everything raw."""
    options: dict[str, Any] = {
        "broker": faust_broker(kafka),
        "version": 1,
        "env_prefix": "WAPIPE_FAUST_UNUSED_",
        "datadir": str(Path(settings.storage.data_dir).absolute() / role),
        "value_serializer": "raw",
        "key_serializer": "raw",
        "stream_wait_empty": False,
        "stream_buffer_maxsize": BUFFER_RECORDS,
        "broker_max_poll_records": POLL_RECORDS,
        "broker_commit_interval": COMMIT_EVERY_S,
        "broker_max_poll_interval": 2_000_000.0,
        "broker_session_timeout": kafka.session_timeout_s,
        "broker_heartbeat_interval": 1.0,
        "broker_rebalance_timeout": REBALANCE_TIMEOUT_S,
        "broker_request_timeout": max(60.0, kafka.session_timeout_s),
        "producer_request_timeout": 30.0,
        "producer_acks": -1,
        "consumer_auto_offset_reset": "earliest",
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "agent_supervisor": "mode.CrashingSupervisor",
        "web_enabled": False,
        "worker_redirect_stdouts": False,
    }
    context = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL") and kafka.sasl_password_file is not None:
        options["broker_credentials"] = faust.SASLCredentials(
            username=kafka.sasl_username,
            password=read_secret_file("kafka.sasl_password_file", kafka.sasl_password_file),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    elif context is not None:
        options["broker_credentials"] = faust.SSLCredentials(context=context)
    return options


def _wake_fetch(consumer: Any) -> None:
    """Else a resumed partition waits until the fetch call in progress times out."""
    fetcher = consumer._fetcher
    if fetcher is not None:
        for waiter in list(fetcher._fetch_waiters):
            fetcher._notify(waiter)


async def _collect_errors(consumer: Any) -> None:
    consumer._coordinator.check_errors()


async def _rest(coro: Coroutine[Any, Any, Any], yielded: Any) -> Any:
    return await _continued(coro, yielded)


@types.coroutine
def _continued(coro: Coroutine[Any, Any, Any], yielded: Any) -> Any:
    """Await the rest of a coroutine that was already driven to its first suspension."""
    while True:
        try:
            sent = yield yielded
        except BaseException as exc:  # noqa: BLE001  handed on to the coroutine it was meant for
            try:
                yielded = coro.throw(exc)
            except StopIteration as stop:
                return stop.value
        else:
            try:
                yielded = coro.send(sent)
            except StopIteration as stop:
                return stop.value
