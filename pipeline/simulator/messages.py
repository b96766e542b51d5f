"""What a message body says, read as far as it goes. Pure; nothing here raises on bad input.

Shapes: whatsapp-api.md §1.2 (v1), §2.1–2.2 (cloud); 360dialog takes the cloud body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.simulator.parts import Profile
from pipeline.simulator.strict import plain_text, refusal

READ = "read"
"""Type of the body that marks a message as read, with or without a typing indicator: it sends nothing."""

# Types that a body may have; each needs the object of its own name.
_COMMON_TYPES = frozenset(
    {
        "text",
        "image",
        "audio",
        "document",
        "video",
        "sticker",
        "location",
        "contacts",
        "interactive",
        "template",
    }
)
_CLOUD_TYPES = _COMMON_TYPES | {"reaction"}
_V1_TYPES = _COMMON_TYPES | {"hsm"}
NOT_DIGITS = re.compile(r"[^0-9]")
_READ_FIELDS = frozenset({"messaging_product", "status", "message_id", "typing_indicator"})
_READ_OK = ({"type": "text"}, None)


@dataclass(slots=True)
class Message:
    """What the simulator wants to know of a message body.

    Attributes:
        to: Recipient as written; "" = none could be read.
        callback: `biz_opaque_callback_data`; "" = none.
        text: The first text: the body, or the first text parameter of a template.
        type: Message type; "" = none could be read, `READ` = it only marks another one as read.
        problem: Error code and what is wrong with the body; None = nothing.
        content: The object of its type; None = none could be read.
        recipient: The recipient as WhatsApp knows it: digits of a phone number, a user id as it is.
    """

    to: str = ""
    callback: str = ""
    text: str = ""
    type: str = ""
    problem: tuple[int, str] | None = None
    content: Any = None
    recipient: str = field(init=False)

    def __post_init__(self) -> None:
        self.recipient = self.to if "." in self.to else NOT_DIGITS.sub("", self.to)


def read_message(profile: Profile, body: bytes, *, strict: bool = True, is_marketing: bool = False) -> Message:
    """Read a body; what is wrong with it stands in `problem`, with the profile's error codes.

    Args:
        profile: Whose shape and codes.
        body: Its bytes.
        strict: Whether every detail is judged.
        is_marketing: Whether it came to `marketing_messages`.
    """
    is_v1 = profile == "v1"
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        return Message(problem=(1025 if is_v1 else 100, "the body is not a JSON object"))
    if not is_v1 and "status" in given:
        return Message(to=_text(given.get("message_id")), type=READ, problem=_read_problem(given))
    to = _text(given.get("to")) or ("" if is_v1 else _text(given.get("recipient")))
    kind = _text(given.get("type"))
    if is_v1 and "type" not in given:
        kind = "hsm" if "hsm" in given else "text"
    content = given.get(kind)
    problem = _problem(is_v1, given, to, kind)
    text = None
    if problem is None and strict:
        text = plain_text(content, kind, is_v1=is_v1)
        problem = refusal(given, kind, is_v1=is_v1, is_marketing=is_marketing, is_plain=text is not None)
    return Message(
        to=to,
        callback="" if is_v1 else _text(given.get("biz_opaque_callback_data")),
        text=_first_text(kind, content) if text is None else text,
        type=kind,
        problem=problem,
        content=content,
    )


def _read_problem(given: dict[str, Any]) -> tuple[int, str] | None:
    if given.get("messaging_product") != "whatsapp":
        return 100, "the parameter messaging_product is required and must be whatsapp"
    if given["status"] != "read" or given.get("typing_indicator") not in _READ_OK:
        return 131009, "the parameter status or typing_indicator is not valid"
    if not _text(given.get("message_id")):
        return 131008, "the parameter message_id is required"
    if not given.keys() <= _READ_FIELDS:
        return 100, "a parameter is not supported"
    return None


def _problem(is_v1: bool, given: dict[str, Any], to: str, kind: str) -> tuple[int, str] | None:
    missing, invalid = (1008, 1009) if is_v1 else (131008, 131009)
    if not is_v1 and given.get("messaging_product") != "whatsapp":
        return 100, "the parameter messaging_product is required and must be whatsapp"
    if not to:
        return missing, "the parameter to is required"
    if not is_v1 and not kind:
        return missing, "the parameter type is required"
    if kind not in (_V1_TYPES if is_v1 else _CLOUD_TYPES):
        return (invalid if is_v1 else 131051), "the parameter type is not one of the message types"
    content = given.get(kind)
    if not content:
        return missing, f"the parameter {kind} is required"
    if kind == "contacts":
        return None if isinstance(content, list) else (invalid, "the parameter contacts is not valid")
    if not isinstance(content, dict):
        return invalid, f"the parameter {kind} is not valid"
    if kind == "text" and not _text(content.get("body")):
        return missing, "the parameter text.body is required"
    if kind == "template" and not _text(content.get("name")):
        return missing, "the parameter template.name is required"
    return None


def _first_text(kind: str, content: Any) -> str:
    if not isinstance(content, dict):
        return ""
    if kind == "text":
        return _text(content.get("body"))
    if kind == "interactive":
        inner = content.get("body")
        return _text(inner.get("text")) if isinstance(inner, dict) else ""
    for component in _dicts(content.get("components")):
        for parameter in _dicts(component.get("parameters")):
            if parameter.get("type") == "text":
                return _text(parameter.get("text"))
    for parameter in _dicts(content.get("localizable_params")):
        return _text(parameter.get("default"))
    return _text(content.get("caption"))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
