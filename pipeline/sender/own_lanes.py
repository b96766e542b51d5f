"""Which lanes this process has: made at assignment by the lanes in force, and followed when a number gets others.

A partition that is no lane in force is not fetched at all: what comes to it waits on Kafka, until it is one. On the
event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import Any

import structlog

from pipeline.clock import rfc3339
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.records.lanes import Lanes, lanes_key, pinned
from pipeline.sender.context import Context
from pipeline.sender.lane import Lane
from pipeline.sender.scopes import Scopes
from pipeline.streams.topics import DELAYED, READY

log = structlog.get_logger(__name__)

Open = Callable[[Lane, int], Coroutine[Any, Any, None]]


class OwnLanes:
    """See the module.

    Args:
        scopes: Of each number.
        opens: Takes a lane over, in a task of the lane.
    """

    def __init__(self, ctx: Context, scopes: dict[str, Scopes], opens: Open) -> None:
        self._ctx, self._scopes, self._opens = ctx, scopes, opens
        self._ready = [ctx.settings.topic(name) for name in READY]
        self._topics = [*self._ready, *(ctx.settings.topic(name) for name in DELAYED)]
        self._assigned: tuple[int, ...] = ()
        self._generation = -1
        self._seen = 0

    def in_force(self) -> dict[str, Lanes]:
        """The lanes of every number: those on record, else those that the settings pin."""
        settings = self._ctx.settings
        return {number: self._ctx.account.lanes.get(number) or pinned(settings, number) for number in settings.numbers}

    def assigned(self, partitions: Collection[int], generation: int) -> None:
        """Partitions were assigned: begin with their lanes, leave the others alone."""
        self._assigned, self._generation = tuple(sorted(partitions)), generation
        self._seen = self._ctx.account.lanes_changes
        owners = self._owners()
        for partition in self._assigned:
            if partition in owners:
                self._begin(partition, *owners[partition])
            else:
                self._rest(partition)

    def revoked(self) -> None:
        """They were taken away."""
        self._assigned = ()

    def follow(self) -> bool:
        """A number may have got other lanes: end those of before, begin the new ones; whether there were any."""
        changes = self._ctx.account.lanes_changes
        if changes == self._seen:
            return False
        self._seen = changes
        owners, lanes = self._owners(), self._ctx.lanes
        ended = [partition for partition in self._assigned if partition in lanes and partition not in owners]
        begun = [partition for partition in self._assigned if partition in owners and partition not in lanes]
        for partition in ended:
            self._end(lanes.pop(partition))
        for partition in begun:
            self._begin(partition, *owners[partition])
            for topic in self._ready:
                self._ctx.stream.resume((topic, partition))
        return bool(ended or begun)

    def note_pinned(self) -> None:
        """Write down the lanes of numbers of which nobody has any on record: from then on these are in force."""
        ctx = self._ctx
        for number in ctx.settings.numbers:
            if number not in ctx.account.lanes:
                record = pinned(ctx.settings, number).record(number, ctx.unix_ms(), ctx.owner)
                ctx.delivery.produce(
                    ctx.settings.topic("account-state"), encode(record), lanes_key(number), headers_for(SCHEMA),
                    lambda _receipt, _error: None,
                )  # fmt: skip

    # -- inside ------------------------------------------------------------------------------------------------------
    def _owners(self) -> dict[int, tuple[str, int, Lanes]]:
        return {
            partition: (number, shard, lanes)
            for number, lanes in self.in_force().items()
            for shard, partition in enumerate(lanes.partitions)
        }

    def _begin(self, partition: int, number: str, shard: int, lanes: Lanes) -> None:
        ctx = self._ctx
        settings = ctx.settings.numbers[number].model_copy(update={"partitions": list(lanes.partitions)})
        endpoint = ctx.access.endpoint(number)
        lane = Lane(number, shard, partition, settings, endpoint, self._scopes[number], ctx.steady_s())
        ctx.lanes[partition] = lane
        ctx.spawn(lane, self._opens(lane, self._generation))

    def _end(self, lane: Lane) -> None:
        """A lane of before: nothing is left on it, else the number had not got its new ones."""
        lane.closed = True
        if lane.timer is not None:
            lane.timer.cancel()
        self._ctx.metrics.forget_lanes(lane.number)
        self._rest(lane.partition)
        closed_at = rfc3339(self._ctx.unix_ms())
        log.info("lane_given_up", lane=lane.key, partition=lane.partition, jobs=len(lane.jobs), at=closed_at)

    def _rest(self, partition: int) -> None:
        for topic in self._topics:
            self._ctx.stream.pause((topic, partition))
