"""One fragment of a webhook as one inbound-event/1 record, with an `event_id` that a redelivery repeats.

Pure; any JSON is safe. `webhooks.py` finds the fragments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from pipeline.clock import rfc3339
from pipeline.whatsapp.callback import callback_of
from pipeline.whatsapp.error_body import a_code

ERRORS_MAX: Final = 16
TEXT_CHARS_MAX: Final = 512
USER_INITIATED: Final = "USER_INITIATED"
# 2100-01-01: later times are milliseconds or rubbish.
UNIX_S_MAX: Final = 4_102_444_800

People = Mapping[str | None, str | None]


class Origin(NamedTuple):
    """Where a fragment comes from.

    Attributes:
        profile: Shape of the webhook: `cloud` or `v1`.
        number: Number id; None if nothing names it.
        received_at: RFC 3339 time of arrival.
    """

    profile: str
    number: str | None
    received_at: str


def status_event(status: dict[str, Any], origin: Origin, people: People) -> dict[str, Any]:
    """A status of a sent message: sent, delivered, read, played, failed … (Meta, status webhooks).

    The same (message, status, recipient) is the same event, whatever else differs between two deliveries.
    """
    nested = status.get("message")
    recipient = (
        _person(status.get("recipient_participant_id"))
        or _person(status.get("recipient_id"))
        or (_person(nested.get("recipient_id")) if isinstance(nested, dict) else None)
    )
    user_id = _text(status.get("recipient_user_id")) or people.get(recipient, people.get(None))
    message_id, said = _text(status.get("id")), _text(status.get("status"))
    key = (message_id, said, recipient or user_id) if message_id and said else None
    request_id, attempt = callback_of(status.get("biz_opaque_callback_data"))
    event = _event("status", origin, status, key)
    pricing = status.get("pricing")
    event.update(
        at=_time(status.get("timestamp"), origin),
        recipient=recipient or user_id,
        user_id=user_id,
        message_id=message_id,
        status=said,
        request_id=request_id,
        attempt=attempt,
        pricing=pricing if isinstance(pricing, dict) else None,
    )
    return event


def message_event(message: dict[str, Any], origin: Origin, people: People) -> dict[str, Any]:
    """A message from a person, of whatever type (Meta, messages webhooks); `recipient` is that person."""
    person = _person(message.get("from"))
    user_id = _text(message.get("from_user_id")) or people.get(person, people.get(None))
    message_id = _text(message.get("id"))
    event = _event("message", origin, message, (message_id,) if message_id else None)
    event.update(
        at=_time(message.get("timestamp"), origin),
        recipient=person or user_id,
        user_id=user_id,
        message_id=message_id,
    )
    return event


def call_event(call: dict[str, Any], origin: Origin, _people: People) -> dict[str, Any]:
    """A call between a person and the number (Meta, Calling API webhooks); `status` is `connect`, `terminate`, ….

    `recipient` is the person only if the person called: that opens the customer service window (Meta, send messages).
    """
    is_theirs = call.get("direction") == USER_INITIATED
    call_id, said = _text(call.get("id")), _text(call.get("event"))
    event = _event("call", origin, call, (call_id, said) if call_id and said else None)
    event.update(
        at=_time(call.get("timestamp"), origin),
        recipient=_person(call.get("from")) if is_theirs else None,
        user_id=_text(call.get("from_user_id")) if is_theirs else None,
        message_id=call_id,
        status=said,
    )
    return event


def preference_event(preference: dict[str, Any], origin: Origin, _people: People) -> dict[str, Any]:
    """A person stopped or resumed marketing messages in WhatsApp; `status` is `stop` or `resume`."""
    user_id = _text(preference.get("user_id"))
    event = _event("preference", origin, preference, None)
    event.update(
        at=_time(preference.get("timestamp"), origin),
        recipient=_person(preference.get("wa_id")) or user_id,
        user_id=user_id,
        status=_text(preference.get("value")),
    )
    return event


def other_event(kind: str, origin: Origin, body: dict[str, Any]) -> dict[str, Any]:
    """Anything else: a change of account, template or quality, an error, or what nobody knows.

    `body` is the change with the id (and time) of its entry; `status` the name of what happened, if it has one.
    """
    event = _event(kind, origin, body, None)
    value = body.get("value")
    inner = value if isinstance(value, dict) else {}
    event.update(
        at=_time(body.get("time"), origin),
        status=_text(inner.get("event")) or _text(inner.get("decision")),
    )
    if kind == "error":
        event.update(errors=[body], error_code=a_code(body.get("code")))
    return event


def _event(kind: str, origin: Origin, body: dict[str, Any], key: tuple[str | None, ...] | None) -> dict[str, Any]:
    """A record with every field of the contract; `key` identifies the fact, None means that its whole content does."""
    stable = list(key) if key is not None else body
    errors = body.get("errors")
    told = [error for error in errors[:ERRORS_MAX] if isinstance(error, dict)] if isinstance(errors, list) else []
    return {
        "event_id": _digest([kind, origin.number, stable]),
        "type": kind,
        "at": origin.received_at,
        "received_at": origin.received_at,
        "number": origin.number,
        "recipient": None,
        "user_id": None,
        "message_id": None,
        "status": None,
        "request_id": None,
        "attempt": None,
        "error_code": next((code for error in told if (code := a_code(error.get("code"))) is not None), None),
        "errors": told,
        "pricing": None,
        "profile": origin.profile,
        "body": body,
    }


def _digest(stable: list[Any]) -> str:
    try:
        canonical = orjson.dumps(stable, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Nested beyond what can be written as JSON: such a body is refused as too deep right after this.
        canonical = b""
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def people_in(value: dict[str, Any]) -> People:
    """Who is who in the contacts beside a fragment: business-scoped user id (None without) by WhatsApp id.

    A single contact also stands for fragments that name nobody, under the key None (Meta, business-scoped user IDs).
    """
    contacts = value.get("contacts")
    rows = [row for row in contacts if isinstance(row, dict)] if isinstance(contacts, list) else []
    people = {_person(row.get("wa_id")): _text(row.get("user_id")) for row in rows}
    if len(rows) != 1:
        people.pop(None, None)
    else:
        people[None] = _text(rows[0].get("user_id"))
    return people


def _person(value: Any) -> str | None:
    """A WhatsApp id as records key people: digits without a plus sign."""
    text = _text(value)
    return text.removeprefix("+") if text is not None else None


def _text(value: Any) -> str | None:
    """A short text that can be an id or a name, else None."""
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX else None


def _time(value: Any, origin: Origin) -> str:
    """Unix seconds, as a string or a number (both occur; Meta, webhooks reference), as RFC 3339."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < UNIX_S_MAX:
        return rfc3339(value * 1000)
    return origin.received_at
