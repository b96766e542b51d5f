"""Turns the body of a webhook into inbound-event records: one per fact, nothing thrown away.

Two shapes: the Cloud envelope (`object`, `entry`, `changes`) and v1's flat object (`messages`, `statuses`, `errors` at
the top; Meta, webhooks reference and On-Premises webhooks). What is not known becomes an event of type `unknown` with
the raw fragment in `body`. Order and uniqueness are not promised by WhatsApp: the same fact always gives the same
`event_id`, so readers can tell. Pure; the ingress calls it once per POST, after the signature was verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from pipeline.whatsapp.webhook_events import (
    Origin,
    People,
    call_event,
    message_event,
    other_event,
    people_in,
    preference_event,
    status_event,
)

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""Meta's webhooks are up to 3 MB (Meta, webhooks overview)."""
EVENTS_MAX: Final = 10_000
"""Meta batches up to 1,000 updates, "not guaranteed" (Meta, Graph webhooks); more than this is no webhook of theirs."""
FRAGMENT_DEPTH_MAX: Final = 24
"""Below the 32 levels that readers of records accept, with room for the record around the fragment."""

CLOUD_OBJECT: Final = "whatsapp_business_account"
_Maker = Callable[[dict[str, Any], Origin, People], dict[str, Any]]
_FLAT_KEYS: Final = frozenset({"messages", "statuses", "errors", "contacts"})

# Fields of the Cloud envelope beside `messages`, `user_preferences` and `calls` (Meta, webhooks reference), and the
# type of event that each becomes. Fields that are not listed become `unknown`.
_FIELD_TYPES: Final = {
    "message_template_status_update": "template",
    "message_template_quality_update": "template",
    "message_template_components_update": "template",
    "template_category_update": "template",
    "phone_number_quality_update": "quality",
    "phone_number_name_update": "account",
    "business_capability_update": "account",
    "account_update": "account",
    "account_alerts": "account",
    "account_review_update": "account",
    "account_settings_update": "account",
    "security": "account",
    "business_username_update": "account",
    "user_id_update": "account",
}


class WebhookError(ValueError):
    """The body is no webhook of WhatsApp; it belongs into `dead-letter` as `bad_webhook`.

    Operator action: look at the dead letter; another application may be configured with this address.

    Attributes:
        reason: One sentence, without content of the body.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_webhook(body: bytes, *, received_at: str, number: str | None) -> list[dict[str, Any]]:
    """Split the body of a webhook into inbound-event/1 records.

    Args:
        body: Raw bytes, authentic by now.
        received_at: RFC 3339 time of arrival; stands in for `at` where the fragment has no time.
        number: Number id from the path of the address, needed for v1 (its webhooks do not name it); None otherwise.
            A Cloud fragment that names its number wins over it.

    Returns:
        Complete records in the order of the body; empty for an envelope without content.

    Raises:
        WebhookError: not JSON, not an object, neither of the two shapes, too large, too deep or too many events.
    """
    document = _load(body)
    events: list[dict[str, Any]] = []
    for event in _split(document, received_at, number):
        if len(events) >= EVENTS_MAX:
            raise WebhookError(f"more than {EVENTS_MAX} events in one body")
        if not _is_shallow(event["body"], FRAGMENT_DEPTH_MAX):
            raise WebhookError(f"nested deeper than {FRAGMENT_DEPTH_MAX} levels")
        events.append(event)
    return events


def _load(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_BYTES_MAX:
        raise WebhookError(f"{len(body)} bytes; at most {BODY_BYTES_MAX} are read")
    try:
        document = orjson.loads(body)
    except ValueError as exc:
        raise WebhookError("not JSON") from exc
    if not isinstance(document, dict):
        raise WebhookError("not a JSON object")
    return document


def _split(document: dict[str, Any], received_at: str, number: str | None) -> Iterator[dict[str, Any]]:
    if "entry" in document or "object" in document:
        if document.get("object") != CLOUD_OBJECT:
            raise WebhookError(f"object is not {CLOUD_OBJECT}")
        entries = document.get("entry")
        if not isinstance(entries, list):
            raise WebhookError("entry is not a list")
        for entry in entries:
            yield from _entry(entry, received_at, number)
    elif _FLAT_KEYS & document.keys():
        origin = Origin("v1", number, received_at)
        yield from _value(document, origin, document)
    else:
        raise WebhookError("neither a Cloud envelope nor a v1 webhook")


def _entry(entry: Any, received_at: str, number: str | None) -> Iterator[dict[str, Any]]:
    origin = Origin("cloud", number, received_at)
    if not isinstance(entry, dict) or not isinstance(entry.get("changes"), list):
        yield other_event("unknown", origin, _as_object(entry))
        return
    for change in entry["changes"]:
        if not isinstance(change, dict) or not isinstance(change.get("value"), dict):
            yield other_event("unknown", origin, {**_envelope(entry), "change": change})
            continue
        value, field = change["value"], change.get("field")
        metadata = value.get("metadata")
        named = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
        here = origin._replace(number=named) if isinstance(named, str) and named else origin
        raw = {**_envelope(entry), **change}
        if field == "messages":
            yield from _value(value, here, raw)
        elif field == "user_preferences" and isinstance(value.get("user_preferences"), list):
            for preference in value["user_preferences"]:
                yield _known(preference_event, preference, here, {})
        elif field == "calls" and isinstance(value.get("calls"), list):
            for call in value["calls"]:
                yield _known(call_event, call, here, {})
        else:
            kind = _FIELD_TYPES.get(field, "unknown") if isinstance(field, str) else "unknown"
            yield other_event(kind, here, raw)


def _value(value: dict[str, Any], origin: Origin, raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Messages, statuses and errors of one change (Cloud) or of the whole body (v1)."""
    found = False
    people = people_in(value)
    for key, make in (("statuses", status_event), ("messages", message_event)):
        rows = value.get(key)
        for row in rows if isinstance(rows, list) else ():
            found = True
            yield _known(make, row, origin, people)
    errors = value.get("errors")
    for error in errors if isinstance(errors, list) else ():
        found = True
        yield other_event("error", origin, _as_object(error))
    if not found:
        yield other_event("unknown", origin, raw)


def _known(make: _Maker, row: Any, origin: Origin, people: People) -> dict[str, Any]:
    if not isinstance(row, dict):
        return other_event("unknown", origin, _as_object(row))
    return make(row, origin, people)


def _envelope(entry: dict[str, Any]) -> dict[str, Any]:
    """What the entry says beside its changes: the account's id, and the time where there is one."""
    return {name: content for name, content in entry.items() if name != "changes"}


def _as_object(fragment: Any) -> dict[str, Any]:
    return fragment if isinstance(fragment, dict) else {"value": fragment}


def _is_shallow(fragment: Any, levels: int) -> bool:
    children = fragment.values() if isinstance(fragment, dict) else fragment
    nested = [child for child in children if isinstance(child, dict | list)]
    return not nested or (levels > 1 and all(_is_shallow(child, levels - 1) for child in nested))
