"""Halts on `account-state`: a lane tells its sisters, in other processes, that the API refuses; and when it is over."""

from __future__ import annotations

from pipeline.clock import rfc3339
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.sender.context import Context
from pipeline.sender.lane import Lane, Scope
from pipeline.throttle.halt import Open, Wait

HEADERS = headers_for(SCHEMA)
MIN_HALT_S = 1.0
RENEW_WITHIN_S = 0.5


class Halts:
    """Publishes halts, when they begin, go on and end; best effort, as every lane halts by its own refusals, too."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._told: dict[str, float] = {}

    def tick(self, lane: Lane) -> None:
        """Tell what has changed since the last time."""
        now_s = self._ctx.steady_s()
        scope, left_s = self._longest(lane, now_s)
        told_until_s = self._told.get(lane.key)
        if left_s > 0.0:
            if told_until_s is None or told_until_s - now_s < RENEW_WITHIN_S:
                self._told[lane.key] = now_s + left_s
                self._publish(lane, scope, left_s)
        elif told_until_s is not None:
            del self._told[lane.key]
            self._publish(lane, None, 0.0)

    @staticmethod
    def _longest(lane: Lane, now_s: float) -> tuple[Scope | None, float]:
        found: tuple[Scope | None, float] = (None, 0.0)
        for scope in (lane.number_scope, lane.host_scope):
            state = scope.halt.state(now_s)
            if not isinstance(state, Open):
                left_s = max(MIN_HALT_S, state.seconds if isinstance(state, Wait) else 0.0)
                if left_s > found[1]:
                    found = scope, left_s
        return found

    def _publish(self, lane: Lane, scope: Scope | None, left_s: float) -> None:
        now_ms = self._ctx.unix_ms()
        value = {
            "kind": "number",
            "id": lane.number,
            "aspect": "halt",
            "shard": lane.shard,
            "reason": ("overloaded" if scope is lane.host_scope else "throttled") if scope is not None else None,
            "base_url": lane.settings.base_url,
            "halted": scope is not None,
            "until": rfc3339(now_ms + int(left_s * 1000)) if scope is not None else None,
            "at": rfc3339(now_ms),
            "by": self._ctx.owner,
        }
        topic = self._ctx.settings.topic("account-state")
        key = f"number:{lane.number}/halt/{lane.shard}"
        self._ctx.delivery.produce(topic, encode(value), key, HEADERS, lambda _receipt, _error: None)
