"""How a message leaves the lane's memory, or moves to a delayed topic: the only places that acknowledge its records.

Every write is awaited before the acknowledgement that depends on it:
    settled → event → ack          a request is done
    returned → copy → event → ack  it will be tried again later
"""

from __future__ import annotations

from typing import Any

import structlog

from pipeline.clock import rfc3339
from pipeline.logs import Repeats, frequent
from pipeline.records.codec import TRACEPARENT, Headers, encode, headers_for
from pipeline.records.deadletter import dead_letter_headers
from pipeline.records.ledger import SCHEMA as LEDGER_SCHEMA
from pipeline.records.ledger import Basis, ledger_record
from pipeline.records.outbound import SCHEMA as EVENT_SCHEMA
from pipeline.records.outbound import log_fields, outbound_event
from pipeline.records.ready import SCHEMA as READY_SCHEMA
from pipeline.records.ready import copy_of
from pipeline.records.request import MAX_AHEAD_MS
from pipeline.records.returning import returning_headers
from pipeline.records.withdrawal import revoke
from pipeline.sender.context import Context
from pipeline.sender.jobs import Job, Place, Stage
from pipeline.sender.lane import Lane
from pipeline.sender.spans import Spans
from pipeline.sender.wheel import goes_through_gate, hop_delay_ms, tier_for
from pipeline.streams.delivery import Receipt
from pipeline.streams.partition import LanePlace, partition_of
from pipeline.whatsapp.suppression import SCHEMA as SUPPRESSION_SCHEMA
from pipeline.whatsapp.suppression import suppression_of

log = structlog.get_logger(__name__)

LEDGER_HEADERS = headers_for(LEDGER_SCHEMA)
EVENT_HEADERS = headers_for(EVENT_SCHEMA)
READY_HEADERS = headers_for(READY_SCHEMA)
REQUEST_HEADERS = headers_for("request/1")
CLOCKS_APART_MS = 60_000
"""How far apart the clocks of a sender and a gate may be."""


