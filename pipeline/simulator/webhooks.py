"""Webhook bodies and their signature, as WhatsApp sends them. Pure functions.

Shapes: whatsapp-api.md §2.12–2.17 (cloud envelope), §1.7 (v1, flat). Bodies are ASCII with escapes, and the signature
is over exactly those bytes, as on the wire.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pipeline.simulator import answers
from pipeline.simulator.statuses import StatusUpdate

Shape = Literal["cloud", "v1"]
_ERRORS_HREF = "/documentation/business-messaging/whatsapp/support/error-codes"
# Fields whose entry names no time (whatsapp-api.md §2.13).
_TIMELESS = frozenset({"messages", "user_preferences"})
CONVERSATION_S = 86_400
_PADDING = "\u00e4"
_PADDING_BYTES = len(json.dumps(_PADDING)) - 2


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message that a person writes to the number.

    Attributes:
        message: As in `messages`, without its time.
        contact: As in `contacts`; None = this type brings none.
    """

    message: dict[str, Any]
    contact: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FieldUpdate:
    """Any other change of a field of the account; a v1 client has none of these."""

    field: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorUpdate:
    """An error that belongs to no message."""

    code: int


Update = StatusUpdate | InboundMessage | FieldUpdate | ErrorUpdate


class Sender(NamedTuple):
    """Whose webhook it is: account, number, and the phone that the number shows."""

    account: str
    number: str
    phone: str


def body(shape: Shape, sender: Sender, updates: Sequence[Update], wall_s: float, pad_bytes: int = 0) -> bytes:
    """One POST body with updates of one number, triggered at Unix time `wall_s`, filled up to `pad_bytes`."""
    values = _values(shape, updates, wall_s)
    if shape == "v1":
        flat: dict[str, Any] = {}
        for value in values:
            flat |= value
        return _padded(flat, pad_bytes)
    metadata = {"display_phone_number": sender.phone, "phone_number_id": sender.number}
    changes = [("messages", {"messaging_product": "whatsapp", "metadata": metadata, **value}) for value in values]
    for update in updates:
        if isinstance(update, FieldUpdate):
            shared = {"messaging_product": "whatsapp", "metadata": metadata} if update.field in _TIMELESS else {}
            changes.append((update.field, {**shared, **update.value}))
    entries = [_entry(sender.account, field, value, wall_s) for field, value in changes]
    return _padded({"object": "whatsapp_business_account", "entry": entries}, pad_bytes)


def signature(secret: bytes, raw: bytes) -> str:
    """The value of `X-Hub-Signature-256` for exactly these bytes."""
    return "sha256=" + hmac.digest(secret, raw, hashlib.sha256).hex()


def _values(shape: Shape, updates: Sequence[Update], wall_s: float) -> list[dict[str, Any]]:
    """What the updates of the field `messages` say: statuses, messages and errors, each in a value of its own."""
    statuses: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    for update in updates:
        if isinstance(update, StatusUpdate):
            statuses.setdefault("statuses", []).append(_status(shape, update, wall_s))
            if shape == "cloud" and update.user_id is not None and update.status != "failed":
                statuses.setdefault("contacts", []).append(_known(update))
        elif isinstance(update, InboundMessage):
            if update.contact is not None:
                messages.setdefault("contacts", []).append(update.contact)
            messages.setdefault("messages", []).append(update.message | {"timestamp": str(int(wall_s))})
        elif isinstance(update, ErrorUpdate):
            errors.setdefault("errors", []).append(error(shape, update.code))
    return [value for value in (statuses, messages, errors) if value]


def _entry(account: str, field: str, value: dict[str, Any], wall_s: float) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": account, "changes": [{"field": field, "value": value}]}
    return entry if field in _TIMELESS else entry | {"time": int(wall_s)}


def _known(update: StatusUpdate) -> dict[str, Any]:
    """The contact of a status: sent, delivered and read name the person whose user id is known."""
    contact: dict[str, Any] = {"user_id": update.user_id}
    return contact | {"wa_id": update.recipient} if update.recipient else contact


def _status(shape: Shape, update: StatusUpdate, wall_s: float) -> dict[str, Any]:
    status: dict[str, Any] = {
        "id": update.message_id,
        "status": update.status,
        "timestamp": str(int(wall_s)),
    }
    if update.recipient:
        status["recipient_id"] = update.recipient
    if update.user_id is not None:
        status["recipient_user_id"] = update.user_id
    if shape == "v1":
        status["type"] = "message"
    elif update.callback:
        status["biz_opaque_callback_data"] = update.callback
    if update.has_conversation:
        status["conversation"] = _conversation(update, wall_s)
    if update.status == "failed" and update.code is not None:
        status["errors"] = [error(shape, update.code)]
    elif shape == "cloud" and update.is_priced:
        status["pricing"] = {
            "billable": update.category != "service",
            "pricing_model": "PMP",
            "type": "free_customer_service" if update.category == "service" else "regular",
            "category": update.category,
        }
    return status


def _conversation(update: StatusUpdate, wall_s: float) -> dict[str, Any]:
    conversation: dict[str, Any] = {
        "id": hashlib.sha256(update.message_id.encode()).hexdigest()[:32],
        "origin": {"type": update.category},
    }
    if update.status == "sent":
        conversation["expiration_timestamp"] = str(int(wall_s) + CONVERSATION_S)
    return conversation


def error(shape: Shape, code: int) -> dict[str, Any]:
    """An error as webhooks tell it."""
    fault = answers.fault_of(shape, code)
    if shape == "v1":
        return {"code": code, "title": fault.title}
    return {
        "code": code,
        "title": fault.title,
        "message": fault.title,
        "error_data": {"details": fault.details},
        "href": _ERRORS_HREF,
    }


def _padded(value: dict[str, Any], pad_bytes: int) -> bytes:
    """The value as it goes out; too small a one gets an unknown field of escaped text, as large as is missing."""
    raw = _dump(value)
    missing = pad_bytes - len(raw) - len(b',"padding":""')
    if missing <= 0:
        return raw
    letters, rest = divmod(missing, _PADDING_BYTES)
    return _dump(value | {"padding": _PADDING * letters + "x" * rest})


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
