"""Halts on `account-state`: a lane tells its sisters, in other processes, that the API refuses; and when it is over.

Best effort: what does not reach them they learn by refusals of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.clock import rfc3339
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.sender.context import Context
from pipeline.sender.lane import Lane
from pipeline.sender.scopes import WIDEST_FIRST, Scope, ScopeName
from pipeline.throttle.halt import Wait

HEADERS = headers_for(SCHEMA)
MIN_HALT_S = 1.0
RENEW_WITHIN_S = 0.5


class Told(NamedTuple):
    """What was said last: how far the halt reaches, and until when, on the steady clock."""

    scope: ScopeName
    until_s: float


class Halts:
    """Publishes halts, when they begin, go on and end."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._told: dict[str, Told] = {}

    def tick(self, lane: Lane) -> None:
        """Tell what has changed since the last time."""
        now_s = self._ctx.steady_s()
        name = _widest_halted(lane, now_s)
        told = self._told.get(lane.key)
        if name is not None:
            if told is None or told.scope != name or told.until_s - now_s < RENEW_WITHIN_S:
                scope: Scope = getattr(lane.scopes, name)
                left_s = _left_s(scope, now_s)
                self._told[lane.key] = Told(name, now_s + left_s)
                self._publish(lane, name, scope.word, left_s)
        elif told is not None:
            del self._told[lane.key]
            self._publish(lane, None, None, 0.0)

    def _publish(self, lane: Lane, name: ScopeName | None, reason: str | None, left_s: float) -> None:
        until_ms = self._ctx.unix_ms() + int(left_s * 1000)
        halt = {
            "reason": reason,
            "scope": name,
            "account": lane.settings.account or None,
            "base_url": lane.settings.base_url,
            "halted": name is not None,
            "until": rfc3339(until_ms) if name is not None else None,
        }
        _tell(self._ctx, lane, "halt", halt)


def pause_marketing(ctx: Context, lane: Lane, seconds: float, error_code: int | None) -> None:
    """Have no lane of the number send marketing for so long."""
    until_ms = ctx.unix_ms() + int(seconds * 1000)
    ctx.account.pause_marketing(lane.number, until_ms)
    _tell(ctx, lane, "marketing", {"until": rfc3339(until_ms), "error_code": error_code})


def _tell(ctx: Context, lane: Lane, aspect: str, what: dict[str, Any]) -> None:
    value = {
        "kind": "number",
        "id": lane.number,
        "aspect": aspect,
        "shard": lane.shard,
        **what,
        "at": rfc3339(ctx.unix_ms()),
        "by": ctx.owner,
    }
    key = f"number:{lane.number}/{aspect}/{lane.shard}"
    ctx.delivery.produce(
        ctx.settings.topic("account-state"), encode(value), key, HEADERS, lambda _receipt, _error: None
    )


def _widest_halted(lane: Lane, now_s: float) -> ScopeName | None:
    """The widest scope that is halted: whoever obeys it obeys the narrower ones, too."""
    for name in WIDEST_FIRST:
        scope: Scope = getattr(lane.scopes, name)
        if scope.halt.is_halted(now_s):
            return name
    return None


def _left_s(scope: Scope, now_s: float) -> float:
    state = scope.halt.state(now_s)
    return max(MIN_HALT_S, state.seconds if isinstance(state, Wait) else 0.0)
