"""The hardened consumer: what it does differently from Faust's is listed in `hardened.py`.

Talks to Kafka in a thread of its own; callbacks and hooks run on the main loop.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from confluent_kafka import KafkaException
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from pipeline.clock import steady_s
from pipeline.errors import InvariantBroken
from pipeline.logs import Repeats
from pipeline.streams.peek import first_record

log = structlog.get_logger(__name__)

FINAL_COMMIT_S = 5.0
GAP_LOOK_S = 0.5
FETCH_WAIT_MS, FETCH_WAIT_BUSY_MS = 200, 50
"""How long a broker waits for records to answer with. One request is on its way at a time, and leaves out partitions
of which something is not taken yet: what comes to these meanwhile must not wait for long."""
PREFETCH_BACKOFF_S = 0.02
"""How long nothing is fetched from a broker after an answer that is not taken yet; aiokafka's own is 0.1 s."""
ERROR_NONE, ERROR_REBALANCE_IN_PROGRESS = 0, 27


class HardenedConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka: renews the lease, takes what goes ahead first, assigns as asked to."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        if self.app.co_partitioned:
            consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        return consumer

    async def on_start(self) -> None:
        """Wrap the coordinator's requests, so that accepted heartbeats renew the lease."""
        await super().on_start()
        consumer = self._ensure_consumer()
        consumer._fetcher._prefetch_backoff = PREFETCH_BACKOFF_S
        coordinator = consumer._coordinator
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

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """Take what was fetched: of topics that go ahead first, then of each partition in turn.

        aiokafka empties one partition before it looks at the next: a code would wait for all of a backlog that came
        in the same answer.
        """
        fetched = consumer._fetcher._records
        ahead = {tp for tp in fetched if tp.topic in self.app.ahead and tp in active_partitions}
        if ahead:
            records = await super()._fetch_records(consumer, ahead, 0, max_records)
            if records:
                return records
        records = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        for tp in records:
            if tp in fetched:
                fetched.move_to_end(tp)
        consumer._fetcher._fetch_max_wait_ms = FETCH_WAIT_BUSY_MS if fetched else FETCH_WAIT_MS
        return records


