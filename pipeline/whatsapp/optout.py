"""Does a person take consent back with this event? STOP words, opt-out buttons, WhatsApp's own stop.

Every way out must be honoured (WhatsApp Business policy; Meta, user_preferences webhooks). Pure; the ingress asks for
each inbound event and writes a revoke to `consent-updates`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pipeline.records.consent import Method
from pipeline.whatsapp.code_row import Disposition
from pipeline.whatsapp.codes import CODES

KEYWORD_CHARS_MAX: Final = 64
"""A longer text is a message that happens to contain a word, not a STOP."""
ALL: Final = ("*",)
_STOPPED: Final = frozenset(row.code for row in CODES.values() if row.disposition is Disposition.STOP_MARKETING)
_MARKETING: Final = ("marketing",)


@dataclass(frozen=True, slots=True)
class OptOut:
    """What a person takes back.

    Attributes:
        categories: Categories that end; `*` means all.
        purposes: Purposes that end; `*` means all.
        method: For the evidence of the consent update.
        way: Label of the metric: `keyword`, `button`, `preference` or `status`.
        at: RFC 3339 time of the event.
    """

    categories: tuple[str, ...]
    purposes: tuple[str, ...]
    method: Method
    way: str
    at: str


def opt_out_of(
    event: Mapping[str, Any],
    *,
    keywords: frozenset[str],
    payloads: Mapping[str, Any],
    stop_revokes: Sequence[str] = ALL,
) -> OptOut | None:
    """Read an inbound event as an opt-out.

    Args:
        event: An inbound-event/1 record.
        keywords: STOP words; compared as `fold` writes them, with the whole text.
        payloads: Quick-reply payloads that opt out, each with the `category` and `purpose` that ends (a mapping or an
            object with these attributes; absent or None means all).
        stop_revokes: Categories that a STOP word takes back.

    Returns:
        The opt-out, or None. WhatsApp's own stop, and a status `failed` with 131050, concern marketing only.
    """
    body = event.get("body")
    if not isinstance(body, Mapping):
        return None
    at = str(event.get("at"))
    if event.get("type") == "preference":
        is_stop = event.get("status") == "stop"
        return OptOut(_MARKETING, ALL, "other", "preference", at) if is_stop else None
    if event.get("type") == "status":
        is_stopped = event.get("error_code") in _STOPPED
        return OptOut(_MARKETING, ALL, "other", "status", at) if is_stopped else None
    if event.get("type") != "message":
        return None
    payload, text, way = _said(body)
    if payload is not None and payload in payloads:
        taken = payloads[payload]
        return OptOut((_named(taken, "category"),), (_named(taken, "purpose"),), "button", "button", at)
    stops = {fold(word) for word in keywords}
    if any(said is not None and len(said) <= KEYWORD_CHARS_MAX and fold(said) in stops for said in (text, payload)):
        return OptOut(tuple(stop_revokes), ALL, way, way, at)
    return None


def fold(text: str) -> str:
    """A text without case, diacritics and blanks around it, so that `STOP`, `stop ` and `stóp` are one word.

    Invisible marks go, too: keyboards for scripts written from right to left add them.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    shown = (char for char in decomposed if not unicodedata.combining(char) and unicodedata.category(char) != "Cf")
    return "".join(shown).casefold().strip()


def _said(body: Mapping[str, Any]) -> tuple[str | None, str | None, Literal["button", "keyword"]]:
    """Payload, text and way of a message: what was typed, or the button or row that was tapped."""
    kind = body.get("type")
    if kind == "button":
        button = _part(body, "button")
        return _string(button, "payload"), _string(button, "text"), "button"
    if kind == "interactive":
        interactive = _part(body, "interactive")
        reply = _part(interactive, "button_reply") or _part(interactive, "list_reply")
        return _string(reply, "id"), _string(reply, "title"), "button"
    if kind == "text":
        return None, _string(_part(body, "text"), "body"), "keyword"
    return None, None, "keyword"


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = body.get(name)
    return part if isinstance(part, Mapping) else {}


def _string(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _named(taken: Any, name: str) -> str:
    value = taken.get(name) if isinstance(taken, Mapping) else getattr(taken, name, None)
    return value if isinstance(value, str) and value else "*"
