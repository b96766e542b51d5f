"""Messages whose outcome nobody knows: wait for evidence, then do what the policy of their category says.

Order holds while one waits, others go on. Runs on the event loop, looked after once a tick.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import structlog
from confluent_kafka import KafkaException

from pipeline.logs import Repeats, masked
from pipeline.records.codec import encode
from pipeline.sender.context import KAFKA_RETRY_S, Context
from pipeline.sender.evidence import Evidence, Proof
from pipeline.sender.finish import Finish
from pipeline.sender.jobs import Job, Stage
from pipeline.sender.lane import Lane
from pipeline.sender.replay import Tail
from pipeline.sender.scheduling import Scheduling

log = structlog.get_logger(__name__)

FRESH_ENOUGH_S = 3.0
LOOK_AGAIN_S = 0.5

Verdict = Literal["wait", "policy", "give_up"]


def informed(*, lag_s: float, reading_s: float, wait_s: float) -> bool:
    """Whether "no evidence" may be acted on: all statuses were looked at, or they cannot be read for too long.

    Args:
        lag_s: Age of what is known; infinite before the reading has reached the end once.
        reading_s: How long they are being read.
        wait_s: `sender.unknown_wait_s`.
    """
    return lag_s < FRESH_ENOUGH_S or reading_s >= 2 * wait_s


def verdict(
    *, now_ms: int, expires_ms: int, waited_s: float, wait_s: float, attempt_ms: int, newest_status_ms: int
) -> Verdict:
    """Whether to go on waiting for evidence; asked only of who is informed.

    The policy applies once a status of that number stamped later than attempt + wait was seen (statuses flow, ours
    is not among them), or after twice the wait whatever happens. At its end the request is given up.
    """
    if now_ms >= expires_ms:
        return "give_up"
    if newest_status_ms > attempt_ms + wait_s * 1000:
        return "policy"
    return "policy" if waited_s >= 2 * wait_s else "wait"


class Unknowns:
    """Looks after messages with an attempt of unknown outcome."""

    def __init__(self, ctx: Context, finish: Finish, scheduling: Scheduling, evidence: Evidence, tail: Tail) -> None:
        self._ctx, self._finish, self._scheduling = ctx, finish, scheduling
        self._evidence, self._tail = evidence, tail
        self._reading_since_s = ctx.steady_s()

    def settles(self, lane: Lane, job: Job) -> bool:
        """Look once more before a message of unknown outcome is posted again; True: it ends another way."""
        state = lane.ledger.of(job.message.request_id)
        is_over = state is not None and state.is_over(replay=job.message.replay)
        proof = None if is_over else self._proof(lane, job)
        if proof is None and not is_over:
            return False
        job.stage = Stage.SETTLING
        self._ctx.spawn(lane, self._told(lane, job) if proof is None else self._accept(lane, job, proof))
        return True

    def may_go(self, lane: Lane, job: Job) -> bool:
        """Whether a message of unknown outcome may be posted again now; else it is looked at again soon."""
        is_ledger_read = self._ctx.steady_s() - lane.tail_read_s < FRESH_ENOUGH_S
        if is_ledger_read and self._informed():
            return True
        self._scheduling.again(lane, job, self._ctx.steady_s() + LOOK_AGAIN_S)
        return False

    def _informed(self) -> bool:
        now_s, wait_s = self._ctx.steady_s(), self._ctx.settings.sender.unknown_wait_s
        reading_s = now_s - self._reading_since_s
        return informed(lag_s=self._evidence.lag_s(now_s), reading_s=reading_s, wait_s=wait_s)

    async def tick(self, lane: Lane) -> None:
        """Resolve what can be resolved by now."""
        if not lane.unknown:
            return
        if self._evidence.require(lane.oldest_doubt_ms or 0):
            self._reading_since_s = self._ctx.steady_s()
        began_s = self._ctx.steady_s()
        await self._tail.catch_up(lane)
        lane.tail_read_s = began_s
        for job in list(lane.unknown.values()):
            if not self._ctx.may_act(lane):
                return
            if job.stage is Stage.UNKNOWN:
                self._resolve(lane, job)
            elif job.stage is Stage.WAITING:  # to be sent again, but not yet
                self.settles(lane, job)

    def release_if_idle(self) -> None:
        """Stop reading evidence when nobody waits for it."""
        if not any(lane.unknown for lane in self._ctx.lanes.values()):
            self._evidence.release()

    def _proof(self, lane: Lane, job: Job) -> Proof | None:
        message = job.message
        return self._evidence.find(
            lane.number, message.request_id, message.recipient, lane.doubtful_since_ms(job), lane.ledger.message_ids
        )

    def _resolve(self, lane: Lane, job: Job) -> None:
        if self.settles(lane, job) or not self._informed():
            return
        now_s = self._ctx.steady_s()
        wait_s = self._ctx.settings.sender.unknown_wait_s
        what = verdict(
            now_ms=self._ctx.unix_ms(),
            expires_ms=job.message.expires_ms,
            waited_s=now_s - job.unknown_since_s,
            wait_s=wait_s,
            attempt_ms=job.unknown_attempt_ms,
            newest_status_ms=self._evidence.newest_status_ms(lane.number),
        )
        if what == "wait":
            return
        policy = self._ctx.settings.sender.on_unknown.get(job.message.category, "resend")  # type: ignore[call-overload]
        if what == "policy" and policy == "resend":
            self._count(lane, job, "resend")
            self._scheduling.again(lane, job, now_s, first=True)
        else:
            self._count(lane, job, "expired" if what == "give_up" else "dead_letter")
            job.stage = Stage.SETTLING
            self._ctx.spawn(lane, self._fail(lane, job))

    def _count(self, lane: Lane, job: Job, resolution: str) -> None:
        self._ctx.metrics.unknown_outcomes.labels(resolution).inc()
        log.warning(
            "unknown_outcome_resolved",
            lane=lane.key,
            request_id=job.message.request_id,
            recipient=masked(job.message.recipient),
            attempt=job.attempt,
            resolution=resolution,
        )

    async def _accept(self, lane: Lane, job: Job, proof: Proof) -> None:
        self._count(lane, job, "evidence")
        state = lane.ledger.of(job.message.request_id)
        if state is not None and state.settled and not state.is_over(replay=job.message.replay):
            # Replayed: only an attempt lifts its old end, so that this one counts.
            job.attempt += 1
            await self._finish.write_ledger(lane, self._finish.ledger_of(lane, job, "attempt"))
        event = self._finish.event(
            job, "accepted", attempt=job.attempt, message_id=proof.message_id, wa_id=proof.recipient,
            consent=job.message.record["consent"], detail="no answer came; a status shows that it was taken",
        )  # fmt: skip
        await self._end(lane, job, event, "evidence", proof.message_id)

    async def end_unsent(self, lane: Lane, job: Job) -> None:
        """End a message of unknown outcome that must not be sent again: opted out, expired."""
        while not self._informed():
            await self._ctx.ours(lane)
            if lane.draining:
                return  # the next owner looks
            await asyncio.sleep(LOOK_AGAIN_S)
        proof = self._proof(lane, job)
        if proof is not None:
            await self._accept(lane, job, proof)
        else:
            self._count(lane, job, "expired")
            await self._fail(lane, job)

    async def _told(self, lane: Lane, job: Job) -> None:
        """A predecessor's answer reached the ledger late: it is the truth."""
        self._count(lane, job, "ledger")
        await self._finish.publish_settled(lane, job)
        self._scheduling.finished(lane, job)

    async def _fail(self, lane: Lane, job: Job) -> None:
        event = self._finish.event(
            job, "failed", reason="outcome_unknown", attempt=job.attempt,
            detail="no answer came, and no status tells whether it was taken",
        )  # fmt: skip
        source = job.message.source
        key, value = job.message.recipient.encode(), encode(job.message.record["request"])
        await self._finish.keep_request(lane, source, key, value, job.attempt)
        await self._end(lane, job, event, "policy", None)

    async def _read_on(self, lane: Lane) -> None:
        repeats = Repeats()
        while True:
            await self._ctx.ours(lane)
            try:
                await self._tail.catch_up(lane)
            except (KafkaException, TimeoutError) as exc:
                if repeats.pass_now("ledger", self._ctx.steady_s()) is not None:
                    log.warning("ledger_waits_for_kafka", lane=lane.key, error=str(exc))
                await asyncio.sleep(KAFKA_RETRY_S)
            else:
                return

    async def _end(
        self,
        lane: Lane,
        job: Job,
        event: dict[str, object],
        basis: Literal["evidence", "policy"],
        message_id: str | None,
    ) -> None:
        await self._finish.record_settled(lane, job, event, basis, message_id=message_id)
        # The first counting settlement in log order is the truth, be it a predecessor's: read up to our own.
        await self._read_on(lane)
        await self._finish.publish_settled(lane, job)
        self._scheduling.finished(lane, job)