class HardenedConsumer(driver.Consumer):
    """Commits by `Windows`, drains before a revoke, and wakes the fetcher when a partition is resumed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._paused_by_us: set[TP] = set()
        self._resumed = asyncio.Event()
        self._stored: dict[TP, int] = {}
        self._to_resume: set[TP] = set()

    # -- back-pressure, apart from that of Faust's own queues -----------------------------------------------------
    def pause(self, tp: TP) -> None:
        """Fetch no more of a partition, be it that its stream has not begun; what was fetched is still delivered."""
        self._paused_by_us.add(tp)
        self._buffered_partitions.add(tp)
        self._get_active_partitions().discard(tp)

    def resume(self, tp: TP) -> None:
        """Fetch it again, at once."""
        self._paused_by_us.discard(tp)
        self.on_buffer_drop(tp)

    def skip_to(self, tp: TP, offset: int) -> None:
        """Deliver a paused partition from here on; before the stream begins, `perform_seek` does it."""
        if tp in self.assignment() and tp not in self._paused_partitions:
            self._thread.seek(tp, offset)
            self._read_offset[tp] = offset or None

    def on_buffer_drop(self, tp: TP) -> None:
        """Faust's queue has drained: resume, unless the partition is paused by `pause`, or its stream has not begun."""
        if tp in self._paused_by_us:
            return
        if tp in self._paused_partitions:
            self._buffered_partitions.discard(tp)
            return
        super().on_buffer_drop(tp)
        self._resumed.set()
        thread = self._thread
        if thread is not None and thread._consumer is not None:
            with suppress(RuntimeError):  # its loop is closed when answers of Kafka still come after a crash
                thread.thread_loop.call_soon_threadsafe(_wake_fetch, thread._consumer)

    async def _wait_next_records(self, timeout: float) -> Any:
        if self.flow_active and self._buffered_partitions and not self._get_active_partitions():
            self._resumed.clear()
            try:  # the base class would sleep a whole second
                await asyncio.wait_for(self._resumed.wait(), 1.0)
            except TimeoutError:
                return {}, set()
        records, active = await super()._wait_next_records(timeout)
        if records:
            await self._unfetch(records, active)
        return records, active

    # -- nothing fetched is lost ---------------------------------------------------------------------------------------
    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume partitions; those of streams only with the next `resume_flow`.

        After a recovery Faust resumes them first, then seeks, then empties all queues, with the flow active all the
        while: what is fetched in between would be thrown away, and committed over.
        """
        later = {tp for tp in tps if not self._is_changelog_tp(tp)}
        self._to_resume |= later
        super().resume_partitions(set(tps) - later)

    def resume_flow(self) -> None:
        """Deliver again; Faust has emptied its queues by now."""
        super().resume_flow()
        later, self._to_resume = self._to_resume, set()
        super().resume_partitions(later)
        self._get_active_partitions().difference_update(self._paused_by_us)

    async def perform_seek(self) -> None:
        """Begin each stream partition where the group has committed, else at its beginning; behind what is known.

        Faust leaves a partition without a commit where its fetcher happens to stand, behind what it has dropped; and
        it asks for one partition after the other, seconds for many.
        """
        streams = [tp for tp in self.app.held if not self._is_changelog_tp(tp)]
        windows = self.app.windows
        known = {tp: windows.next_of(tp) for tp in streams}
        starts = await self._thread.call_thread(_seek_all, self._thread._consumer, known)
        for tp, start in starts.items():
            self._read_offset[tp] = max(start, known[tp]) or None
            self._committed_offset[tp] = start or None
            windows.expect((tp.topic, tp.partition), start)

    async def _unfetch(self, records: Any, active: set[TP] | None) -> None:
        """Go back to what was fetched, but would not be delivered: the base class drops it and goes on behind it."""
        for tp in list(records):
            is_wanted = active is None or tp in active or tp in self._buffered_partitions
            if (self.flow_active and is_wanted) or self._is_changelog_tp(tp):
                continue
            dropped = records.pop(tp)
            if tp in self.assignment():
                await self.seek(TP(*tp), dropped[0].offset)

    # -- commits -----------------------------------------------------------------------------------------------------
    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return [TP(*tp) for tp in self.app.windows.committable() if topics is None or tp in topics or tp[0] in topics]

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

    def is_at_end(self, tp: TP) -> bool:
        """Whether everything was delivered that the partition held at its last fetch; False: or that is not known."""
        end = self.highwater(tp) if tp in self.assignment() else None
        return end is not None and self.app.windows.next_of(tp) >= end

    # -- what the fetch watchdog asks ---------------------------------------------------------------------------------
    async def fetch_progress(self) -> Mapping[tuple[str, int], tuple[int, int]]:
        """Position and end of log of the partitions to be fetched now; none in a rebalance or a recovery."""
        if not self.flow_active or self.app.in_recovery:
            return {}
        wanted = [
            tp
            for tp in self.app.held
            if self.app.topics.acks_enabled_for(tp.topic) and tp not in self._buffered_partitions
        ]
        progress: Mapping[tuple[str, int], tuple[int, int]] = await self._thread.call_thread(
            _progress, self._thread._consumer, wanted
        )
        return progress

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
        self._to_resume.clear()
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
    async def _gap_watchdog(self) -> None:
        """A first record behind the place where reading began is proven to be the first, or the process ends.

        Transactions and retention leave such gaps; a record that the framework dropped would, too. Nothing of the
        partition is committed before it is known which.
        """
        repeats = Repeats()
        while not self.should_stop:
            await self.sleep(GAP_LOOK_S)
            for tp, expected, seen in self.app.windows.gaps():
                try:
                    first = await asyncio.to_thread(first_record, self.app.settings.kafka, tp, expected)
                except (KafkaException, TimeoutError) as exc:
                    if repeats.pass_now("gap", steady_s()) is not None:
                        log.warning("gap_check_waits_for_kafka", topic=tp[0], partition=tp[1], error=str(exc))
                    break
                if first < seen:
                    lost = f"{tp[0]}/{tp[1]}: record {first} was not delivered, {seen} was"
                    await self.app.crash(InvariantBroken(lost))
                    return
                self.app.windows.close_gap(tp)

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


def _wake_fetch(consumer: Any) -> None:
    """Else a resumed partition waits until the fetch call in progress times out."""
    fetcher = consumer._fetcher
    if fetcher is not None:
        for waiter in list(fetcher._fetch_waiters):
            fetcher._notify(waiter)


async def _seek_all(consumer: Any, known: dict[TP, int]) -> dict[TP, int]:
    """Go to where each partition is committed, or behind what is known of it; returns the former."""
    wanted = [tp for tp in known if tp in consumer.assignment()]
    committed = await consumer._coordinator.fetch_committed_offsets(wanted) if wanted else {}
    fresh = [tp for tp in wanted if tp not in committed or committed[tp].offset < 0]
    beginnings = await consumer.beginning_offsets(fresh) if fresh else {}
    starts = {tp: int(beginnings[tp] if tp in beginnings else committed[tp].offset) for tp in wanted}
    for tp, start in starts.items():
        consumer.seek(tp, max(start, known[tp]))
    return starts


async def _progress(consumer: Any, wanted: list[TP]) -> dict[tuple[str, int], tuple[int, int]]:
    ends = await consumer.end_offsets(wanted) if wanted else {}
    return {(tp.topic, tp.partition): (await consumer.position(tp), end) for tp, end in ends.items()}


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
