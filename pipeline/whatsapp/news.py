"""What webhooks tell about numbers, accounts and templates, as changes of `account-state` (Meta, webhooks reference).

Pure; any JSON is safe. Each piece of news is one part of one key with the time of its webhook. Order is not promised by
WhatsApp, so `merge` lets older news never replace newer of the same part; what has no time of its own counts as of its
arrival.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pipeline.clock import parse_rfc3339_ms, rfc3339

BY: Final = "ingress"
TEXT_CHARS_MAX: Final = 512
RESTRICTIONS_MAX: Final = 32
HOUR_MS: Final = 3_600_000
# 2100-01-01: later times are milliseconds or rubbish.
UNIX_S_MAX: Final = 4_102_444_800

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,512}", re.ASCII)
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})?", re.ASCII)
_FLAGS: Final = {"FLAGGED": True, "UNFLAGGED": False}
# Integers of business_capability_update (Meta, same page) as the other webhooks name them; 2,000 was 1,000 before.
_TIERS: Final = {
    -1: "TIER_UNLIMITED", 50: "TIER_50", 250: "TIER_250", 1000: "TIER_1K", 2000: "TIER_2K", 10_000: "TIER_10K",
    100_000: "TIER_100K",
}  # fmt: skip
_PAUSE_HOURS: Final = {"FIRST_PAUSE": 3, "SECOND_PAUSE": 6}  # (Meta, template pausing)

PARTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "limits": {"throughput": {"throughput": "STANDARD"}, "tier": {"tier": None}},
        "template": {
            "status": {"status": None, "reason": None, "until": None},
            "category": {"category": None, "next_category": None, "next_category_at": None},
            "quality": {"quality": None},
            "components": {},
        },
    }
)
"""Aspects that are told piece by piece: part → its fields before anything was told of it."""


class News(NamedTuple):
    """One thing that a webhook tells.

    Attributes:
        key: On `account-state`.
        kind: Of what: `number`, `account` or `template`.
        id: Of which one.
        part: Which of the aspect's `PARTS`; empty: all of it.
        fields: What is told.
        at_ms: When, milliseconds since 1970.
    """

    key: str
    kind: str
    id: str
    aspect: str
    part: str
    fields: Mapping[str, Any]
    at_ms: int


def news_of(event: Mapping[str, Any]) -> list[News]:
    """Read an inbound-event/1 of type `quality`, `account` or `template`; any other tells nothing.

    Args:
        event: Its `number` is the number that the webhook is about, if that is known.
    """
    body = event.get("body")
    if event.get("type") not in ("quality", "account", "template") or not isinstance(body, Mapping):
        return []
    value, account = body.get("value"), body.get("id")
    if not isinstance(value, Mapping) or not isinstance(account, str) or not _ID.fullmatch(account):
        return []
    at_ms, field = parse_rfc3339_ms(str(event["at"])), body.get("field")
    if event["type"] == "template":
        return list(_template(account, field, value, at_ms))
    number = event.get("number")
    if field == "phone_number_quality_update":
        return list(_number(number, value, at_ms)) if isinstance(number, str) else []
    return list(_account(account, field, value, at_ms))


def merge(known: Mapping[str, Any] | None, news: News) -> dict[str, Any] | None:
    """The record to write, or None if newer is known of this part already. News of the same moment replace."""
    if known is not None and known["aspect"] != news.aspect:
        known = None
    at = f"{news.part}_at" if news.part else "at"
    if known is not None and known[at] is not None and parse_rfc3339_ms(known[at]) > news.at_ms:
        return None
    before = known if known is not None else _blank(news)
    moment = rfc3339(news.at_ms)
    newest = max(moment, before["at"]) if before.get("at") is not None else moment
    return {**before, **news.fields, "by": BY, "at": newest, **({at: moment} if news.part else {})}


def join(known: Mapping[str, Any] | None, other: Mapping[str, Any]) -> dict[str, Any]:
    """Of two records of one key the newer one, part by part; `other` on a tie."""
    if known is None or known["aspect"] != other["aspect"]:
        return dict(other)
    parts = PARTS.get(other["aspect"])
    if parts is None:
        return dict(known if known["at"] > other["at"] else other)
    joined = {**known, **other, "at": max(known["at"], other["at"])}
    for part, fields in parts.items():
        at = f"{part}_at"
        newer = known if (known[at] or "") > (other[at] or "") else other
        joined |= {name: newer[name] for name in (*fields, at)}
    return joined


def _blank(news: News) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": news.kind, "id": news.id, "aspect": news.aspect}
    for part, fields in PARTS.get(news.aspect, {}).items():
        record |= {**fields, f"{part}_at": None}
    return record


def _number(number: str, value: Mapping[str, Any], at_ms: int) -> Iterator[News]:
    event = _text(value.get("event"))
    if event in _FLAGS:
        told = {"event": event, "flagged": _FLAGS[event]}
        yield News(f"number:{number}/quality", "number", number, "quality", "", told, at_ms)
    key = f"number:{number}/limits"
    if event == "THROUGHPUT_UPGRADE":
        yield News(key, "number", number, "limits", "throughput", {"throughput": "HIGH"}, at_ms)
    tier = _tier(value.get("max_daily_conversations_per_business")) or _tier(value.get("current_limit"))
    if tier is not None:
        yield News(key, "number", number, "limits", "tier", {"tier": tier}, at_ms)


def _account(account: str, field: Any, value: Mapping[str, Any], at_ms: int) -> Iterator[News]:
    def told(aspect: str, fields: Mapping[str, Any], of: str = "") -> News:
        return News(f"account:{account}/{aspect}{of}", "account", account, aspect, "", fields, at_ms)

    if field == "business_capability_update":
        names = ("max_daily_conversations_per_business", "max_daily_conversation_per_phone")
        tier = next((tier for name in names if (tier := _tier(value.get(name))) is not None), None)
        if tier is not None:
            yield told("capability", {"tier": tier})
    elif field == "account_update":
        ban = value.get("ban_info")
        if isinstance(value.get("restriction_info"), list):
            yield told("restriction", {"restrictions": list(_restrictions(value["restriction_info"]))})
        if isinstance(ban, Mapping) and (state := _text(ban.get("waba_ban_state"))) is not None:
            yield told("ban", {"state": state, "date": _text(ban.get("waba_ban_date"))})
    elif field == "account_review_update" and (decision := _text(value.get("decision"))) is not None:
        yield told("review", {"decision": decision})
    elif field == "account_alerts":
        alert = value.get("alert_info")
        inner = alert if isinstance(alert, Mapping) else {}
        kind = inner.get("alert_type")
        if isinstance(kind, str) and _ID.fullmatch(kind):
            severity, status = _text(inner.get("alert_severity")), _text(inner.get("alert_status"))
            yield told("alert", {"type": kind, "severity": severity, "status": status}, f"/{kind}")


def _restrictions(rows: list[Any]) -> Iterator[dict[str, Any]]:
    for row in rows[:RESTRICTIONS_MAX]:
        kind = _text(row.get("restriction_type")) if isinstance(row, Mapping) else None
        if kind is not None:
            yield {"type": kind, "until": _unix_s(row.get("expiration"))}


def _template(account: str, field: Any, value: Mapping[str, Any], at_ms: int) -> Iterator[News]:
    name, language = value.get("message_template_name"), value.get("message_template_language")
    if not isinstance(name, str) or not isinstance(language, str):
        return
    if not _NAME.fullmatch(name) or not _LANGUAGE.fullmatch(language):
        return
    # Webhooks write en-US, sends en_US (Meta, message_template_status_update).
    which = f"{account}/{name}/{language.replace('-', '_')}"

    def told(part: str, fields: Mapping[str, Any]) -> News:
        return News(f"template:{which}", "template", which, "template", part, fields, at_ms)

    category = _text(value.get("message_template_category"))
    if field == "message_template_status_update" and (status := _text(value.get("event"))) is not None:
        yield told("status", {"status": status, "reason": _text(value.get("reason")), "until": _until(value, at_ms)})
        if category is not None:
            yield told("category", {"category": category})
    elif field == "message_template_quality_update" and (score := _text(value.get("new_quality_score"))) is not None:
        yield told("quality", {"quality": score})
    elif field == "message_template_components_update":
        yield told("components", {})
    elif field == "template_category_update" and (now := _text(value.get("new_category"))) is not None:
        # In the form that announces, `new_category` is today's and `correct_category` the coming one (same page).
        coming, when = _text(value.get("correct_category")), _unix_s(value.get("category_update_timestamp"))
        yield told("category", {"category": now, "next_category": coming, "next_category_at": when})


def _until(value: Mapping[str, Any], at_ms: int) -> str | None:
    """End of a pause for low quality; one that a person must end has none."""
    info = value.get("other_info")
    title = info.get("title") if isinstance(info, Mapping) and value.get("event") == "PAUSED" else None
    hours = _PAUSE_HOURS.get(title) if isinstance(title, str) else None
    return rfc3339(at_ms + hours * HOUR_MS) if hours is not None else None


def _tier(value: Any) -> str | None:
    """A messaging tier, told as a number of people or by name."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _TIERS.get(value, f"TIER_{value}") if -1 <= value <= UNIX_S_MAX else None
    text = _text(value)
    return text if text is not None and text.startswith("TIER_") else None


def _unix_s(value: Any) -> str | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < UNIX_S_MAX:
        return rfc3339(value * 1000)
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX else None
