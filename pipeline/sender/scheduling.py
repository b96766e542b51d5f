"""Which message goes next, and when to look again: queues, alarms and windows of a lane. Synchronous, on the loop.

`Scheduling` knows nothing of HTTP or Kafka writes; `Dispatch` (the pump) is called through `wake`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from pipeline.sender.context import Context
from pipeline.sender.jobs import Chain, Job, Stage
from pipeline.sender.lane import (
    DELAYED_WINDOW_HIGH,
    DELAYED_WINDOW_LOW,
    JOBS_HIGH,
    JOBS_LOW,
    LOOK_EVERY_S,
    ON_WAY_MAX,
    READY_WINDOW_HIGH,
    READY_WINDOW_LOW,
    Lane,
)
from pipeline.streams.topics import DELAYED, READY

SCHEDULED = "scheduled"
"""The reason of what the gate put off, as its `not_before` was ahead."""
UNREAD_MAX_S = 60.0
PLENTY = 500
"""Messages in memory that last a while at any rate."""


class Scheduling:
    """Moves jobs between waiting, queued and gone."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.pump: Callable[[Lane], None] = lambda _lane: None
        self.copy_follower: Callable[[Lane, Job], None] = lambda _lane, _job: None
        self.entered: Callable[[Lane, Job], None] = lambda _lane, _job: None
        self._ready_of = [ctx.settings.topic(name) for name in READY]
        self._ready = frozenset(self._ready_of)
        self._delayed = frozenset(ctx.settings.topic(name) for name in DELAYED)

    def is_delayed(self, topic: str) -> bool:
        """Whether a full topic name is one of the delayed tiers."""
        return topic in self._delayed

    def has_plenty(self) -> bool:
        """Whether a lane is busy sending and has so many messages in memory that more would bring nothing soon."""
        return any(lane.on_way >= ON_WAY_MAX // 2 and len(lane.jobs) >= PLENTY for lane in self._ctx.lanes.values())

    # -- jobs --------------------------------------------------------------------------------------------------------
    def enter(self, lane: Lane, job: Job) -> None:
        """A new message: into its chain, and into the queue if it is its turn."""
        lane.jobs[job.message.request_id] = job
        lane.backlog[job.priority] += 1
        if job.goes_to_gate:
            lane.parked.add(job.message.request_id)
        else:
            self.line_up(lane, job)
        self.entered(lane, job)

    def line_up(self, lane: Lane, job: Job) -> None:
        """Put a message into its chain, be it that it was outside the order before."""
        lane.parked.discard(job.message.request_id)
        chain = lane.chains.add(job)
        head = chain.head
        if head is job:
            lane.offer(chain, self._ctx.steady_s())
            self.wake(lane)
        else:
            self.follow(lane, head)

    def again(self, lane: Lane, job: Job, due_s: float, *, first: bool = False) -> None:
        """A message in hand goes back to its place; it is tried again when it is due."""
        job.stage = Stage.WAITING
        job.due_s = due_s
        is_behind = job.chain is not None and job.chain.head is not job
        if not job.unknown or is_behind:  # else another one's status could be taken for its evidence
            self.free_recipient(lane, job)
        if job.chain is not None:
            lane.offer(job.chain, self._ctx.steady_s(), first=first)
            self.follow(lane, job)
        self.wake(lane)

    def follow(self, lane: Lane, job: Job) -> None:
        """Whoever stands behind a copied message of its chain is copied, too, so that no window waits for it.

        One after the other: the next owner reads the delayed topics before anything else, and must not find a copy
        whose predecessor is still in a ready topic only.
        """
        jobs = job.chain.jobs if job.chain is not None else []
        for before, follower in pairwise(jobs):
            if not before.copy_ms:
                return
            if not follower.deferred and follower.stage is Stage.WAITING:
                self.copy_follower(lane, follower)

    def pass_on(self, lane: Lane, job: Job) -> None:
        """A message is settled, but its event is still on its way: the next one of its chain may go."""
        self.free_recipient(lane, job)
        self._leave_chain(lane, job)

    def finished(self, lane: Lane, job: Job) -> None:
        """Nothing is left to be done about a message."""
        job.stage = Stage.FINISHED
        self.leave(lane, job)

    def park(self, lane: Lane, job: Job) -> None:
        """A message that waits an hour or more is outside the order: it stays known, but holds nobody up."""
        job.stage = Stage.WAITING
        lane.parked.add(job.message.request_id)
        self.free_recipient(lane, job)
        self._leave_chain(lane, job)

    def leave(self, lane: Lane, job: Job) -> None:
        """Take a message out of memory; what stands for it on a topic is all that is left of it."""
        if lane.jobs.get(job.message.request_id) is job:
            del lane.jobs[job.message.request_id]
            lane.backlog[job.priority] -= 1
        lane.unknown.pop(job.message.request_id, None)
        lane.parked.discard(job.message.request_id)
        self.free_recipient(lane, job)
        self._leave_chain(lane, job)
        self.make_room(lane)

    def _leave_chain(self, lane: Lane, job: Job) -> None:
        chain = lane.chains.remove(job)
        if chain is not None:
            lane.offer(chain, self._ctx.steady_s())
            self.follow(lane, chain.head)
        self.wake(lane)

    def knows_predecessors(self, lane: Lane, job: Job) -> bool:
        """Whether all that was asked for before a message is in memory, or done.

        What the gate scheduled comes by a delayed topic, past those of its person that still stand in a ready topic:
        that has to be read as far as the message's source first. An end that is never reached (nothing but gaps) holds
        it up in the first minute of a lane only.
        """
        if job.reason != SCHEDULED:
            return True
        topic = self._ready_of[job.priority]
        source_topic, source_partition, source_offset = job.message.source
        if lane.read_to.get((topic, source_topic, source_partition), -1) >= source_offset:
            return True
        tp = (topic, lane.partition)
        if tp in lane.paused:
            return False
        is_idle = not self._ctx.stream.windows.of(tp) and self._ctx.steady_s() - lane.opened_s > UNREAD_MAX_S
        return is_idle or self._ctx.stream.is_at_end(tp)

    # -- one message in hand per recipient, where no callback data tells messages apart ------------------------------
    def hold_recipient(self, lane: Lane, chain: Chain) -> bool:
        """Reserve the recipient of a chain's head; False if another chain has it: this one is queued after it."""
        if lane.profile.echoes_callback_data or chain.head.holds_recipient:
            return True
        recipient = chain.head.message.recipient
        waiting = lane.busy_recipients.get(recipient)
        if waiting is not None:
            waiting.append(chain)
            return False
        lane.busy_recipients[recipient] = []
        chain.head.holds_recipient = True
        return True

    def hold_for_unknown(self, lane: Lane, job: Job) -> None:
        """Keep the recipient of a message of unknown outcome: another one's status could be taken for its evidence."""
        recipient = job.message.recipient
        if not lane.profile.echoes_callback_data and recipient not in lane.busy_recipients:
            lane.busy_recipients[recipient] = []
            job.holds_recipient = True

    def free_recipient(self, lane: Lane, job: Job) -> None:
        """Give the recipient back; chains that waited for it are queued."""
        if lane.profile.echoes_callback_data or not job.holds_recipient:
            return
        job.holds_recipient = False
        waiting = lane.busy_recipients.pop(job.message.recipient, None)
        for chain in waiting or ():
            if chain.jobs:
                lane.offer(chain, self._ctx.steady_s(), first=True)

    # -- windows -----------------------------------------------------------------------------------------------------
    def check_room(self, lane: Lane, tp: tuple[str, int]) -> None:
        """Fetch no more of a partition whose window is full, or of any ready topic when memory is."""
        window = self._ctx.stream.windows.of(tp)
        high = DELAYED_WINDOW_HIGH if self.is_delayed(tp[0]) else READY_WINDOW_HIGH
        full = window is not None and len(window) >= high
        crowded = tp[0] in self._ready and len(lane.jobs) - len(lane.parked) >= JOBS_HIGH
        if (full or crowded) and tp not in lane.paused:
            lane.paused.add(tp)
            self._ctx.stream.pause(tp)

    def make_room(self, lane: Lane) -> None:
        """Fetch partitions again whose windows have room."""
        if not lane.paused or lane.closed:
            return
        for tp in list(lane.paused):
            window = self._ctx.stream.windows.of(tp)
            delayed = self.is_delayed(tp[0])
            low = DELAYED_WINDOW_LOW if delayed else READY_WINDOW_LOW
            roomy = (window is None or len(window) <= low) and (
                delayed or len(lane.jobs) - len(lane.parked) <= JOBS_LOW
            )
            if roomy:
                lane.paused.discard(tp)
                self._ctx.stream.resume(tp)

    # -- time --------------------------------------------------------------------------------------------------------
    def wake(self, lane: Lane) -> None:
        """Look at the lane, once for however many calls: in the next loop step, or a moment after the last look."""
        if lane.chains.queued or lane.next_alarm_s < lane.timer_at:
            self.look_at(lane, max(self._ctx.steady_s(), lane.looked_s + min(LOOK_EVERY_S, lane.gather_s)))

    def look_at(self, lane: Lane, when_s: float) -> None:
        """Look at the lane then, unless that happens earlier anyway."""
        if lane.closed or when_s >= lane.timer_at:
            return
        if lane.timer is not None:
            lane.timer.cancel()
        lane.timer_at = when_s
        delay_s = max(0.0, when_s - self._ctx.steady_s())
        lane.timer = self._ctx.loop.call_later(delay_s, self._ring, lane)

    def _ring(self, lane: Lane) -> None:
        lane.timer, lane.timer_at = None, float("inf")
        if not lane.closed:
            self.pump(lane)
