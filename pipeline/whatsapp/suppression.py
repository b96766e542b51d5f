"""Who gets nothing any more, and for how long: suppression/1 records from error codes, and what holds of them.

Pure; shared by gate and sender. A suppression blocks every category, replies within the service window too: what these
codes say (not on WhatsApp, blocked by the business, country not allowed) holds for any message (Meta, error codes).
A *soft* one names its end: whoever was not on WhatsApp may be next week, so it is tried again. A *hard* one (`until`
null) holds until somebody lifts it. Lifting is a tombstone on `suppressions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pipeline.clock import parse_rfc3339_ms, rfc3339

SCHEMA: Final = "suppression/1"


class Rule(NamedTuple):
    """What a code does to a recipient.

    Attributes:
        reason: As on the record.
        is_soft: Whether it ends by itself (`policy.unreachable_s`), or holds until it is lifted.
    """

    reason: str
    is_soft: bool


RULES: Mapping[int, Rule] = MappingProxyType(
    {
        131026: Rule("not_on_whatsapp", True),
        1013: Rule("not_on_whatsapp", True),
        1026: Rule("client_incapable", True),
        1007: Rule("blocked", False),
        130403: Rule("blocked_by_business", False),
        130497: Rule("country_not_allowed", False),
    }
)
"""Rule of every code whose disposition is `SUPPRESS`."""


def suppression_of(code: int | None, recipient: str, at_ms: int, soft_s: float) -> dict[str, Any] | None:
    """The suppression that a failure with this code leaves; None if it leaves none.

    Args:
        at_ms: When it failed, milliseconds since 1970.
        soft_s: How long a soft one holds, counted from there.
    """
    rule = RULES.get(code) if code is not None else None
    if rule is None:
        return None
    until = rfc3339(at_ms + int(soft_s * 1000)) if rule.is_soft else None
    return {"recipient": recipient, "reason": rule.reason, "until": until, "at": rfc3339(at_ms)}


def is_suppression(value: Mapping[str, Any]) -> bool:
    """Whether a value can be read: anybody who may write to the topic may have written it."""
    at, until = value.get("at"), value.get("until")
    moments = (at,) if until is None else (at, until)
    try:
        return isinstance(value.get("reason"), str) and all(parse_rfc3339_ms(str(moment)) >= 0 for moment in moments)
    except (ValueError, OverflowError):
        return False


def holds(record: Mapping[str, Any] | None, now_ms: int) -> bool:
    """Whether a recipient is suppressed at that moment."""
    if record is None:
        return False
    until = record["until"]
    return until is None or parse_rfc3339_ms(until) > now_ms


def replaces(new: Mapping[str, Any], known: Mapping[str, Any] | None, now_ms: int) -> bool:
    """Whether a new suppression is worth writing: it holds, and longer than what is known."""
    if not holds(new, now_ms):
        return False
    if known is None or not holds(known, now_ms):
        return True
    if known["until"] is None or new["until"] is None:
        return known["until"] is not None
    return parse_rfc3339_ms(new["until"]) > parse_rfc3339_ms(known["until"])


def is_lifted_by(record: Mapping[str, Any] | None, said_ms: int) -> bool:
    """Whether a message that the person wrote at that moment proves a suppression wrong: a soft, earlier one."""
    return record is not None and record["until"] is not None and parse_rfc3339_ms(record["at"]) < said_ms
