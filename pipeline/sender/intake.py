"""From a record on a lane topic to a job in memory, or to the end that its request has found already.

Called by the Faust agent for each record, synchronously; it never blocks and never raises. Records that come before
their lane is open are kept (bounded by the windows) and looked at when the ledger has been read.
"""

from __future__ import annotations

from typing import Any

import structlog

from pipeline.errors import RecordError
from pipeline.records.codec import decode_object, require_schema, trace_of
from pipeline.records.ready import ReadyMessage, parse_ready
from pipeline.records.request import PRIORITIES
from pipeline.sender.context import Context
from pipeline.sender.finish import Finish, due_to_steady_s
from pipeline.sender.jobs import Job, SourceOrder, Stage
from pipeline.sender.lane import Early, Lane
from pipeline.sender.ledger_state import IdState
from pipeline.sender.optouts import heard_ms
from pipeline.sender.posting import digest_of
from pipeline.sender.scheduling import Scheduling
from pipeline.sender.stops import as_it_stands
from pipeline.sender.wheel import matures_ms

log = structlog.get_logger(__name__)

MAX_READY_BYTES = 1024 * 1024
PRIORITY_INDEX: dict[str, int] = {name: index for index, name in enumerate(PRIORITIES)}


def require_lane(message: ReadyMessage, lane: Lane) -> None:
    """Refuse a record that stands on another lane's partition.

    Raises:
        RecordError: code `misrouted`.
    """
    if message.lane != lane.key:
        raise RecordError("misrouted", f"for lane {message.lane}, on the partition of {lane.key}")


def require_renderable(message: ReadyMessage, lane: Lane) -> None:
    """Refuse a message that the number's profile cannot write: the gate lets none through, but a topic is open to all.

    Raises:
        RecordError: code `contract`.
    """
    try:
        lane.profile.render(message.record["request"]["message"], message.to, None)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise RecordError("contract", f"the message cannot be rendered: {type(exc).__name__}: {exc}") from exc


