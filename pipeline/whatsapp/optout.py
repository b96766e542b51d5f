"""Does a person take consent back with this event, or take that back? Words, buttons, WhatsApp's own stop and resume.

Every way out must be honoured (WhatsApp Business policy; Meta, user_preferences webhooks). A block is announced by no
webhook; it shows as undelivered (131026), which suppresses. Pure; the ingress asks for each inbound event and writes a
revoke or a resume to `consent-updates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pipeline.records.consent import Method
from pipeline.whatsapp.code_row import Disposition
from pipeline.whatsapp.codes import CODES
from pipeline.whatsapp.stop_words import OWN, fold

KEYWORD_CHARS_MAX: Final = 64
"""A longer text is a message that happens to contain a word, not a STOP."""
ALL: Final = ("*",)
_STOPPED: Final = frozenset(row.code for row in CODES.values() if row.disposition is Disposition.STOP_MARKETING)
_MARKETING: Final = ("marketing",)


@dataclass(frozen=True, slots=True)
class OptOut:
    """What a person takes back.

    Attributes:
        categories: Categories that end; `*` means all. Of a resume: those that an earlier stop took.
        purposes: Purposes that end; `*` means all.
        method: For the evidence of the consent update.
        way: Label of the metric: `keyword`, `button`, `preference` or `status`.
        at: RFC 3339 time of the event.
        action: `revoke`, or `resume`: what the same method took comes back.
        language: Of the word that was used, if it is known.
    """

    categories: tuple[str, ...]
    purposes: tuple[str, ...]
    method: Method
    way: str
    at: str
    action: Literal["revoke", "resume"] = "revoke"
    language: str | None = None


def opt_out_of(
    event: Mapping[str, Any],
    *,
    stops: Mapping[str, str],
    payloads: Mapping[str, Any],
    starts: Mapping[str, str] | None = None,
    stop_revokes: Sequence[str] = ALL,
) -> OptOut | None:
    """Read an inbound event as an opt-out, or as the way back from one.

    Args:
        event: An inbound-event/1 record.
        stops: STOP words as `fold` writes them, with their language; compared with the whole text.
        payloads: Quick-reply payloads that opt out, each with the `category` and `purpose` that ends (a mapping or an
            object with these attributes; absent or None means all).
        starts: START words, likewise; None: there are none.
        stop_revokes: Categories that a STOP word takes back.

    Returns:
        The opt-out, or None. WhatsApp's own stop and resume, and a status `failed` with 131050 (which tells of such a
        stop), concern marketing only (Meta, user_preferences webhooks). A START resumes whatever a STOP word took.
    """
    body = event.get("body")
    if not isinstance(body, Mapping):
        return None
    at = str(event.get("at"))
    if event.get("type") == "preference":
        return _preference(event.get("status"), at)
    if event.get("type") == "status":
        is_stopped = event.get("error_code") in _STOPPED
        return OptOut(_MARKETING, ALL, "preference", "status", at) if is_stopped else None
    if event.get("type") != "message":
        return None
    payload, text, way = _said(body)
    if payload is not None and payload in payloads:
        taken = payloads[payload]
        return OptOut((_named(taken, "category"),), (_named(taken, "purpose"),), "button", "button", at)
    for said in (text, payload):
        word = fold(said) if said is not None and len(said) <= KEYWORD_CHARS_MAX else ""
        if word in stops:
            return OptOut(tuple(stop_revokes), ALL, way, way, at, language=_known(stops[word]))
        if starts is not None and word in starts:
            return OptOut(ALL, ALL, "keyword", way, at, "resume", _known(starts[word]))
    return None


def _preference(value: Any, at: str) -> OptOut | None:
    if value == "stop":
        return OptOut(_MARKETING, ALL, "preference", "preference", at)
    return OptOut(_MARKETING, ALL, "preference", "preference", at, "resume") if value == "resume" else None


def _known(language: str) -> str | None:
    return None if language == OWN else language


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
