"""May this message go? The gate's checks, in the design's order, as one function over plain values.

Pure: no clock, no I/O. What is known about the person and the number comes in as `Facts`; a decision comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from pipeline.clock import parse_rfc3339_ms
from pipeline.gate.campaigns import CampaignWord, hold_until_ms
from pipeline.gate.routing import GATE_AGAIN_MS
from pipeline.gate.templates import TemplateFacts, template_refusal
from pipeline.records.consent_rule import Standing, basis
from pipeline.records.request import Priority, Request, too_far_ahead
from pipeline.whatsapp.bodies import check_message, check_recipient
from pipeline.whatsapp.suppression import holds

ValidCause = Literal["expired", "consent_expired", "window_closed"]
_NO_GRANT: Final = {"none": "no_consent", "withdrawn": "consent_withdrawn", "expired": "consent_expired"}


class Hold(NamedTuple):
    """Something that holds a request back for a time: the reason of the event, and when it is judged anew."""

    reason: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision rests on besides the request.

    Attributes:
        now_ms: The gate's clock, milliseconds since 1970.
        source_ms: Broker time of the request's first record.
        profile: Of the sending number; None: there is no such number.
        ttl_s: How long a request of its category may wait if it names no end.
        window_until_ms: End of the person's service window with the number; None: never opened, or not needed.
        standing: What the person allowed for this (business, category, purpose).
        suppression: The person's record on `suppressions`, whether it still holds or not; None: there is none.
        hold: The number's quality or its portfolio's tier hold it back.
        is_confirmation: Whether it is the answer to the very opt-out that `standing` rests on.
        campaign: What an operator did to its campaign; None: nothing, or it has none.
        template: What is known of the template that it uses; None: it uses none.
    """

    now_ms: int
    source_ms: int
    profile: str | None
    ttl_s: int
    window_until_ms: int | None
    standing: Standing
    suppression: Mapping[str, Any] | None = None
    hold: Hold | None = None
    is_confirmation: bool = False
    campaign: CampaignWord | None = None
    template: TemplateFacts | None = None


@dataclass(frozen=True, slots=True)
class Admit:
    """It may go now.

    Attributes:
        expires_ms: Not sent from then on.
        valid_until_ms: The judgement holds until then: the earliest of consent's end, window's end, `expires_ms`.
        valid_cause: What ends then.
        consent: The entry it rests on; None for service messages.
    """

    priority: Priority
    expires_ms: int
    valid_until_ms: int
    valid_cause: ValidCause
    consent: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Defer:
    """It may go later.

    Attributes:
        admit: What would be admitted now.
        due_ms: When it may go.
        reason: As on the `deferred` event.
        via_gate: Whether it is judged anew when due.
    """

    admit: Admit
    due_ms: int
    reason: str
    via_gate: bool


@dataclass(frozen=True, slots=True)
class Reject:
    """It never goes.

    Attributes:
        kind: Type of the terminal event.
        consent: The entry it rests on, of a consent rejection.
    """

    kind: Literal["rejected", "expired", "cancelled"]
    reason: str
    detail: str | None = None
    consent: dict[str, Any] | None = None


Decision = Admit | Defer | Reject


def decide(request: Request, facts: Facts) -> Decision:
    """Judge one request.

    Args:
        request: Has passed its schema; `to` is normalised.
    """
    expires_ms = end_of(request, facts.source_ms, facts.ttl_s)
    problems = _date_problems(request, facts.now_ms)
    if facts.profile is not None:
        problems += check_recipient(request.to, facts.profile)
        problems += [f"message.{problem}" for problem in check_message(request.message, facts.profile)]
    if problems:
        return Reject("rejected", "invalid", "; ".join(problems))
    if facts.profile is None:
        return Reject("rejected", "unknown_number", f"from: no number {request.from_} in the settings")
    if expires_ms <= facts.now_ms:
        return Reject("expired", "expired")
    if facts.campaign == "cancelled":
        return Reject("cancelled", "campaign_cancelled")
    if facts.suppression is not None and holds(facts.suppression, facts.now_ms):
        return Reject("rejected", "suppressed", _why_suppressed(facts.suppression))
    is_service, is_windowed = request.category == "service", needs_window(request)
    window_ms = facts.window_until_ms
    if is_windowed and (window_ms is None or window_ms <= facts.now_ms):
        return Reject("rejected", "window_closed" if is_service else "template_required")
    refusal = template_refusal(request, facts.template, facts.now_ms)
    if refusal is not None:
        return Reject("rejected", *refusal)
    standing = facts.standing
    blocked = standing.kind == "withdrawn" if is_service else standing.kind != "granted"
    if blocked and not facts.is_confirmation:
        return Reject("rejected", _NO_GRANT[standing.kind], consent=basis(standing.entry))
    admit = _admit(request, expires_ms, window_ms if is_windowed else None, None if is_service else standing.entry)
    hold = facts.hold
    if hold is not None and (request.not_before or 0) < hold.due_ms:
        return Defer(admit, min(hold.due_ms, expires_ms), hold.reason, via_gate=True)
    if request.not_before is not None and request.not_before > facts.now_ms:
        via_gate = request.not_before - facts.now_ms >= GATE_AGAIN_MS
        return Defer(admit, request.not_before, "scheduled", via_gate)
    if facts.campaign == "paused":
        return Defer(admit, hold_until_ms(facts.now_ms, expires_ms), "held_campaign", via_gate=True)
    return admit


def _why_suppressed(record: Mapping[str, Any]) -> str:
    until = record["until"]
    return f"{record['reason']} since {record['at']}, {'for good' if until is None else f'until {until}'}"


def needs_window(request: Request) -> bool:
    """Whether it may go only while the person's service window is open: service messages, and all free-form ones."""
    return request.category == "service" or request.message.get("type") != "template"


def end_of(request: Request, source_ms: int, ttl_s: int) -> int:
    """When a request expires: as it says, else `ttl_s` after it came or, if later, after its `not_before`."""
    if request.expires_at is not None:
        return request.expires_at
    return max(source_ms, request.not_before or 0) + ttl_s * 1000


def _date_problems(request: Request, now_ms: int) -> list[str]:
    problems = too_far_ahead(request, now_ms)
    if request.not_before is not None and request.expires_at is not None and request.not_before >= request.expires_at:
        problems.append("not_before: not earlier than expires_at")
    return problems


def _admit(request: Request, expires_ms: int, window_ms: int | None, grant: Mapping[str, Any] | None) -> Admit:
    until_ms = expires_ms
    cause: ValidCause = "expired"
    ends = grant["expires_at"] if grant is not None else None
    if ends is not None and parse_rfc3339_ms(ends) < until_ms:
        until_ms, cause = parse_rfc3339_ms(ends), "consent_expired"
    if window_ms is not None and window_ms < until_ms:
        until_ms, cause = window_ms, "window_closed"
    return Admit(request.effective_priority, expires_ms, until_ms, cause, basis(grant))