class Intake:
    """Takes records in."""

    def __init__(self, ctx: Context, finish: Finish, scheduling: Scheduling) -> None:
        self._ctx, self._finish, self._scheduling = ctx, finish, scheduling
        self._prefix = len(ctx.settings.kafka.topic_prefix)

    def take(
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Any,
    ) -> None:
        """Take one record of a lane topic in.

        Args:
            timestamp_ms: Broker time of the record.
        """
        lane = self._ctx.lanes.get(partition)
        if lane is None or lane.closed:
            return  # no number of ours has this lane: the record stays uncommitted for whoever is configured for it
        if not self._ctx.stream.windows.open((topic, partition), offset):
            return
        place = (topic, partition, offset)
        try:
            require_schema(headers, "ready")
            message = as_it_stands(parse_ready(decode_object(value, MAX_READY_BYTES)), self._ctx.account.stops)
            require_lane(message, lane)
            require_renderable(message, lane)
        except RecordError as exc:
            self._ctx.spawn(lane, self._finish.dead_letter(lane, place, key, value, headers, exc.code, str(exc)))
            return
        if not self._scheduling.is_delayed(topic):
            source_topic, source_partition, source_offset = message.source
            lane.read_to[topic, source_topic, source_partition] = source_offset
        early = Early(message, place, timestamp_ms, trace_of(headers))
        if lane.is_open:
            self.place(lane, early)
        else:
            lane.early.append(early)
        self._scheduling.check_room(lane, (topic, partition))

    def open(self, lane: Lane) -> None:
        """Look at the records that came before the lane was open, in the order of their sources."""
        early, lane.early = lane.early, []
        early.sort(key=lambda one: (SourceOrder(one.message.source_ms, *one.message.source[1:]), one.timestamp_ms))
        for record in early:
            self.place(lane, record)

    def place(self, lane: Lane, record: Early) -> None:
        """Decide what a record is: new, known, a copy, a duplicate, or done."""
        message = record.message
        state = lane.ledger.of(message.request_id)
        job = lane.jobs.get(message.request_id)
        if state is not None and state.is_over(replay=message.replay):
            self._settled(lane, record, state, job)
        elif job is None and state is not None and state.source not in (None, message.source) and not message.replay:
            self._duplicate(lane, record, state.digest)  # the record that claimed the id is uncommitted: it will come
        elif job is None:
            self._new(lane, record, state)
        elif job.message.source == message.source:
            self._attach(lane, job, record)
        else:
            self._duplicate(lane, record, digest_of(job))

    def _settled(self, lane: Lane, record: Early, state: IdState, job: Job | None) -> None:
        if state.source is None or state.source == record.message.source:
            self._ctx.metrics.duplicates_suppressed.inc()
            if job is not None and job.stage is Stage.SETTLING:
                job.places.append(record.place)  # acknowledged with the event that is on its way
                return
            self._ctx.spawn(lane, self._finish.repeat(lane, record.message.request_id, record.place, record.trace))
        else:
            self._duplicate(lane, record, state.digest)

    def _duplicate(self, lane: Lane, record: Early, digest: str | None) -> None:
        stranger = self._job(record)
        conflict = digest is not None and digest_of(stranger) != digest
        self._ctx.spawn(lane, self._finish.duplicate(lane, stranger, record.place, conflict=conflict))

    def _job(self, record: Early) -> Job:
        job = Job(record.message, PRIORITY_INDEX[record.message.priority])
        job.trace = record.trace
        job.waits_since_ms = record.timestamp_ms
        return job

    def _new(self, lane: Lane, record: Early, state: IdState | None) -> None:
        job, message = self._job(record), record.message
        job.places.append(record.place)
        job.home = record.place
        self._ctx.optouts.require(heard_ms(message))
        delayed = self._scheduling.is_delayed(record.place[0])
        now_s, now_ms = self._ctx.steady_s(), self._ctx.unix_ms()
        if state is not None:
            job.attempt = max(job.attempt, state.attempts)
            job.spent = max(job.spent, state.spent)
            job.unknown = job.unknown or bool(state.open) or state.ever_unknown
        if delayed:
            job.deferred = True
            job.copy_ms = record.timestamp_ms
            job.reason = message.record["reason"] or ""
            if message.due_ms is not None:
                job.due_s = due_to_steady_s(message.due_ms, now_ms, now_s)
            self._set_maturity(lane, job, message, record, now_ms, now_s)
        if job.unknown:
            self._doubt(lane, job, record, state, now_s)
        self._scheduling.enter(lane, job)
        if job.stage is Stage.UNKNOWN and not delayed:
            self._scheduling.copy_follower(lane, job)

    def _doubt(self, lane: Lane, job: Job, record: Early, state: IdState | None, now_s: float) -> None:
        """An attempt of it never got an outcome: it waits for evidence, unless an operator sends it all the same."""
        job.unknown = True
        is_forgotten = state is None and record.message.replay  # it was given up long ago
        if not is_forgotten and (state is None or not state.settled):
            job.stage = Stage.UNKNOWN
        job.unknown_attempt_ms = max(state.open.values(), default=state.last_ms) if state else record.timestamp_ms
        waited_ms = max(0, (lane.ledger.opened_ms or 0) - job.unknown_attempt_ms)
        job.unknown_since_s = now_s - waited_ms / 1000
        lane.unknown[job.message.request_id] = job
        self._scheduling.hold_for_unknown(lane, job)

    def _attach(self, lane: Lane, job: Job, record: Early) -> None:
        """Another record of a message in memory: a copy of it come back, newest or older, or its source again."""
        if not self._scheduling.is_delayed(record.place[0]):
            if job.deferred and job.copy_ms:
                self._ctx.acknowledge(lane, [record.place], job.message.request_id)  # the copy stands for it
            else:
                job.places.append(record.place)
            return
        if record.timestamp_ms < job.copy_ms:
            self._ctx.acknowledge(lane, [record.place], job.message.request_id)  # a newer copy stands for it
            return
        self._ctx.acknowledge_job(lane, job)
        job.places.append(record.place)
        job.copy_ms = record.timestamp_ms
        if not job.deferred:
            job.deferred = True
            self._scheduling.follow(lane, job)
        job.message = record.message
        job.attempt = max(job.attempt, record.message.attempt)
        job.spent = max(job.spent, record.message.spent)
        job.hops = max(job.hops, record.message.hops)
        if record.message.unknown and not job.unknown and job.stage is Stage.WAITING:
            self._doubt(lane, job, record, lane.ledger.of(job.message.request_id), self._ctx.steady_s())
        self._set_maturity(lane, job, record.message, record, self._ctx.unix_ms(), self._ctx.steady_s())
        self._keep_in_order(lane, job)

    def _keep_in_order(self, lane: Lane, job: Job) -> None:
        """Its newest copy tells whether a message is outside the order: it may have been to the gate in between."""
        is_parked = job.message.request_id in lane.parked
        if is_parked and not job.goes_to_gate:
            if job.message.due_ms is not None:
                job.due_s = due_to_steady_s(job.message.due_ms, self._ctx.unix_ms(), self._ctx.steady_s())
            self._scheduling.line_up(lane, job)
        elif not is_parked and job.goes_to_gate and job.stage is Stage.WAITING:
            self._scheduling.park(lane, job)

    def _set_maturity(
        self, lane: Lane, job: Job, message: ReadyMessage, record: Early, now_ms: int, now_s: float
    ) -> None:
        tier = record.place[0][self._prefix :]
        at_ms = matures_ms(tier, record.timestamp_ms, message.due_ms or 0, now_ms)
        lane.set_alarm(due_to_steady_s(at_ms, now_ms, now_s), "mature", job, record.place)
        self._scheduling.look_at(lane, lane.next_alarm_s)
