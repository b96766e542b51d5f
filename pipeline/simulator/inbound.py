"""Messages that people write, of every type, as webhooks tell them. Pure.

Shapes: whatsapp-api.md §1.7 (v1), §2.15–2.16 (cloud).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pipeline.simulator.parts import Closed, Digits, Name, Profile, UserId
from pipeline.simulator.webhooks import InboundMessage, Shape

InboundType = Literal[
    "text",
    "image",
    "audio",
    "voice",
    "video",
    "document",
    "sticker",
    "location",
    "contacts",
    "reaction",
    "button",
    "interactive",
    "order",
    "system",
    "unsupported",
    "unknown",
    "edit",
    "revoke",
    "request_welcome",
]
# Inbound types that come without the person's contact (whatsapp-api.md §2.15).
_WITHOUT_CONTACT = frozenset({"system"})


class Inbound(Closed):
    """A person writes to a number: goes out as a signed webhook at once.

    Attributes:
        sender: The person (`from` in JSON), digits.
        number: The number they write to.
        text: What they write, or the label of the button they press.
        button_payload: Payload of a quick-reply button; None = no button is pressed.
        name: Profile name.
        profile: Profile of the number; None = the one it has used so far, `cloud` if none.
        type: What they send; None = a text, or a button if there is a payload.
        content: The object under the name of the type, in place of the usual example.
        extra: Further fields of the message: `context`, `referral`, `group_id`, `identity`, …
        user_id: Their user id; with `hide_phone` the only name that they have.
        username: Their username.
        hide_phone: Whether the phone number is left out.
    """

    sender: Digits = Field(alias="from")
    number: Name
    text: str = Field(default="Hello", min_length=1, max_length=4096)
    button_payload: str | None = Field(default=None, max_length=256)
    name: str = Field(default="Ada", max_length=256)
    profile: Profile | None = None
    type: InboundType | None = None
    content: dict[str, Any] | list[Any] | None = None
    extra: dict[str, Any] = Field(default={}, max_length=20)
    user_id: UserId | None = None
    username: str | None = Field(default=None, max_length=64)
    hide_phone: bool = False


def inbound_message(asked: Inbound, shape: Shape, message_id: str, sent_id: str) -> InboundMessage:
    """The message as a webhook tells it.

    Args:
        asked: What the person sends.
        shape: Whose webhook it is.
        message_id: Its id.
        sent_id: Id of a message of ours that it may refer to.
    """
    kind = asked.type or ("text" if asked.button_payload is None else "button")
    has_phone = not (asked.hide_phone and asked.user_id)
    message: dict[str, Any] = {"id": message_id, "type": kind}
    contact: dict[str, Any] = {"profile": {"name": asked.name}}
    if asked.username is not None:
        contact["profile"]["username"] = asked.username
    if has_phone:
        message["from"] = contact["wa_id"] = asked.sender
    if asked.user_id is not None and shape == "cloud":
        message["from_user_id"] = contact["user_id"] = asked.user_id
    if kind in ("button", "interactive"):
        message["context"] = {"from": asked.number, "id": sent_id}
    content = asked.content if asked.content is not None else _example(kind, asked, shape, sent_id)
    if kind in ("unsupported", "unknown"):
        message |= content if isinstance(content, dict) else {}
    elif content is not None:
        message[kind] = content
    return InboundMessage(message | asked.extra, None if kind in _WITHOUT_CONTACT else contact)


def _example(kind: str, asked: Inbound, shape: Shape, sent_id: str) -> dict[str, Any] | list[Any] | None:
    """What such a message usually holds."""
    match kind:
        case "text":
            return {"body": asked.text}
        case "button":
            return {"payload": asked.button_payload or asked.text, "text": asked.text}
        case "interactive":
            return {"type": "button_reply", "button_reply": {"id": asked.button_payload or "1", "title": asked.text}}
        case "reaction":
            return {"message_id": sent_id, "emoji": "\U0001f44d"}
        case "location":
            return {"latitude": 52.52, "longitude": 13.405, "name": asked.text}
        case "contacts":
            return [{"name": {"formatted_name": asked.text, "first_name": asked.text}}]
        case "order":
            item = {"product_retailer_id": "sku", "quantity": 1, "item_price": 10, "currency": "EUR"}
            return {"catalog_id": "1", "text": asked.text, "product_items": [item]}
        case "system":
            news = {"body": asked.text, "type": "user_changed_number"}
            return news | {"new_wa_id" if shape == "v1" else "wa_id": asked.sender}
        case "unsupported" | "unknown":
            error = {"code": 501 if shape == "v1" else 131051, "title": "Message type is not supported"}
            return {"errors": [error]}
        case "edit" | "revoke":
            return {"original_message_id": sent_id}
        case "request_welcome":
            return None
    return _medium(kind, asked, shape)


def _medium(kind: str, asked: Inbound, shape: Shape) -> dict[str, Any]:
    mime_type = {
        "image": "image/jpeg",
        "audio": "audio/ogg; codecs=opus",
        "voice": "audio/ogg; codecs=opus",
        "video": "video/mp4",
        "document": "application/pdf",
        "sticker": "image/webp",
    }[kind]
    medium: dict[str, Any] = {"id": "1700000000000000", "mime_type": mime_type, "sha256": "0" * 64}
    if kind in ("image", "video", "document"):
        medium["caption"] = asked.text
    if kind == "document":
        medium["filename"] = "document.pdf"
    if kind == "audio" and shape == "cloud":
        medium["voice"] = True
    if kind == "sticker":
        medium["animated"] = False
    return medium