class Finish:
    """Ends and deferrals of jobs."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._ledger_topic = ctx.settings.topic("send-ledger")
        self._events_topic = ctx.settings.topic("outbound-events")
        self._dead_topic = ctx.settings.topic("dead-letter")
        self._lines = frequent(__name__)
        self._spans = Spans(ctx.tracing)
        self._repeats = Repeats()

    # -- ledger ------------------------------------------------------------------------------------------------------
    def ledger_of(self, lane: Lane, job: Job, kind: str, **fields: Any) -> dict[str, Any]:
        """A ledger record about a job."""
        message = job.message
        return ledger_record(
            kind,
            lane.generation,
            request_id=message.request_id,
            attempt=job.attempt,
            recipient=message.recipient,
            priority=message.priority,
            source=message.record["source"],
            place=job.places[0] if job.places else job.home,
            spent=job.spent,
            **fields,
        )

    async def write_ledger(self, lane: Lane, record: dict[str, Any], *, owned: bool = True) -> Receipt:
        """Write a ledger record until Kafka has it, and take it into the lane's state."""
        receipt = await self.write_unread(lane, record, owned=owned)
        lane.ledger.apply(record, receipt.offset, receipt.timestamp_ms)
        return receipt

    async def write_unread(self, lane: Lane, record: dict[str, Any], *, owned: bool = True) -> Receipt:
        """Write a ledger record until Kafka has it; the lane's state learns of it by reading the log."""
        return await self._ctx.write(
            lane, self._ledger_topic, encode(record), lane.key, LEDGER_HEADERS, lane.partition, owned=owned
        )

    # -- ends --------------------------------------------------------------------------------------------------------
    def event(self, job: Job, kind: str, **fields: Any) -> dict[str, Any]:
        """An outbound-event about a job."""
        message = job.message
        return outbound_event(
            kind,
            message.record["request"],
            message.record["source"],
            at_ms=self._ctx.unix_ms(),
            stage="sender",
            business=message.record["business"],
            replay=message.replay,
            **fields,
        )

    async def record_settled(
        self, lane: Lane, job: Job, event: dict[str, Any], basis: Basis, *, message_id: str | None = None
    ) -> None:
        """Write `settled`. An API's own answer is written even if the lane was lost meanwhile: it is the truth."""
        record = self.ledger_of(
            lane, job, "settled", outcome=event["type"], basis=basis, message_id=message_id, event=event
        )
        await self.write_ledger(lane, record, owned=basis != "answer")

    async def publish_settled(self, lane: Lane, job: Job) -> None:
        """Write the event that the ledger's truth holds (it may be another owner's), then acknowledge."""
        state = lane.ledger.of(job.message.request_id)
        event = state.event if state is not None else None
        if event is not None:
            await self._tell_end(lane, event, job.trace, job)
            if state is not None:
                state.event = None
        await self._ctx.ours(lane)
        self._ctx.acknowledge_job(lane, job)
        self._ctx.settled_count += 1
        job.stage = Stage.FINISHED

    async def _tell_end(self, lane: Lane, event: dict[str, Any], trace: bytes | None, job: Job | None) -> None:
        """Write the event that ends a request; then, once, its line in the log."""
        await self.write_event(lane, event, trace)
        self._lines.info("message_settled", **log_fields(event, trace))
        if job is not None and job.waits_since_ms and self._spans.is_on:
            self._spans.ended(lane, job, event, self._ctx.unix_ms())

    async def write_event(self, lane: Lane, event: dict[str, Any], trace: bytes | None = None) -> None:
        """Write an outbound-event until Kafka has it."""
        await self._ctx.write(
            lane, self._events_topic, encode(event), event["recipient"], _traced(EVENT_HEADERS, trace)
        )

    # -- deferrals ---------------------------------------------------------------------------------------------------
    async def defer(self, lane: Lane, job: Job, reason: str, due_ms: int, **told: Any) -> None:
        """Make the durable copy of a message that waits, tell so, acknowledge its records. It stays in memory.

        Args:
            told: Fields of the event: what the API said, if it is the API that makes it wait.
        """
        async with job.turn():
            now_ms = self._ctx.unix_ms()
            via_gate = goes_through_gate(due_ms, now_ms) and not job.unknown
            due_ms = min(due_ms, job.message.expires_ms)
            # The copy may be read back before this ends: it stands for the message from then on, and is not finished.
            replaced, job.places = job.places, []
            job.home = replaced[0] if replaced else job.home
            await self._copy(lane, job, reason, due_ms, due_ms - now_ms, via_gate=via_gate)
        if job.stage is not Stage.FINISHED:
            job.deferred = True
            event = self.event(job, "deferred", reason=reason, attempt=job.attempt or None, due_at_ms=due_ms, **told)
            await self.write_event(lane, event, job.trace)
        await self._ctx.ours(lane)
        self._ctx.acknowledge(lane, replaced, job.message.request_id)

    async def hop(self, lane: Lane, job: Job, place: Place) -> None:
        """Renew the copy of a message that is still waiting when its copy matures; no event."""
        async with job.turn():
            if place not in job.places:
                return  # a newer copy stands for it by now
            now_ms = self._ctx.unix_ms()
            due_ms = job.message.due_ms or now_ms
            rest_ms = due_ms - now_ms
            if rest_ms <= 0:
                rest_ms = hop_delay_ms(job.hops)
                job.hops += 1
            await self._copy(lane, job, job.reason or "behind_deferred", due_ms, rest_ms, via_gate=job.goes_to_gate)
        await self._ctx.ours(lane)
        if place in job.places:
            job.places.remove(place)
            self._ctx.acknowledge(lane, [place], job.message.request_id)

    async def _copy(self, lane: Lane, job: Job, reason: str, due_ms: int, rest_ms: int, *, via_gate: bool) -> None:
        job.reason = reason
        tier = tier_for(rest_ms)
        record = copy_of(
            job.message, due_ms=due_ms, reason=reason, attempt=job.attempt, spent=job.spent, unknown=job.unknown,
            hops=job.hops, via_gate=via_gate,
        )  # fmt: skip
        topic = self._ctx.settings.topic(tier)
        receipt = await self._ctx.write(
            lane, topic, encode(record), lane.key, _traced(READY_HEADERS, job.trace), lane.partition
        )
        job.copy_ms = max(job.copy_ms, receipt.timestamp_ms)
        self._ctx.metrics.deferred.labels(tier, reason).inc()

    async def move(self, lane: Lane, job: Job, to: LanePlace) -> None:
        """Have a message wait on another lane of its number, as a durable copy there; no event."""
        now_s, now_ms = self._ctx.steady_s(), self._ctx.unix_ms()
        rest_ms = int(max(0.0, job.due_s - now_s) * 1000)
        due_ms = now_ms + rest_ms if rest_ms else job.message.due_ms or now_ms
        record = copy_of(
            job.message, due_ms=due_ms, reason=job.reason or "behind_deferred", attempt=job.attempt, spent=job.spent,
            unknown=job.unknown, hops=job.hops, via_gate=job.goes_to_gate,
        )  # fmt: skip
        topic = self._ctx.settings.topic(tier_for(due_ms - now_ms))
        headers = _traced(READY_HEADERS, job.trace)
        async with job.turn():
            await self._ctx.write(lane, topic, encode({**record, "lane": to.key}), to.key, headers, to.partition)
            await self._ctx.ours(lane)
            self._ctx.acknowledge_job(lane, job)

    async def back_to_gate(self, lane: Lane, job: Job) -> None:
        """Have a message judged anew that waited an hour or more: consent, window and template may have changed."""
        source = job.message.record["source"]
        extra = returning_headers(
            source, attempt=job.attempt, spent=job.spent, unknown=job.unknown, replay=job.message.replay
        )
        # Its end may have counted from its `not_before`; a date further ahead than the contract's would be invalid.
        expires_ms = min(job.message.expires_ms, self._ctx.unix_ms() + MAX_AHEAD_MS - CLOCKS_APART_MS)
        request = {**job.message.record["request"], "not_before": None, "expires_at": rfc3339(expires_ms)}
        topic = self._ctx.settings.topic(source["topic"])
        headers = headers_for("request/1", job.trace, extra)
        async with job.turn():
            await self._ctx.write(lane, topic, encode(request), job.message.recipient, headers)
            await self._ctx.ours(lane)
            self._ctx.acknowledge_job(lane, job)
            job.stage = Stage.FINISHED
        if self._spans.is_on:
            self._spans.ended(lane, job, {"type": "judged again"}, self._ctx.unix_ms())

    # -- others ------------------------------------------------------------------------------------------------------
    async def duplicate(self, lane: Lane, job: Job, place: Place, *, conflict: bool) -> None:
        """Tell that another record with a used id came, and acknowledge it."""
        self._ctx.metrics.duplicates_suppressed.inc()
        reason = "request_id_conflict" if conflict else "duplicate"
        await self.write_event(lane, self.event(job, "duplicate", reason=reason), job.trace)
        await self._ctx.ours(lane)
        self._ctx.acknowledge(lane, [place], job.message.request_id)

    async def repeat(self, lane: Lane, request_id: str, place: Place, trace: bytes | None = None) -> None:
        """The record of a request that is settled came again: write what is missing, acknowledge it."""
        state = lane.ledger.of(request_id)
        if state is not None and state.event is not None:
            await self._tell_end(lane, state.event, trace, None)
            state.event = None
        await self._ctx.ours(lane)
        self._ctx.acknowledge(lane, [place], request_id)

    async def dead_letter(
        self, lane: Lane, place: Place, key: bytes | None, value: bytes | None, headers: Any, code: str, why: str
    ) -> None:
        """Keep the bytes of a record that cannot be processed, then acknowledge it."""
        await self._bury(lane, place, key, value, headers, code, why, 0)
        await self._ctx.ours(lane)
        self._ctx.acknowledge(lane, [place])

    async def keep_request(self, lane: Lane, source: Place, key: bytes, value: bytes, attempts: int) -> None:
        """Keep a request of unknown outcome in `dead-letter`, where an operator can replay it with care."""
        why = "the API may or may not have taken it; a replay may send it twice"
        await self._bury(lane, source, key, value, REQUEST_HEADERS, "outcome_unknown", why, attempts)

    async def _bury(
        self, lane: Lane, place: Place, key: bytes | None, value: bytes | None, headers: Any, code: str, why: str,
        attempts: int,
    ) -> None:  # fmt: skip
        written = dead_letter_headers(
            topic=place[0], partition=place[1], offset=place[2], stage="sender", code=code, message=why,
            attempts=attempts, timestamp_ms=self._ctx.unix_ms(), original=headers,
        )  # fmt: skip
        self._ctx.metrics.dead_letters.labels("sender", code).inc()
        held_back = self._repeats.pass_now(code, self._ctx.steady_s())
        if held_back is not None:
            log.warning(
                "record_dead_lettered", topic=place[0], partition=place[1], offset=place[2], code=code, detail=why,
                suppressed=held_back, remedy="wapipe dead-letters list",
            )  # fmt: skip
        text_key = (key or b"").decode(errors="replace")
        await self._ctx.write(lane, self._dead_topic, value or b"", text_key, written)

    async def withdraw(self, lane: Lane, job: Job) -> None:
        """The API said that this person stopped marketing messages: that is an opt-out like any other."""
        at = self.event(job, "failed", reason="api_rejected")["at"]
        update = revoke(
            f"sender-131050-{lane.number}-{job.message.request_id}",
            job.message.recipient,
            job.message.record["business"],
            categories=["marketing"],
            at=at,
            method="preference",
            source="whatsapp",
        )
        topic = self._ctx.settings.topic("consent-updates")
        await self._ctx.write(lane, topic, encode(update), job.message.recipient, headers_for("consent-update/1"))
        self._ctx.metrics.opt_outs.labels("answer").inc()

    async def suppress(self, lane: Lane, job: Job, code: int | None) -> None:
        """The API said that this person cannot or must not be reached: nothing more goes there, if the code says so."""
        recipient = job.message.recipient
        record = suppression_of(code, recipient, self._ctx.unix_ms(), self._ctx.settings.policy.unreachable_s)
        if record is not None:
            topic = self._ctx.settings.topic("suppressions")
            # By the reader's count, which is renewed twice a second: the producer hears of new partitions much later.
            count = self._ctx.suppressions.partitions()
            place = partition_of(recipient, count) if count else -1
            await self._ctx.write(lane, topic, encode(record), recipient, headers_for(SUPPRESSION_SCHEMA), place)


def _traced(headers: Headers, trace: bytes | None) -> Headers:
    return headers if trace is None else [*headers, (TRACEPARENT, trace)]


def due_to_steady_s(due_ms: int, now_ms: int, now_s: float) -> float:
    """A host date as a time on the steady clock."""
    return now_s + max(0, due_ms - now_ms) / 1000.0


def valid_cause(job: Job) -> tuple[str, str]:
    """Event type and reason of a message whose judgement has run out."""
    cause = job.message.record["valid_cause"]
    if cause == "expired":
        return "expired", "expired"
    return "rejected", cause
