"""Messages that wait for long, of a number that gets other lanes: they go there ahead of it. On the event loop.

Before a number's new lanes are opened, the ones of before have to be empty (`records/lanes.py`). What may be sent is
sent; what waits for a time of its own (scheduled, held, backing off) would keep the number from its new lanes for
hours. It is written to the delayed topics of the lane that its person belongs to then: those are read to their ends
before anything is sent there, so the order of a chain holds.

* Only when the ready topics are read to their ends: all that follows in a chain is in memory then.
* The last of a chain goes first: killed in between, what is left here is what goes before.
* What was sent without an answer stays until its outcome is known, and so does whatever waits behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.sender.context import Context
from pipeline.sender.finish import Finish
from pipeline.sender.jobs import Job, Stage
from pipeline.sender.lane import Lane
from pipeline.sender.scheduling import Scheduling
from pipeline.streams.partition import lane_of
from pipeline.streams.topics import READY

FAR_S: Final = 2.0
"""Who waits longer goes ahead; who is due sooner is sent from here."""
MOVE_MESSAGES: Final = 500
"""Messages on their way at a time, per lane."""


class Leaving:
    """Looks after lanes that are being given up."""

    def __init__(self, ctx: Context, finish: Finish, scheduling: Scheduling) -> None:
        self._ctx, self._finish, self._scheduling = ctx, finish, scheduling
        self._ready = [ctx.settings.topic(name) for name in READY]

    def look(self, lane: Lane) -> None:
        """Move what waits for long, if the lane is being given up; once a tick."""
        target = self._target(lane)
        if target is None or not self._is_read(lane):
            return
        now_s, taken = self._ctx.steady_s(), 0
        parked = [[lane.jobs[request_id]] for request_id in lane.parked]
        far = [list(chain.jobs) for chain in lane.chains if chain.head.due_s - now_s > FAR_S]
        for jobs in (*parked, *far):
            if taken >= MOVE_MESSAGES:
                return
            if all(job.stage is Stage.WAITING and not job.unknown for job in jobs):
                for job in jobs:
                    job.stage = Stage.SETTLING
                self._ctx.spawn(lane, self._move(lane, jobs, target))
                taken += len(jobs)

    def _target(self, lane: Lane) -> tuple[int, ...] | None:
        lanes = self._ctx.account.lanes.get(lane.number)
        if lanes is None or lanes.step != "drain" or lane.partition not in lanes.partitions:
            return None
        return lanes.target

    def _is_read(self, lane: Lane) -> bool:
        tps = [(topic, lane.partition) for topic in self._ready]
        return all(tp not in lane.paused and self._ctx.stream.is_at_end(tp) for tp in tps)

    async def _move(self, lane: Lane, jobs: Sequence[Job], target: Sequence[int]) -> None:
        for job in reversed(jobs):
            await self._finish.move(lane, job, lane_of(lane.number, job.message.recipient, target))
            self._scheduling.finished(lane, job)
