"""What a request is: which endpoint, whose, and what its body says. Pure functions; nothing here raises on bad input.

Shapes: whatsapp-api.md §1.2 (v1), §2.1–2.2 (cloud); 360dialog takes the cloud body.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from pipeline.simulator.settings import Profile

BODY_BYTES_MAX = 1024 * 1024

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
_CLOUD_PATH = re.compile(r"(?:/.*)?/v\d+\.\d+/([^/]+)/messages")
_NOT_DIGITS = re.compile(r"[^0-9]")


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint.

    Attributes:
        kind: `messages`, `login`, or `other` (does not exist here).
        profile: Whose shapes its answers have.
        number: Phone number id in the path; None where the path names none.
    """

    kind: Literal["messages", "login", "other"]
    profile: Profile
    number: str | None = None


@dataclass(slots=True)
class Message:
    """What the simulator wants to know of a message body.

    Attributes:
        to: Recipient as written; "" = none could be read.
        callback: `biz_opaque_callback_data`; "" = none.
        text: The first text: the body, or the first text parameter of a template.
        type: Message type; "" = none could be read.
        problem: Error code and what is wrong with the body; None = nothing.
    """

    to: str = ""
    callback: str = ""
    text: str = ""
    type: str = ""
    problem: tuple[int, str] | None = None

    @property
    def recipient(self) -> str:
        """The recipient as WhatsApp knows it: digits of a phone number, a user id as it is."""
        return self.to if "." in self.to else _NOT_DIGITS.sub("", self.to)


def route(method: str, path: str) -> Route:
    """The endpoint of a request; `path` is without query."""
    if method == "POST":
        if path == "/messages":
            return Route("messages", "360dialog")
        if path.endswith("/v1/messages"):
            return Route("messages", "v1")
        if path.endswith("/v1/users/login"):
            return Route("login", "v1")
        found = _CLOUD_PATH.fullmatch(path)
        if found is not None:
            return Route("messages", "cloud", found.group(1))
    return Route("other", "v1" if "/v1/" in path else "cloud")


def clean(text: str) -> str:
    """Text of a path or header with what was not UTF-8 (lone surrogates) replaced by `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def credential(profile: Profile, headers: Mapping[str, str]) -> str:
    """The token or key of a request, from the header that the profile has for it; "" = none."""
    bearer = headers.get("Authorization", "")
    token = bearer[7:].strip() if bearer[:7].lower() == "bearer " else ""
    if profile == "360dialog" or (profile == "v1" and not token):
        token = headers.get("D360-API-KEY", "")
    return clean(token)


def basic_login(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of a Basic `Authorization`; None = there is none that can be read."""
    value = headers.get("Authorization", "")
    if value[:6].lower() != "basic ":
        return None
    try:
        user, colon, password = base64.b64decode(value[6:], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if user and colon else None


def read_message(profile: Profile, body: bytes) -> Message:
    """Read a body as far as it goes; what is wrong with it stands in `problem`, with the profile's error codes."""
    is_v1 = profile == "v1"
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        return Message(problem=(1025 if is_v1 else 100, "the body is not a JSON object"))
    to = _text(given.get("to")) or ("" if is_v1 else _text(given.get("recipient")))
    kind = _text(given.get("type"))
    if is_v1 and not kind:
        kind = "hsm" if "hsm" in given else "text"
    return Message(
        to=to,
        callback="" if is_v1 else _text(given.get("biz_opaque_callback_data")),
        text=_first_text(kind, given.get(kind)),
        type=kind,
        problem=_problem(is_v1, given, to, kind),
    )


def _problem(is_v1: bool, given: dict[str, Any], to: str, kind: str) -> tuple[int, str] | None:
    missing, invalid = (1008, 1009) if is_v1 else (131008, 131009)
    if not is_v1 and given.get("messaging_product") != "whatsapp":
        return 100, "the parameter messaging_product is required and must be whatsapp"
    if not to:
        return missing, "the parameter to is required"
    if not is_v1 and not kind:
        return missing, "the parameter type is required"
    if kind not in (_V1_TYPES if is_v1 else _CLOUD_TYPES):
        return (invalid if is_v1 else 100), "the parameter type is not one of the message types"
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
