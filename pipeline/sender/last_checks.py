"""The last checks, in the one synchronous step that writes a request: lease, halt, opt-out, expiry, template, tokens.

Minutes may lie between the gate's judgement and this step, and milliseconds between the pump's look and it.
"""

from __future__ import annotations

from typing import Final

from pipeline.sender.context import Context
from pipeline.sender.jobs import Job
from pipeline.sender.lane import Lane
from pipeline.sender.templates import template_refusal
from pipeline.throttle.priority import PRIORITIES

ENDS: Final = frozenset(
    {"expired", "opt_out", "suppressed", "template_not_approved", "category_mismatch", "campaign_cancelled"}
)
"""Reasons that end the request; with any other one it goes back into its chain."""


class LastChecks:
    """Asked by the client right before the write."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._queue_seconds = {name: ctx.metrics.queue_seconds.labels(name) for name in PRIORITIES}

    def forbid(self, lane: Lane, job: Job, began_s: float, age_max_s: float, *, probe: bool) -> str | None:  # noqa: PLR0912
        """Say why the request may not be written; None: it may, and its tokens are taken.

        Args:
            began_s: When the attempt began, on the steady clock.
            age_max_s: How old it may be.
            probe: Whether it is the one request that a halt lets through.
        """
        now_s, now_ms = self._ctx.steady_s(), self._ctx.unix_ms()
        message = job.message
        if lane.closed or lane.draining:
            return "draining"
        if not self._ctx.stream.lease.valid:
            return "lease"
        if now_s - began_s > age_max_s:
            lane.attempt_age.too_old(age_max_s)
            return "stale"
        if not probe and lane.scopes.is_halted(now_s):
            return "halt"
        if not self._ctx.access.is_ready(lane.number) or self._ctx.preflight.is_refused(lane.number, now_ms):
            return "access"
        if now_ms >= message.valid_until_ms or now_ms >= message.expires_ms:
            return "expired"
        if not self._ctx.optouts.is_fresh(now_s) or not self._ctx.optouts.covers(message):
            return "opt_outs_stale"
        if self._ctx.optouts.forbids(message, now_ms):
            return "opt_out"
        if self._ctx.suppressions.forbids(message.recipient, now_ms):
            return "suppressed"
        refusal = template_refusal(self._ctx.account.templates, lane.settings.account, message, now_ms)
        if refusal is not None:
            return refusal[0]
        if lane.pairs is not None and lane.pairs.wait_s(message.recipient, now_s) > 0.0:
            return "pair"  # another chain to this person was faster
        if not lane.bucket.has(now_s):
            return "token"
        lane.bucket.take(now_s)
        if lane.pairs is not None:
            lane.pairs.take(message.recipient, now_s)
        job.written_s = now_s
        lane.attempt_age.written(now_s - began_s)
        self._queue_seconds[message.priority].observe(max(0, now_ms - message.source_ms) / 1000)
        return None
