"""Taking a lane over: nothing is sent before its history is read. One task per lane; the numbered steps are the order.

Heartbeats go on meanwhile, as this does not run inside the assignment callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

import structlog
from confluent_kafka import KafkaException

from pipeline.errors import InvariantBroken
from pipeline.logs import Repeats
from pipeline.records.ledger import ledger_record
from pipeline.sender.attempt_age import AGE_MIN_S
from pipeline.sender.collector import Collector
from pipeline.sender.context import KAFKA_RETRY_S, Context
from pipeline.sender.finish import Finish
from pipeline.sender.intake import Intake
from pipeline.sender.lane import BROKER_SKEW_S, DELAYED_WINDOW_HIGH, Lane
from pipeline.sender.ledger_state import PAIR_MEMORY_MS, LedgerState
from pipeline.sender.optouts import heard_ms
from pipeline.sender.replay import LedgerReader, Standing
from pipeline.sender.scheduling import Scheduling
from pipeline.streams.follow import Follower
from pipeline.streams.partition import shard_of
from pipeline.streams.topics import DELAYED, READY
from pipeline.throttle.bucket import Bucket, inherited_tokens

log = structlog.get_logger(__name__)

INTAKE_LOOK_S = 0.02
LONG_HISTORY_RECORDS = 10_000
"""From here on the cycle collector costs more than a moment."""
READ_RECORDS = 10_000
"""Of a delayed topic at a time: so many are held twice for a moment."""
TAKE_RECORDS = 200
"""Taken in within one step of the loop: some 10 ms."""


class Takeover:
    """Opens lanes."""

    def __init__(
        self, ctx: Context, finish: Finish, scheduling: Scheduling, intake: Intake, reader: LedgerReader,
        account_follower: Follower, group: str,
    ) -> None:  # fmt: skip
        self._ctx, self._finish, self._scheduling, self._intake = ctx, finish, scheduling, intake
        self._reader, self._account_follower, self._group = reader, account_follower, group
        self._collector = Collector()
        self._ready = [ctx.settings.topic(name) for name in READY]
        self._delayed = [ctx.settings.topic(name) for name in DELAYED]

    async def open(self, lane: Lane, group_generation: int) -> None:
        """Take a lane over.

        Raises:
            AssignmentLost: the lane was closed meanwhile.
        """
        began_s = self._ctx.steady_s()
        for topic in self._delayed:
            self._ctx.stream.pause((topic, lane.partition))  # until step 4 has read them
        await self._account_follower.caught_up.wait()
        # Step 1: read the ledger from the mark, or from the dedupe window, whichever comes first; or read on.
        kept = self._ctx.kept.pop(lane.partition, None)
        state, end = await self._until_kafka_answers(lane, self._history, lane, kept)
        is_ours = False
        while not is_ours:
            # Step 2: from here on our generation acts. A group that was made anew counts from 1 again: go on from the
            # ledger's number, so that what we write is not taken for a predecessor's.
            lane.generation = max(group_generation, (state.generation or 0) + 1)
            opened = ledger_record("opened", lane.generation, owner=self._ctx.owner)
            receipt = await self._finish.write_unread(lane, opened)
            opened_s = self._ctx.steady_s()
            # Step 3: what predecessors wrote between our reading and our opening; if one took our number, once more.
            end = await self._until_kafka_answers(lane, self._read_on, lane, state, end, receipt.offset + 1)
            if state.generation != lane.generation:
                raise InvariantBroken(f"{lane.key}: generation {state.generation} acts, ours is {lane.generation}")
            is_ours = state.opened_by(lane.generation) == receipt.offset
        lane.ledger = state
        lane.tail_offset = receipt.offset + 1
        # Step 4: who waits. Nothing goes before the delayed topics are read to their end.
        standings = await self._until_kafka_answers(lane, self._standings, lane)
        if await self._read_delayed(lane, standings):
            drop_written_events(state, standings, self._copied(lane))
        await self._unknown_read(lane, standings)
        # Step 5: the bucket, empty at the last attempt's broker time and refilled since; pair buckets likewise.
        self._fill_buckets(lane, receipt.timestamp_ms, opened_s)
        # Step 6: records that came meanwhile become jobs; ids of unknown outcome hold their chains.
        heard = (heard_ms(early.message) for early in lane.early)
        self._ctx.optouts.require(min(heard, default=receipt.timestamp_ms))
        lane.is_open, lane.opened_s = True, self._ctx.steady_s()
        self._intake.open(lane)
        log.info(
            "lane_opened",
            lane=lane.key,
            generation=lane.generation,
            ids=len(lane.ledger.ids),
            jobs=len(lane.jobs),
            unknown=len(lane.unknown),
            tokens=round(lane.bucket.tokens(self._ctx.steady_s()), 1),
            duration_ms=round((self._ctx.steady_s() - began_s) * 1000),
        )
        self._scheduling.wake(lane)

    async def _until_kafka_answers(self, lane: Lane, work: Any, *args: Any) -> Any:
        repeats = Repeats()
        while True:
            await self._ctx.ours(lane)
            try:
                return await asyncio.to_thread(work, *args)
            except (KafkaException, TimeoutError) as exc:
                if repeats.pass_now("takeover", self._ctx.steady_s()) is not None:
                    log.warning("takeover_waits_for_kafka", lane=lane.key, error=str(exc))
                await asyncio.sleep(KAFKA_RETRY_S)

    def _history(self, lane: Lane, kept: LedgerState | None) -> tuple[LedgerState, int]:
        """Fold the ledger into a state; blocks, in a thread."""
        if kept is not None:
            end = self._reader.end(lane.partition)
            return kept, self._read_on(lane, kept, kept.next_offset, end)
        window_ms = int(self._ctx.settings.sender.dedupe_window_s * 1000)
        if lane.pairs is not None:
            window_ms = max(window_ms, PAIR_MEMORY_MS)
        start, end = self._reader.begin_and_end(lane.partition, window_ms)
        mark = self._ctx.account.mark(lane.key, lane.partition)
        state = LedgerState()
        if mark is not None:
            needed, generation, last_ms = mark
            if needed <= start:
                start, state = needed, LedgerState(generation)
            state.last_attempt_ms = last_ms
        is_long = end - start >= LONG_HISTORY_RECORDS
        with self._collector.paused() if is_long else nullcontext():
            self._reader.read(lane.partition, start, end, state.apply)
            self._inherit(lane, state, window_ms)
        return state, end

    def _inherit(self, lane: Lane, state: LedgerState, window_ms: int) -> None:
        """Learn what was sent on lanes that the number had before, as long as it may come again. Blocks, in a thread.

        A gate that was killed may have had messages written to a lane of before whose source it judges once more.
        """
        lanes = self._ctx.account.lanes.get(lane.number)
        if lanes is None or lane.partition not in lanes.partitions:
            return
        shards, now_ms = len(lanes.partitions), self._ctx.unix_ms()
        for partition in [p for one in lanes.earlier if now_ms < one.closed_ms + window_ms for p in one.partitions]:
            earlier, persons = self._read_earlier(partition, window_ms)
            own = [one for one, person in persons.items() if shard_of(person, shards) == lane.shard]
            state.inherit(earlier, own, {persons[one] for one in own})

    def _read_earlier(self, partition: int, window_ms: int) -> tuple[LedgerState, dict[str, str]]:
        """What a ledger says, and the person of each request id on it."""
        state, persons = LedgerState(), dict[str, str]()

        def apply(record: dict[str, Any], offset: int, timestamp_ms: int) -> None:
            state.apply(record, offset, timestamp_ms)
            if record["recipient"] is not None:
                persons[record["request_id"]] = record["recipient"]

        self._reader.read(partition, *self._reader.begin_and_end(partition, window_ms), apply)
        return state, persons

    def _read_on(self, lane: Lane, state: LedgerState, start: int, end: int) -> int:
        """Fold what was written since; after a failure, from where it broke off. Blocks, in a thread."""
        return self._reader.read(lane.partition, max(start, state.next_offset), end, state.apply)

    def _standings(self, lane: Lane) -> dict[str, Standing]:
        return self._reader.standings(self._group, [*self._ready, *self._delayed], lane.partition)

    async def _read_delayed(self, lane: Lane, standings: dict[str, Standing]) -> bool:
        """Take in what waits on the delayed topics; False: there is more on them than a window holds.

        They are read here, in batches, as the stream needs many times as long to bring a record. It goes on where this
        ends: all that stands before is in its windows, and what it should bring twice is known there.
        """
        whole, stream = True, self._ctx.stream
        for topic in self._delayed:
            tp, position, end = (topic, lane.partition), standings[topic].committed, standings[topic].end
            while position < end:
                window = stream.windows.of(tp)
                room = DELAYED_WINDOW_HIGH - (len(window) if window is not None else 0)
                if room <= 0:
                    whole = False
                    break
                until = min(end, position + min(room, READ_RECORDS))
                read = self._reader.messages
                batch, position = await self._until_kafka_answers(lane, read, topic, lane.partition, position, until)
                await self._take(lane, tp, batch)
            await self._ctx.ours(lane)
            stream.skip_to(tp, position)
            if tp not in lane.paused:
                stream.resume(tp)
        return whole

    async def _take(self, lane: Lane, tp: tuple[str, int], batch: list[Any]) -> None:
        for first in range(0, len(batch), TAKE_RECORDS):
            await self._ctx.ours(lane)  # the partition may have got another lane meanwhile
            for message in batch[first : first + TAKE_RECORDS]:
                self._intake.take(
                    *tp, message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers()
                )
            await asyncio.sleep(0)

    def _copied(self, lane: Lane) -> set[str]:
        delayed = self._scheduling.is_delayed
        return {early.message.request_id for early in lane.early if delayed(early.place[0])}

    async def _unknown_read(self, lane: Lane, standings: dict[str, Standing]) -> None:
        """Wait until messages of unknown outcome are in memory: they hold their chain, on v1 their recipient.

        Their records are uncommitted, so they are among the first of their topics; a full window ends the wait.
        """
        missing = set(lane.ledger.unknown_ids())
        while missing:
            missing.difference_update(early.message.request_id for early in lane.early)
            if not missing or not any(self._comes_more(lane, topic, standings[topic]) for topic in self._ready):
                return
            await self._ctx.ours(lane)
            await asyncio.sleep(INTAKE_LOOK_S)

    def _comes_more(self, lane: Lane, topic: str, standing: Standing) -> bool:
        tp = (topic, lane.partition)
        if tp in lane.paused or standing.end <= standing.committed:
            return False
        window = self._ctx.stream.windows.of(tp)
        return window is None or window.last_opened is None or window.last_opened < standing.end - 1

    def _fill_buckets(self, lane: Lane, opened_ms: int, opened_s: float) -> None:
        last_ms = lane.ledger.last_attempt_ms
        slack_s = BROKER_SKEW_S + AGE_MIN_S  # a request may leave so much later than its attempt was stamped
        tokens = inherited_tokens(
            last_attempt_s=last_ms / 1000 if last_ms is not None else None,
            opened_s=opened_ms / 1000,
            limit=lane.limit,
            slack_s=slack_s,
        )
        lane.bucket = Bucket(lane.limit, tokens=tokens, now_s=opened_s)
        if lane.pairs is not None:
            for recipient, times in lane.ledger.recent_pairs(opened_ms).items():
                left_s = [min(opened_s, opened_s - (opened_ms - at_ms) / 1000 + slack_s) for at_ms in times]
                lane.pairs.seed(recipient, left_s, opened_s)


def drop_written_events(state: LedgerState, standings: dict[str, Standing], waiting: Collection[str]) -> None:
    """Forget events that were written: those of settled requests of which no record is left.

    Args:
        waiting: Ids with an uncommitted copy on a delayed topic. That the record they were settled from is committed
            tells nothing of their events: it may have been acknowledged because of the copy.
    """
    for request_id, known in state.ids.items():
        if known.settled and known.place is not None and request_id not in waiting:
            standing = standings.get(known.place[0])
            if standing is not None and known.place[2] < standing.committed:
                known.event = None
