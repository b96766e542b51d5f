"""Webhook bodies and their signature, as WhatsApp sends them. Pure functions.

Shapes: whatsapp-api.md §2.12–2.15 (cloud envelope), §1.7 (v1, flat). Bodies are ASCII with escapes, and the signature
is over exactly those bytes, as on the wire.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.simulator import answers

Shape = Literal["cloud", "v1"]
_ERRORS_HREF = "/documentation/business-messaging/whatsapp/support/error-codes"


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A status of a message that was taken.

    Attributes:
        message_id: Whose status.
        recipient: Digits or user id.
        status: `sent`, `delivered`, `read` or `failed`.
        callback: `biz_opaque_callback_data` to echo; "" = none was given.
        category: What pricing calls the message.
        code: Error code of `failed`.
    """

    message_id: str
    recipient: str
    status: str
    callback: str = ""
    category: str = "utility"
    code: int | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message that a person writes to the number.

    Attributes:
        message_id: Its id.
        sender: The person, digits.
        name: Profile name.
        text: What they wrote, or the label of the button they pressed.
        button_payload: Payload of a quick-reply button; None = a plain text.
    """

    message_id: str
    sender: str
    name: str
    text: str
    button_payload: str | None = None


Update = StatusUpdate | InboundMessage


def body(shape: Shape, account: str, number: str, updates: Sequence[Update], wall_s: float) -> bytes:
    """One POST body with updates of one number, triggered at Unix time `wall_s`."""
    value: dict[str, Any] = {}
    for update in updates:
        if isinstance(update, StatusUpdate):
            value.setdefault("statuses", []).append(_status(shape, update, wall_s))
        else:
            contact = {"profile": {"name": update.name}, "wa_id": update.sender}
            value.setdefault("contacts", []).append(contact)
            value.setdefault("messages", []).append(_message(update, wall_s))
    if shape == "v1":
        return _dump(value)
    metadata = {"display_phone_number": number, "phone_number_id": number}
    value = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    entry = {"id": account, "changes": [{"field": "messages", "value": value}]}
    return _dump({"object": "whatsapp_business_account", "entry": [entry]})


def signature(secret: bytes, raw: bytes) -> str:
    """The value of `X-Hub-Signature-256` for exactly these bytes."""
    return "sha256=" + hmac.digest(secret, raw, hashlib.sha256).hex()


def _status(shape: Shape, update: StatusUpdate, wall_s: float) -> dict[str, Any]:
    status: dict[str, Any] = {
        "id": update.message_id,
        "status": update.status,
        "timestamp": str(int(wall_s)),
        "recipient_id": update.recipient,
    }
    if shape == "v1":
        status["type"] = "message"
    elif update.callback:
        status["biz_opaque_callback_data"] = update.callback
    if update.status == "failed" and update.code is not None:
        status["errors"] = [_error(shape, update.code)]
    elif shape == "cloud" and update.status in ("sent", "delivered"):
        # Meta tells the price on `sent` and once more on delivered or read.
        status["pricing"] = {
            "billable": update.category != "service",
            "pricing_model": "PMP",
            "type": "free_customer_service" if update.category == "service" else "regular",
            "category": update.category,
        }
    return status


def _error(shape: Shape, code: int) -> dict[str, Any]:
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


def _message(update: InboundMessage, wall_s: float) -> dict[str, Any]:
    message: dict[str, Any] = {
        "from": update.sender,
        "id": update.message_id,
        "timestamp": str(int(wall_s)),
    }
    if update.button_payload is None:
        return message | {"type": "text", "text": {"body": update.text}}
    return message | {"type": "button", "button": {"payload": update.button_payload, "text": update.text}}


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
