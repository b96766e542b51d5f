"""The one table of outbound-event types and reasons: the schema's enums and README's table are made from it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Stage = Literal["gate", "sender"]


class Reason(NamedTuple):
    """One reason of an outbound-event.

    Attributes:
        type: The event type it belongs to.
        stage: Who decides it.
        retryable: Whether the same request may succeed later if upstream sends it again under a new id.
        meaning: What happened, for a person.
        remedy: What upstream or an operator can do.
    """

    type: str
    stage: Stage
    retryable: bool
    meaning: str
    remedy: str


TERMINAL = frozenset({"accepted", "rejected", "failed", "expired", "cancelled"})
FOLLOW_UP = frozenset({"undelivered"})
TYPES: tuple[str, ...] = (
    "queued", "deferred", "accepted", "rejected", "failed", "expired", "cancelled", "duplicate", "undelivered",
)  # fmt: skip

REASONS: dict[str, Reason] = {
    "throttled": Reason(
        "deferred", "sender", True, "the API refuses the number for now", "429: none; else see error_code and detail"
    ),
    "overloaded": Reason(
        "deferred", "sender", True, "the API is overloaded or away", "none: it is tried again by itself"
    ),
    "transient": Reason("deferred", "sender", True, "a passing fault of the API or the network", "none"),
    "pair_limited": Reason("deferred", "sender", True, "too many messages to this person in a short time", "none"),
    "scheduled": Reason(
        "deferred", "gate", True, "its not_before is ahead", "none; after an hour or more it is judged anew"
    ),
    "behind_deferred": Reason("deferred", "sender", True, "an earlier message to this person waits", "none"),
    "held_quality": Reason("deferred", "gate", True, "the number's quality is low", "see the number's quality"),
    "held_campaign": Reason("deferred", "gate", True, "its campaign is paused", "resume the campaign"),
    "tier_exhausted": Reason("deferred", "gate", True, "the day's tier is used up", "wait, or raise the tier"),
    "marketing_limit": Reason("deferred", "sender", True, "Meta holds marketing to this person back", "wait a day"),
    "invalid": Reason("rejected", "gate", False, "the request breaks the contract", "correct what detail names"),
    "unknown_number": Reason("rejected", "gate", False, "no such sending number", "add it to the settings"),
    "suppressed": Reason(
        "rejected", "gate", False, "the recipient is suppressed", "see detail; a message from them lifts a dated one"
    ),
    "window_closed": Reason("rejected", "gate", True, "free text outside the 24 h window", "send a template"),
    "template_required": Reason("rejected", "gate", False, "free text for a template category", "send a template"),
    "template_unknown": Reason("rejected", "gate", False, "no such template", "see detail; create it, or sync"),
    "template_not_approved": Reason(
        "rejected", "gate", True, "paused, disabled or not approved yet", "see detail; wait, use a new id"
    ),
    "category_mismatch": Reason(
        "rejected", "gate", False, "template and request differ in category", "use Meta's, with its consent"
    ),
    "template_without_opt_out": Reason(
        "rejected", "gate", False, "a marketing template offers no way out", "add one; see `wapipe templates lint`"
    ),
    "no_consent": Reason(
        "rejected", "gate", True, "the person never opted in to this", "grant an opt-in, send under a new id"
    ),
    "consent_withdrawn": Reason(
        "rejected", "gate", True, "the person opted out", "stop sending; only a newer opt-in helps"
    ),
    "consent_expired": Reason("rejected", "gate", True, "the opt-in ended", "ask again, grant it, use a new id"),
    "api_rejected": Reason("failed", "sender", False, "the API refused it for good", "see error_code and detail"),
    "attempts_spent": Reason("failed", "sender", True, "max_attempts tries failed", "see detail, send again"),
    "outcome_unknown": Reason("failed", "sender", True, "nobody can tell whether it was taken", "replay with care"),
    "expired": Reason("expired", "sender", True, "not sent before expires_at", "send again if it still matters"),
    "campaign_cancelled": Reason("cancelled", "gate", False, "its campaign was cancelled", "none"),
    "operator": Reason("cancelled", "sender", False, "an operator cancelled it", "none"),
    "duplicate": Reason("duplicate", "sender", False, "this request_id was used before", "none: the first counts"),
    "request_id_conflict": Reason("duplicate", "sender", False, "same request_id, other message", "use a new id"),
    "api_async": Reason(
        "undelivered", "gate", False, "WhatsApp gave an accepted message up", "see error_code; nothing is sent again"
    ),
}


def reasons_of(event_type: str) -> tuple[str, ...]:
    """Names of the reasons that an event type may carry, in the table's order."""
    return tuple(name for name, reason in REASONS.items() if reason.type == event_type)
