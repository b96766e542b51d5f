"""What to do about an outcome: one decision per answer of the API. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.sender.scopes import ScopeName, Word
from pipeline.sender.wheel import pair_delay_s, transient_delay_s
from pipeline.whatsapp.answer import Kind, Outcome

Stop = tuple[ScopeName, Word]
TOKEN_RETRY_S = 30.0
BLOCKED_RETRY_S = 30.0
MARKETING_PAUSE_S = 86_400.0


class Decision(NamedTuple):
    """What follows from an outcome.

    Attributes:
        action: `settle` it, `return` it (it may be tried again), hold it as `unknown`, or `void` the attempt.
        outcome: Of `settle`: `accepted` or `failed`.
        reason: Of the event: of a deferral, or of a failure.
        delay_s: Of `return`: how long this message waits for a reason of its own.
        spends: Whether the attempt counts against the maximum.
        halt: What stands still because of it, and under which word; None: nothing but this message.
        pauses_marketing: Whether the number sends no marketing for `delay_s`.
        withdraws: Whether the person stopped marketing messages: that is written to `consent-updates`.
    """

    action: Literal["settle", "return", "unknown", "void"]
    outcome: str | None = None
    reason: str | None = None
    delay_s: float = 0.0
    spends: bool = False
    halt: Stop | None = None
    pauses_marketing: bool = False
    withdraws: bool = False


def decide(outcome: Outcome, *, spent: int, pair_failures: int, max_attempts: int, jitter: float) -> Decision:
    """Say what follows.

    Args:
        spent: Attempts spent before this one.
        pair_failures: How often the pair limit refused this message before.
        max_attempts: How many may be.
        jitter: In [0, 1).
    """
    kind = outcome.kind
    if kind is Kind.ACCEPTED:
        return Decision("settle", "accepted")
    if kind is Kind.THROTTLED:
        return Decision("return", reason="throttled", halt=(_reach(outcome), "throttled"))
    if kind is Kind.OVERLOADED:
        return Decision("return", reason="overloaded", halt=("host", "overloaded"))
    if kind is Kind.UNAUTHORISED:
        return Decision("return", reason="throttled", delay_s=TOKEN_RETRY_S, halt=("number", "token"))
    if kind is Kind.TOKEN_SPENT:
        return Decision("return", reason="throttled")
    if kind is Kind.NUMBER_BLOCKED:
        delay_s = outcome.delay_s or BLOCKED_RETRY_S
        return Decision("return", reason="throttled", delay_s=delay_s, halt=(_reach(outcome), "preflight"))
    if kind is Kind.MARKETING_PAUSED:
        delay_s = outcome.delay_s or MARKETING_PAUSE_S
        return Decision("return", reason="marketing_limit", delay_s=delay_s, pauses_marketing=True)
    if kind is Kind.PAIR_LIMITED:
        delay_s = max(outcome.retry_after_s or 0.0, pair_delay_s(pair_failures))
        return Decision("return", reason="pair_limited", delay_s=delay_s)
    if kind is Kind.UNKNOWN:
        return Decision("unknown")
    if kind is Kind.NOT_SENT:
        return Decision("void", reason="overloaded", halt=("host", "overloaded"))
    if kind is Kind.TRANSIENT:
        return _transient(outcome, spent, max_attempts, jitter)
    return Decision("settle", "failed", "api_rejected", withdraws=kind is Kind.RECIPIENT_STOPPED)


def _reach(outcome: Outcome) -> ScopeName:
    """How far a refusal reaches: codes that concern an account (80007, 368 …) say so, others concern the number."""
    return "account" if outcome.scope == "account" else "number"


def _transient(outcome: Outcome, spent: int, max_attempts: int, jitter: float) -> Decision:
    if spent + 1 >= max_attempts:
        return Decision("settle", "failed", "attempts_spent", spends=True)
    if outcome.delay_s is not None:
        # Of the codes that name a wait, only Meta's limit on marketing to one person concerns a person (131049).
        reason = "marketing_limit" if outcome.scope == "recipient" else "transient"
        return Decision("return", reason=reason, delay_s=outcome.delay_s, spends=True)
    asked_s = outcome.retry_after_s or 0.0
    return Decision(
        "return", reason="transient", delay_s=max(asked_s, transient_delay_s(spent + 1, jitter)), spends=True
    )
