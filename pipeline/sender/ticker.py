"""What a sender does by the clock: figures, expired messages, unknown outcomes, halts, marks, watchdog. One task."""

from __future__ import annotations

import asyncio

import structlog
from confluent_kafka import KafkaException

from pipeline.health import Health
from pipeline.logs import Repeats
from pipeline.sender.context import Context
from pipeline.sender.dispatch import Dispatch
from pipeline.sender.evidence import LOOK_BACK_MS
from pipeline.sender.figures import Figures
from pipeline.sender.halts import Halts
from pipeline.sender.handover import Handover
from pipeline.sender.lane import Lane
from pipeline.sender.leaving import Leaving
from pipeline.sender.quality import Quality
from pipeline.sender.unknown import Unknowns
from pipeline.streams.progress import Progress

log = structlog.get_logger(__name__)

TICK_S = 0.25
UNKNOWN_EVERY = 2
FIGURES_EVERY = 4
SWEEP_EVERY = 20
MARK_EVERY = 120
FORGET_EVERY = 240


class Ticker:
    """Ticks until it is cancelled."""

    def __init__(
        self, ctx: Context, dispatch: Dispatch, unknowns: Unknowns, handover: Handover, health: Health, leaving: Leaving
    ) -> None:
        self._ctx, self._dispatch, self._unknowns = ctx, dispatch, unknowns
        self._handover, self._leaving = handover, leaving
        self._halts = Halts(ctx)
        self._figures = Figures(ctx.metrics, dispatch.stop_reasons)
        self._quality = Quality(ctx)
        self._repeats = Repeats()
        self._progress = Progress(ctx.metrics, health, "lanes", ctx.steady_s)

    async def run(self) -> None:
        """Tick for ever.

        Raises:
            InvariantBroken: nothing was settled for too long, though there was no reason of the contract's for it.
        """
        count = 0
        while True:
            await asyncio.sleep(TICK_S)
            count += 1
            self._ctx.optouts.beat(self._ctx.steady_s())
            lanes = [lane for lane in self._ctx.lanes.values() if lane.is_open and not lane.draining]
            for lane in lanes:
                if lane.is_open and not lane.draining:  # still, after what was awaited for others
                    await self._tick(lane, count)
            if count % FIGURES_EVERY == 0:
                self._figures.show(lanes, self._ctx.steady_s(), self._ctx.unix_ms())
            if count % UNKNOWN_EVERY == 0:
                self._unknowns.release_if_idle()
            if count % FIGURES_EVERY == 0:
                self._watch()

    async def _tick(self, lane: Lane, count: int) -> None:
        self._halts.tick(lane)
        lane.follow_throughput(self._ctx.account.throughput(lane.number), self._ctx.steady_s())
        self._quality.follow(lane)
        self._dispatch.make_room(lane)
        self._leaving.look(lane)
        if count % UNKNOWN_EVERY == 0:
            try:
                await self._unknowns.tick(lane)
            except (KafkaException, TimeoutError) as exc:
                if self._repeats.pass_now("unknown", self._ctx.steady_s()) is not None:
                    log.warning("evidence_waits_for_kafka", lane=lane.key, error=str(exc))
        if count % FIGURES_EVERY == 0:
            self._ctx.preflight.tell_override(lane.number, self._ctx.unix_ms())
        if count % SWEEP_EVERY == 0:
            self._dispatch.sweep(lane)
        if count % MARK_EVERY == 0:
            await self._handover.mark(lane)
        if count % FORGET_EVERY == 0 and lane.ledger.last_attempt_ms is not None:
            before_ms = lane.ledger.last_attempt_ms - int(self._ctx.settings.sender.dedupe_window_s * 1000)
            doubt_ms = lane.oldest_doubt_ms
            if doubt_ms is not None:  # statuses read as evidence are told apart by the message ids that are known
                before_ms = min(before_ms, doubt_ms - LOOK_BACK_MS)
            lane.ledger.forget_older(before_ms, frozenset(one for _, one in lane.finished))

    def _watch(self) -> None:
        """Nothing settled although something may go: the process is stuck, whatever it looks like."""
        self._opt_outs(self._ctx.steady_s())
        has_work = any(self._should_move(lane) for lane in self._ctx.lanes.values())
        self._progress.note(self._ctx.settled_count, has_work=has_work, detail=self._lanes)

    def _lanes(self) -> str:
        found = {lane.key: (len(lane.jobs), lane.in_flight, lane.on_way) for lane in self._ctx.lanes.values()}
        return f"(jobs, in flight, on way) by lane: {found}"

    def _opt_outs(self, now_s: float) -> None:
        """Also without a lane: a process that has none yet may get one."""
        optouts = self._ctx.optouts
        optouts.tell(now_s)
        optouts.trim(job.message for lane in self._ctx.lanes.values() for job in lane.jobs.values())
        self._ctx.metrics.opt_out_reader_lag.set(optouts.lag_s(now_s))
        self._ctx.metrics.opt_out_people.set(optouts.people)

    def _should_move(self, lane: Lane) -> bool:
        if not lane.is_open:
            return not lane.kafka_away and self._ctx.stream.lease.valid
        return not self._dispatch.stop_reasons(lane) and lane.chains.queued
