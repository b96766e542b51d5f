"""One message in hand: attempt acked → last checks and write in one step → answer → what follows. One task each.

The token is taken in the very step that writes the request; what is on its way to that step is bounded by the tokens
there are (`Lane.on_way`), so no token ever ages. The attempt itself may not: see `attempt_age`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from confluent_kafka import KafkaException

from pipeline.errors import NotSent
from pipeline.logs import Repeats
from pipeline.records.codec import encode
from pipeline.records.ledger import Basis
from pipeline.sender.context import KAFKA_RETRY_S, Context
from pipeline.sender.finish import LEDGER_HEADERS, Finish, due_to_steady_s, valid_cause
from pipeline.sender.flight import Flight
from pipeline.sender.halts import pause_marketing
from pipeline.sender.jobs import Job, Stage
from pipeline.sender.lane import Lane
from pipeline.sender.last_checks import ENDS, LastChecks
from pipeline.sender.looks import REMEDY
from pipeline.sender.outcomes import Decision, decide
from pipeline.sender.scheduling import Scheduling
from pipeline.sender.spans import Attempt, Spans
from pipeline.sender.stops import CANCELLED
from pipeline.sender.templates import template_refusal
from pipeline.sender.wheel import goes_through_gate
from pipeline.whatsapp.answer import Kind, Outcome, classify, classify_failure
from pipeline.whatsapp.callback import callback_data
from pipeline.whatsapp.client import RequestFailed

log = structlog.get_logger(__name__)


def digest_of(job: Job) -> str:
    """Short hash of what is sent to whom: tells a repeated request from another one under the same id."""
    request = job.message.record["request"]
    content = orjson.dumps([request["to"], request["category"], request["message"]], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=8).hexdigest()


class Posting:
    """Sends messages, each in a task of its own."""

    def __init__(self, ctx: Context, finish: Finish, scheduling: Scheduling) -> None:
        self._ctx, self._finish, self._scheduling = ctx, finish, scheduling
        self._last_checks = LastChecks(ctx)
        self._spans = Spans(ctx.tracing)
        self._ledger_topic = ctx.settings.topic("send-ledger")
        self._repeats = Repeats()
        self.end_unknown: Callable[[Lane, Job], Awaitable[None]]

    async def send(self, lane: Lane, job: Job, flight: Flight, *, probe: bool) -> None:
        """Take one message through an attempt.

        Args:
            flight: Counts it; made when it was chosen.
            probe: Whether it is the one request that a halt lets through.
        """
        began_s, age_max_s = self._ctx.steady_s(), lane.attempt_age.limit_s
        job.attempt += 1
        traced: Attempt | None = None
        try:
            await self._attempt(lane, job, age_max_s)

            message = job.message

            def last_check() -> str | None:
                flight.written()
                held = self._ctx.account.stops.forbids(lane.number, message)
                return held or self._last_checks.forbid(lane, job, began_s, age_max_s, probe=probe)

            traced = self._spans.attempt(lane, job, self._ctx.unix_ms()) if self._spans.is_on else None
            trace = traced.trace if traced is not None else None
            echoed = lane.profile.echoes_callback_data
            callback = callback_data(message.request_id, job.attempt, trace) if echoed else None
            body = lane.profile.render(message.record["request"]["message"], message.to, callback)
            endpoint = self._ctx.access.newest(lane.number, lane.endpoint)
            answer = await self._ctx.client.post(endpoint.url, endpoint.headers, body, last_check)
        except KafkaException:
            self._ended(lane, flight, probe=probe)
            await self._attempt_lost(lane, job)
        except NotSent as exc:
            self._ended(lane, flight, probe=probe)
            await self._not_sent(lane, job, exc.reason)
        except RequestFailed as exc:
            self._ended(lane, flight, probe=probe)
            await self._after(lane, job, classify_failure("read" if exc.written else "connect", exc.cause), traced)
        else:
            self._ended(lane, flight, probe=probe)
            outcome = classify(answer.status, answer.headers, answer.body, self._ctx.unix_ms() / 1000)
            await self._after(lane, job, self._ctx.access.judged(lane.number, endpoint, outcome), traced)
        finally:
            flight.ended()

    # -- before the write --------------------------------------------------------------------------------------------
    async def _attempt(self, lane: Lane, job: Job, age_max_s: float) -> None:
        age_ms = int(age_max_s * 1000)
        record = self._finish.ledger_of(lane, job, "attempt", digest=digest_of(job), age_ms=age_ms)
        receipt = await self._ctx.delivery.send(
            self._ledger_topic, encode(record), lane.key, LEDGER_HEADERS, lane.partition
        )
        lane.kafka_away = False
        lane.ledger.apply(record, receipt.offset, receipt.timestamp_ms)
        job.unknown_attempt_ms = receipt.timestamp_ms

    async def _attempt_lost(self, lane: Lane, job: Job) -> None:
        """Kafka did not take the attempt in time, or nobody knows: nothing left; say so before going on."""
        self._ctx.metrics.producer_errors.inc()
        lane.kafka_away = True
        record = self._finish.ledger_of(lane, job, "void", reason="kafka")
        await self._finish.write_ledger(lane, record)
        self._scheduling.again(lane, job, self._ctx.steady_s() + KAFKA_RETRY_S)

    async def _not_sent(self, lane: Lane, job: Job, reason: str) -> None:
        """A last check forbade the write: void, then back into its chain, or to its end."""
        await self._finish.write_ledger(lane, self._finish.ledger_of(lane, job, "void", reason=reason))
        if reason in ENDS:
            await self.end_unsent(lane, job)
        else:
            self._scheduling.again(lane, job, self._ctx.steady_s())

    async def end_unsent(self, lane: Lane, job: Job) -> None:
        """End a message that must not go any more, by what the checks say now."""
        if job.unknown:
            await self.end_unknown(lane, job)
            return
        now_ms = self._ctx.unix_ms()
        kind, reason, detail = "expired", "expired", None
        if now_ms < job.message.expires_ms and self._ctx.account.stops.of(job.message) == CANCELLED:
            kind, reason = "cancelled", CANCELLED
        elif now_ms < job.message.expires_ms:
            withdrawn = self._ctx.optouts.forbids(job.message, now_ms)
            suppressed = not withdrawn and self._ctx.suppressions.forbids(job.message.recipient, now_ms)
            is_valid = not withdrawn and not suppressed and now_ms < job.message.valid_until_ms
            refusal = template_refusal(self._ctx.account.templates, lane.settings.account, job.message, now_ms)
            if is_valid and refusal is None:
                self._scheduling.again(lane, job, self._ctx.steady_s())  # the clock stepped, or opt-outs are read anew
                return
            kind, reason = ("rejected", "consent_withdrawn") if withdrawn else valid_cause(job)
            if suppressed:
                kind, reason = "rejected", "suppressed"
            if is_valid and refusal is not None:
                kind, (reason, detail) = "rejected", refusal
        rests_on_consent = kind == "rejected" and reason != "suppressed" and detail is None
        consent = job.message.record["consent"] if rests_on_consent else None
        told: dict[str, Any] = {"reason": reason, "detail": detail, "consent": consent}
        event = self._finish.event(job, kind, attempt=job.attempt or None, **told)
        if kind == "rejected":
            self._ctx.metrics.rejected.labels(reason).inc()
        await self._settle(lane, job, event, "check")

    # -- after the write ---------------------------------------------------------------------------------------------
    async def _after(self, lane: Lane, job: Job, outcome: Outcome, traced: Attempt | None) -> None:
        now_s = self._ctx.steady_s()
        settings = self._ctx.settings.sender
        known = lane.ledger.of(job.message.request_id)
        what = decide(
            outcome, spent=job.spent, pair_failures=known.pair_failures if known is not None else 0,
            max_attempts=settings.max_attempts, jitter=self._ctx.random.random(),
        )  # fmt: skip
        self._ctx.metrics.send_attempts.labels(lane.number, outcome.kind.value).inc()
        if job.written_s:
            self._ctx.metrics.send_duration.observe(max(0.0, now_s - job.written_s))
        if traced is not None:
            self._spans.answered(traced, lane, job, outcome, self._ctx.unix_ms())
        self._steer(lane, job, outcome, what, now_s)
        job.stage = Stage.SETTLING
        if what.spends:
            job.spent += 1
        if what.action == "settle":
            job.waits_since_ms = 0
            await self._settled(lane, job, outcome, what, now_s)
        elif what.action == "unknown":
            await self._unknown(lane, job, now_s)
        else:
            await self._returned(lane, job, outcome, what)

    def _steer(self, lane: Lane, job: Job, outcome: Outcome, what: Decision, now_s: float) -> None:
        """Let the answer halt or free the number, its account and its host."""
        if what.halt is not None:
            name, word = what.halt
            asked_s = outcome.retry_after_s if outcome.retry_after_s is not None else what.delay_s or None
            if lane.scopes.refused(name, word, job.written_s, now_s, asked_s, self._ctx.random.random()):
                self._ctx.metrics.throttled.labels(lane.number, word).inc()
                self._tell_halt(lane, name, word, outcome, now_s)
            return
        if what.pauses_marketing:
            pause_marketing(self._ctx, lane, what.delay_s, outcome.error_code)
        says_something = outcome.http_status is not None and outcome.kind is not Kind.TOKEN_SPENT
        if says_something and lane.scopes.answered(job.written_s, now_s):
            for other in self._ctx.lanes.values():
                self._scheduling.wake(other)  # lanes of the same scope wait for the probe's time-out

    def _tell_halt(self, lane: Lane, scope: str, word: str, outcome: Outcome, now_s: float) -> None:
        """Name what the API refuses, and how, now and then: a wrong token or a blocked account needs a person."""
        held = self._repeats.pass_now(f"{lane.number} {word}", now_s)
        if held is not None:
            further = {"remedy": REMEDY} if word == "token" else {}
            log.warning(
                "halted", lane=lane.key, scope=scope, reason=word, http_status=outcome.http_status,
                error_code=outcome.error_code, detail=outcome.detail, suppressed=held, **further,
            )  # fmt: skip

    async def _settled(self, lane: Lane, job: Job, outcome: Outcome, what: Decision, now_s: float) -> None:
        if what.withdraws:
            await self._finish.withdraw(lane, job)
        if what.outcome == "failed":
            await self._finish.suppress(lane, job, outcome.error_code)
        accepted = what.outcome == "accepted"
        event = self._finish.event(
            job,
            what.outcome or "failed",
            reason=what.reason,
            detail=outcome.detail,
            attempt=job.attempt,
            message_id=outcome.message_id,
            wa_id=outcome.wa_id,
            http_status=outcome.http_status,
            error_code=outcome.error_code,
            queue_ms=self._queue_ms(job, now_s),
            api_ms=int((now_s - job.written_s) * 1000) if job.written_s else None,
            consent=job.message.record["consent"] if accepted else None,
        )
        await self._settle(lane, job, event, "answer", message_id=outcome.message_id)

    async def _settle(
        self, lane: Lane, job: Job, event: dict[str, Any], basis: Basis, *, message_id: str | None = None
    ) -> None:
        """End a request. Its successor does not wait for the event: the ledger knows that it is done."""
        await self._finish.record_settled(lane, job, event, basis, message_id=message_id)
        self._scheduling.pass_on(lane, job)
        await self._finish.publish_settled(lane, job)
        self._scheduling.finished(lane, job)

    def _queue_ms(self, job: Job, now_s: float) -> int | None:
        if not job.written_s:
            return None
        return max(0, self._ctx.unix_ms() - int((now_s - job.written_s) * 1000) - job.message.source_ms)

    async def _returned(self, lane: Lane, job: Job, outcome: Outcome, what: Decision) -> None:
        kind = "void" if what.action == "void" else "returned"
        reason = what.reason or "transient"
        await self._finish.write_ledger(lane, self._finish.ledger_of(lane, job, kind, reason=reason))
        now_s, now_ms = self._ctx.steady_s(), self._ctx.unix_ms()
        waits_s = 0.0 if what.halt is not None else what.delay_s
        due_ms = now_ms + int(waits_s * 1000)
        first = what.halt is not None
        if first or waits_s > self._ctx.settings.sender.lane_wait_max_s:
            await self.put_off(
                lane, job, reason, due_ms, first=first,
                detail=outcome.detail, http_status=outcome.http_status, error_code=outcome.error_code,
            )  # fmt: skip
        else:
            self._scheduling.again(lane, job, due_to_steady_s(due_ms, now_ms, now_s))

    async def put_off(
        self, lane: Lane, job: Job, reason: str, due_ms: int, *, first: bool = False, **told: Any
    ) -> None:
        """Have a message wait for a reason of its own: a durable copy, and its place in memory.

        Args:
            first: It is the next one of its lane, once it may go.
            told: Fields of the event.
        """
        now_s, now_ms = self._ctx.steady_s(), self._ctx.unix_ms()
        await self._finish.defer(lane, job, reason, due_ms, **told)
        if goes_through_gate(due_ms, now_ms) and not job.unknown:
            self._scheduling.park(lane, job)
        else:
            self._scheduling.again(lane, job, due_to_steady_s(due_ms, now_ms, now_s), first=first)

    async def _unknown(self, lane: Lane, job: Job, now_s: float) -> None:
        job.unknown = True
        job.unknown_since_s = now_s
        job.stage = Stage.UNKNOWN
        lane.unknown[job.message.request_id] = job
        await self._finish.defer(lane, job, "transient", self._ctx.unix_ms())
        self._scheduling.follow(lane, job)

    def _ended(self, lane: Lane, flight: Flight, *, probe: bool) -> None:
        """There is an answer, or none will come: the next probe is another one."""
        flight.ended()
        if probe:
            lane.scopes.probe_lost(self._ctx.steady_s())
