"""The pump of a lane: as long as something may go, choose it and take it in hand. Synchronous, on the event loop.

Everything that forbids sending is checked here before an attempt is written (else waiters would loop between attempt
and void), and once more by `posting` in the step that writes the request.
"""

from __future__ import annotations

from pipeline.sender.account import SisterHalt
from pipeline.sender.campaigns import TURN_MESSAGES, Campaigns
from pipeline.sender.context import Context
from pipeline.sender.finish import Finish
from pipeline.sender.flight import Flight
from pipeline.sender.jobs import Chain, Job, Place, Stage
from pipeline.sender.lane import LOOK_MIN_S, ON_WAY_MAX, Lane
from pipeline.sender.posting import Posting
from pipeline.sender.quality import Quality
from pipeline.sender.scheduling import Scheduling
from pipeline.sender.templates import template_refusal
from pipeline.sender.unknown import Unknowns
from pipeline.throttle.halt import Probe, Wait

STOPPED_LOOK_S = 0.2
"""How soon a lane looks again that stands still for a reason without a time of its own."""

UNREAD_LOOK_S = 0.5
"""How soon a scheduled message is looked at again whose predecessors may not be read yet."""


class Dispatch:
    """Pumps lanes."""

    def __init__(
        self, ctx: Context, finish: Finish, scheduling: Scheduling, posting: Posting, unknowns: Unknowns
    ) -> None:
        self._ctx, self._finish, self._scheduling = ctx, finish, scheduling
        self._posting, self._unknowns = posting, unknowns
        self._quality = Quality(ctx)
        scheduling.pump = self.pump
        scheduling.copy_follower = self._copy_follower
        posting.end_unknown = unknowns.end_unsent
        self._campaigns = Campaigns(ctx, finish, scheduling, posting)
        scheduling.entered = self._campaigns.entered

    def stop_reasons(self, lane: Lane) -> set[str]:
        """Why the lane sends nothing, in the words of the contract; empty: it may send."""
        now_s, now_ms = self._ctx.steady_s(), self._ctx.unix_ms()
        reasons: set[str] = {scope.word for scope in lane.scopes if scope.halt.is_halted(now_s)}
        if not self._ctx.access.is_ready(lane.number):
            reasons.add("token")
        if self._quality.is_stopped(lane.number):
            reasons.add("quality")
        unready = self._ctx.preflight.stop(lane.number, now_s, now_ms)
        if unready is not None:
            reasons.add(unready)
        if not self._ctx.optouts.is_fresh(now_s):
            reasons.add("opt_outs_stale")
        if lane.kafka_away or not self._ctx.stream.lease.valid:
            reasons.add("kafka")
        if self._ctx.account.stops.paused(lane.number):
            reasons.add("operator")
        sister = None if reasons else self._sister_halt(lane, now_ms)
        return reasons if sister is None else {sister.reason}

    def pump(self, lane: Lane) -> None:
        """Start whatever may start now; set the next look."""
        now_s = self._ctx.steady_s()
        self._ring_alarms(lane, now_s)
        if not lane.is_open or lane.draining or lane.closed:
            return
        self._scheduling.look_at(lane, lane.next_alarm_s)
        if not lane.chains.queued:
            return
        if self._stands_still(lane, now_s):
            self._scheduling.look_at(lane, now_s + STOPPED_LOOK_S)
            return
        lane.follow_factor(now_s)
        lane.looked_s = now_s
        stops, taken = self._ctx.account.stops, self._campaigns.taken
        while lane.in_flight < lane.in_flight_allowed and lane.on_way < ON_WAY_MAX:
            probe = self._halted(lane, now_s)
            if probe is None:
                return
            if self._campaigns.taken - taken >= TURN_MESSAGES:
                self._scheduling.look_at(lane, now_s + LOOK_MIN_S)
                return
            waiting = stops.open_of(lane.number, lane.chains.waiting())
            index = lane.policy.choose(waiting, lane.bucket, now_s, lane.on_way)
            if index is None:
                wait_s = lane.policy.wait_s(waiting, lane.bucket, now_s, lane.on_way)
                if wait_s is not None:
                    urgent, *_ = waiting
                    self._scheduling.look_at(lane, now_s + max(wait_s, LOOK_MIN_S if urgent else lane.gather_s))
                return
            if self._start(lane, lane.chains.take(index), now_s, probe=probe):
                lane.policy.served(index, now_s)
                if probe:
                    return

    def _stands_still(self, lane: Lane, now_s: float) -> bool:
        return (
            not self._ctx.may_act(lane)
            or lane.kafka_away
            or not self._ctx.optouts.is_fresh(now_s)
            or not self._ctx.access.is_ready(lane.number)
            or self._quality.is_stopped(lane.number)
            or self._ctx.account.stops.is_still(lane.number)
            or self._ctx.preflight.stop(lane.number, now_s, self._ctx.unix_ms()) is not None
            or self._obeys_sister(lane, now_s)
        )

    def _obeys_sister(self, lane: Lane, now_s: float) -> bool:
        """A lane that was refused itself probes itself: two that waited for each other would wait for ever."""
        if lane.scopes.is_halted(now_s):
            return False
        return self._sister_halt(lane, self._ctx.unix_ms()) is not None

    def _sister_halt(self, lane: Lane, now_ms: int) -> SisterHalt | None:
        return self._ctx.account.sister_halt(
            lane.number, lane.shard, lane.settings.account, lane.settings.base_url, now_ms, self._ctx.owner
        )

    def _halted(self, lane: Lane, now_s: float) -> bool | None:
        """False: nothing halts the lane; True: one probe may go; None: nothing may, the next look is set."""
        probe = False
        for scope in lane.scopes:
            state = scope.halt.state(now_s)
            if isinstance(state, Wait):
                self._scheduling.look_at(lane, now_s + state.seconds)
                return None
            probe = probe or isinstance(state, Probe)
        return probe

    def _start(self, lane: Lane, chain: Chain, now_s: float, *, probe: bool) -> bool:
        """Take the head of a chain in hand; False if it goes another way."""
        if not chain.jobs or chain.head.stage is not Stage.WAITING:
            return False
        job = chain.head
        if job.due_s > now_s:
            lane.offer(chain, now_s)
            return False
        if self._goes_elsewhere(lane, job, self._ctx.unix_ms()):
            return False
        if not self._scheduling.knows_predecessors(lane, job):
            self._scheduling.again(lane, job, now_s + UNREAD_LOOK_S)
            return False
        if job.unknown and (self._unknowns.settles(lane, job) or not self._unknowns.may_go(lane, job)):
            return False
        if lane.pairs is not None:
            wait_s = lane.pairs.wait_s(job.message.recipient, now_s)
            if wait_s > 0.0:
                self._pair_waits(lane, job, now_s, wait_s)
                return False
        if not self._scheduling.hold_recipient(lane, chain):
            return False
        job.stage = Stage.IN_HAND
        if probe:
            lane.scopes.probing(now_s)
        self._ctx.spawn(lane, self._posting.send(lane, job, Flight(lane, self._scheduling.wake), probe=probe))
        return True

    def _goes_elsewhere(self, lane: Lane, job: Job, now_ms: int) -> bool:
        """End a message that may not go any more, put one off that is held; whether it was one of the two."""
        message = job.message
        if not self._ctx.optouts.covers(message):
            job.stage = Stage.SETTLING
            self._ctx.spawn(lane, self._to_gate(lane, job))
            return True
        over = now_ms >= message.expires_ms or now_ms >= message.valid_until_ms
        suppressed = self._ctx.suppressions.forbids(message.recipient, now_ms)
        refusal = template_refusal(self._ctx.account.templates, lane.settings.account, message, now_ms)
        if over or suppressed or refusal is not None or self._ctx.optouts.forbids(message, now_ms):
            job.stage = Stage.SETTLING
            self._ctx.spawn(lane, self._posting.end_unsent(lane, job))
            return True
        if self._campaigns.takes(lane, job):
            return True
        if message.category == "marketing":
            until_ms = self._ctx.account.no_marketing_until_ms(lane.number, now_ms)
            if until_ms is not None:
                self._put_off(lane, job, "marketing_limit", until_ms)
                return True
        held_ms = self._quality.held_until_ms(lane.number, message.priority, now_ms)
        if held_ms is not None:
            self._put_off(lane, job, "held_quality", held_ms)
            return True
        return False

    def _pair_waits(self, lane: Lane, job: Job, now_s: float, wait_s: float) -> None:
        if wait_s <= self._ctx.settings.sender.lane_wait_max_s or job.deferred:
            self._scheduling.again(lane, job, now_s + wait_s)
            return
        self._put_off(lane, job, "pair_limited", self._ctx.unix_ms() + int(wait_s * 1000))

    def _put_off(self, lane: Lane, job: Job, reason: str, due_ms: int) -> None:
        job.stage = Stage.SETTLING
        self._ctx.spawn(lane, self._posting.put_off(lane, job, reason, due_ms))

    # -- alarms ------------------------------------------------------------------------------------------------------
    def _ring_alarms(self, lane: Lane, now_s: float) -> None:
        for kind, job, place in lane.alarms_until(now_s):
            if job.stage is Stage.FINISHED:
                continue
            if kind == "due":
                if job.chain is not None and job.chain.head is job:
                    lane.offer(job.chain, now_s)
            elif place is not None and place in job.places:
                self._matured(lane, job, place)

    def _matured(self, lane: Lane, job: Job, place: Place) -> None:
        due_ms = job.message.due_ms
        is_free = job.stage is Stage.WAITING  # else it is on its way to its end already
        if is_free and job.goes_to_gate and due_ms is not None and due_ms <= self._ctx.unix_ms():
            job.stage = Stage.SETTLING
            self._ctx.spawn(lane, self._to_gate(lane, job))
        else:
            self._ctx.spawn(lane, self._finish.hop(lane, job, place))

    async def _to_gate(self, lane: Lane, job: Job) -> None:
        await self._finish.back_to_gate(lane, job)
        self._scheduling.finished(lane, job)

    def _copy_follower(self, lane: Lane, job: Job) -> None:
        job.deferred = True
        self._ctx.spawn(lane, self._copy_in_turn(lane, job))

    async def _copy_in_turn(self, lane: Lane, job: Job) -> None:
        await self._finish.defer(lane, job, "behind_deferred", self._ctx.unix_ms())
        self._scheduling.follow(lane, job)

    def make_room(self, lane: Lane) -> None:
        """Fetch again what had no room: records may end without ever having been a job."""
        self._campaigns.look(lane)
        self._scheduling.make_room(lane)

    def sweep(self, lane: Lane) -> None:
        """End waiting messages that have expired, also while nothing is sent."""
        now_ms = self._ctx.unix_ms()
        for chain in list(lane.chains):
            job = chain.head
            if job.stage is Stage.WAITING and now_ms >= job.message.expires_ms and self._ctx.may_act(lane):
                job.stage = Stage.SETTLING
                self._ctx.spawn(lane, self._posting.end_unsent(lane, job))
