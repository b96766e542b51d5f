"""Messages of campaigns that an operator paused or cancelled: out of the way, or to their end. On the event loop.

*Cancelled*: a message ends when it is read, when the pump chooses it, in the step that would write it, and, while it
waits in memory, by a sweep soon after the word came. One whose outcome is unknown is not told to be unsent: it ends by
its own outcome.

*Paused*: whoever is chosen gets a durable copy on the topic of the longest delay that its end leaves room for, like
all that waits an hour or more: outside the order, so it holds nobody up, and by the gate when the hour is over. Nothing
is held in a ready topic, where it would stand before others, nor hopped every few seconds, which a million of them
would turn into thousands of writes a second. In memory stay as many as the windows hold, at most; the rest is known by
its copies alone.

*Going on*: the copies name why they wait, so no hour has to pass. Those in memory go into their chains in the next
sweep; the others when they are read, which goes on as the first ones leave. Two things are left to do:
* Order. As long as the topic is not read to its end, what comes anew of such a campaign could overtake what stands
  there: it is put behind it, on the same topic.
* Other paused campaigns may fill the windows, so that reading stands still: their copies are renewed at the end of the
  topic, `ROTATE_MESSAGES` per look, until all that was written before the word has been seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final

from pipeline.sender.context import Context
from pipeline.sender.finish import Finish
from pipeline.sender.jobs import Job, Stage
from pipeline.sender.lane import Lane
from pipeline.sender.posting import Posting
from pipeline.sender.scheduling import Scheduling
from pipeline.sender.stops import CANCELLED, HELD
from pipeline.sender.wheel import HOUR_MS

TURN_MESSAGES: Final = 200
"""So many are taken within one step of the loop: a few milliseconds."""
STOPPERS_MAX: Final = 64
"""Tasks per lane that write copies and ends: as many as make one batch for Kafka."""
KEPT_MAX: Final = 20_000
"""Held messages per lane in memory whose copies are not read back yet."""
ROTATE_MESSAGES: Final = 500
HOLD_MS: Final = HOUR_MS + 60_000
"""As in the gate: a little more than what makes a message wait outside the order."""
DOUBT_LOOK_S: Final = 1.0
LONG: Final = ("delayed-retry-10m", "delayed-retry-1h")
"""Where copies of held messages stand: on the second one, but for those that end within the hour."""


class Campaigns:
    """See the module.

    Attributes:
        taken: Messages kept from going so far.
    """

    def __init__(self, ctx: Context, finish: Finish, scheduling: Scheduling, posting: Posting) -> None:
        self._ctx, self._finish, self._scheduling, self._posting = ctx, finish, scheduling, posting
        self._stops = ctx.account.stops
        self._long = [ctx.settings.topic(name) for name in LONG]
        self.taken = 0

    def takes(self, lane: Lane, job: Job) -> bool:
        """Whether a message that the pump chose may not go because of its campaign; it goes its way then."""
        word = self._stops.of(job.message)
        if word is None:
            if job.reason == HELD or job.unknown or not self._stops.was_held(job.message) or self._is_read(lane):
                return False
        elif job.unknown and word == HELD:
            # It may have gone: it stays in its chain, and evidence is looked for meanwhile.
            self._scheduling.again(lane, job, self._ctx.steady_s() + DOUBT_LOOK_S)
            return True
        self._put(lane, job, self._posting.end_unsent if word == CANCELLED else self._hold)
        return True

    def entered(self, lane: Lane, job: Job) -> None:
        """A message was read: if its campaign was cancelled, it ends now."""
        if self._stops.of(job.message) == CANCELLED and job.stage is Stage.WAITING and not job.unknown:
            self._put(lane, job, self._posting.end_unsent)

    def look(self, lane: Lane) -> None:
        """Follow what changed since the last look: once a tick."""
        if lane.stops_seen != self._stops.changes:
            lane.stops_seen = self._stops.changes
            self._ctx.spawn(lane, self._sweep(lane))
        if self._stops.resumed_ms and lane.parked and any((name, lane.partition) in lane.paused for name in self._long):
            self._rotate(lane)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _is_read(self, lane: Lane) -> bool:
        """Whether all that is held stands in memory: the topics are read to their ends."""
        tps = [(name, lane.partition) for name in self._long]
        return all(tp not in lane.paused and self._ctx.stream.is_at_end(tp) for tp in tps)

    def _put(self, lane: Lane, job: Job, act: Callable[[Lane, Job], Awaitable[None]]) -> None:
        job.stage = Stage.SETTLING
        self.taken += 1
        lane.stopped.append((job, act))
        if lane.stoppers < min(STOPPERS_MAX, len(lane.stopped)):
            lane.stoppers += 1
            self._ctx.spawn(lane, self._work(lane))

    async def _work(self, lane: Lane) -> None:
        try:
            while lane.stopped and not lane.draining:  # what is left then is the next owner's
                job, act = lane.stopped.popleft()
                await act(lane, job)
        finally:
            lane.stoppers -= 1

    async def _sweep(self, lane: Lane) -> None:
        jobs = list(lane.jobs.values())
        for first in range(0, len(jobs), TURN_MESSAGES):
            for job in jobs[first : first + TURN_MESSAGES]:
                if job.stage is Stage.WAITING and not job.unknown:
                    self._see(lane, job)
            await asyncio.sleep(0)

    def _see(self, lane: Lane, job: Job) -> None:
        """End a waiting message, or let it go on, as its campaign asks for."""
        word = self._stops.of(job.message)
        if word == CANCELLED:
            self._put(lane, job, self._posting.end_unsent)
        elif word is None and job.reason == HELD and job.message.request_id in lane.parked:
            if job.places or self._is_read(lane):
                job.message = job.message._replace(via_gate=False, due_ms=None)
                job.due_s = 0.0
                self._scheduling.line_up(lane, job)
            else:
                self._forget(lane, job)  # others stand before its copy: it comes in its turn

    async def _hold(self, lane: Lane, job: Job) -> None:
        await self._posting.put_off(lane, job, HELD, self._ctx.unix_ms() + HOLD_MS)
        if job.stage is not Stage.WAITING:
            return
        if self._stops.of(job.message) != HELD:
            self._see(lane, job)
        elif not job.places and len(lane.parked) > KEPT_MAX:
            self._forget(lane, job)

    def _forget(self, lane: Lane, job: Job) -> None:
        job.stage = Stage.FINISHED
        self._scheduling.leave(lane, job)

    def _rotate(self, lane: Lane) -> None:
        """Make room for what stands unread behind messages that are still held."""
        before_ms = self._stops.resumed_ms
        parked = (lane.jobs[request_id] for request_id in lane.parked)
        in_the_way = (
            job
            for job in parked
            if job.reason == HELD and job.places and job.copy_ms < before_ms and job.stage is Stage.WAITING
        )
        for job in list(islice(in_the_way, ROTATE_MESSAGES)):
            if self._stops.of(job.message) == HELD:
                self._put(lane, job, self._renew)

    async def _renew(self, lane: Lane, job: Job) -> None:
        due_ms = min(self._ctx.unix_ms() + HOLD_MS, job.message.expires_ms)
        job.message = job.message._replace(due_ms=due_ms)
        for place in list(job.places):
            await self._finish.hop(lane, job, place)
        job.stage = Stage.WAITING
        if job.places:
            self._see(lane, job)
        else:
            self._forget(lane, job)
