"""Giving lanes up in order, and the marks that shorten the next owner's reading.

stop → finish what is in flight → settle → (commit, by the stream) → mark → closed
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import structlog
from confluent_kafka import KafkaException

from pipeline.clock import rfc3339
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.sender.context import Context
from pipeline.sender.evidence import LOOK_BACK_MS
from pipeline.sender.lane import Lane

log = structlog.get_logger(__name__)

DRAIN_S = 12.0
"""Longer than a request may take (10 s), shorter than the group waits for a member (30 s)."""
LOOK_S = 0.01
MARK_TIMEOUT_S = 3.0


class Handover:
    """Drains and marks."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def drain(self) -> None:
        """Start nothing new and let end what is on its way; one deadline covers all waits."""
        lanes = list(self._ctx.lanes.values())
        for lane in lanes:
            lane.draining = True
        end_s = self._ctx.steady_s() + DRAIN_S
        while any(self._ends_yet(lane) for lane in lanes) and self._ctx.steady_s() < end_s:
            await asyncio.sleep(LOOK_S)
        left = sum(len(lane.tasks) for lane in lanes if lane.is_open)
        if left:
            log.warning("drain_unfinished", tasks=left)

    def _ends_yet(self, lane: Lane) -> bool:
        """Whether something of the lane may still come to an end: what waits for a lease that is lost does not."""
        held_up = 0 if self._ctx.stream.lease.valid else lane.held_up
        return lane.is_open and len(lane.tasks) > held_up

    async def mark_all(self) -> None:
        """Leave a mark for each lane."""
        for lane in self._ctx.lanes.values():
            if lane.is_open:
                await self.mark(lane)

    async def hand_over(self) -> None:
        """Leave the marks, then act no more: the group may give the lanes away, whatever the lease says."""
        await self.mark_all()
        self.close_all()

    def close_all(self) -> None:
        """Nothing may be done for these lanes any more, but to write down an answer that still comes."""
        for lane in self._ctx.lanes.values():
            # With a write whose fate is open, or others' records in between, the memory may differ from the log.
            if lane.is_open and not lane.tasks and not lane.unknown and self._ctx.may_act(lane):
                self._ctx.kept[lane.partition] = lane.ledger
            lane.closed = True
            if lane.timer is not None:
                lane.timer.cancel()
            # Whoever owns it now says how it stands.
            self._ctx.metrics.forget_lanes(lane.number)
        self._ctx.lanes.clear()

    def forget_others(self, partitions: Collection[int]) -> None:
        """Lanes were assigned: what is kept of any other one is of no use here."""
        for partition in self._ctx.kept.keys() - set(partitions):
            del self._ctx.kept[partition]

    async def mark(self, lane: Lane) -> None:
        """Publish from where the next owner must read the ledger. An old mark only makes that longer."""
        needed = self.needed(lane)
        generation = lane.ledger.generation_at(needed)
        if generation is None or not self._ctx.may_act(lane):
            return
        value = {
            "kind": "lane",
            "id": lane.key,
            "aspect": "mark",
            "needed": needed,
            "generation": generation,
            "last_attempt_ms": lane.ledger.last_attempt_ms,
            "partition": lane.partition,
            "at": rfc3339(self._ctx.unix_ms()),
            "by": self._ctx.owner,
        }
        topic = self._ctx.settings.topic("account-state")
        sent = self._ctx.delivery.send(topic, encode(value), f"lane:{lane.key}/mark", headers_for(SCHEMA))
        try:
            await asyncio.wait_for(sent, MARK_TIMEOUT_S)
        except (KafkaException, TimeoutError) as exc:
            log.warning("mark_not_written", lane=lane.key, error=str(exc))

    def needed(self, lane: Lane) -> int:
        """The oldest ledger offset about a request whose record, or any copy of it, is not committed."""
        committed = self._ctx.stream.committed
        still = [(place, one) for place, one in lane.finished if (committed(place[:2]) or 0) <= place[2]]
        lane.finished.clear()
        lane.finished.extend(still)
        firsts = (lane.ledger.of(one) for _, one in still)
        needed = min((known.first_offset for known in firsts if known is not None), default=lane.ledger.next_offset)
        doubt_ms = lane.oldest_doubt_ms
        told_apart_ms = doubt_ms - LOOK_BACK_MS if doubt_ms is not None else None
        for request_id, known in lane.ledger.ids.items():
            is_open = bool(known.open) or known.event is not None or request_id in lane.jobs
            # message ids by which the statuses read as evidence are told apart
            if is_open or (told_apart_ms is not None and known.last_ms >= told_apart_ms):
                needed = min(needed, known.first_offset)
        return needed
