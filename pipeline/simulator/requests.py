"""What a request is: which endpoint, whose, with which credential. Pure functions; nothing here raises on bad input.

Endpoints: whatsapp-api.md §1.1, §1.6 (v1), §2.1–2.2, §2.6, §2.10–2.11 (cloud), §5 (360dialog).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.simulator.parts import Profile

BODY_BYTES_MAX = 1024 * 1024

Kind = Literal[
    "messages",
    "marketing",
    "login",
    "logout",
    "media",
    "item",
    "delete",
    "download",
    "history",
    "events",
    "contacts",
    "health",
    "mark_read",
    "templates",
    "other",
]
_VERSION = r"(?:/.*)?/v(?P<version>\d{1,3}\.\d{1,3})"
_NUMBER = _VERSION + r"/(?P<number>[^/]+)"
_ITEM = r"/(?P<item>[^/]+)"
_V1 = r"(?:/.*)?/v1"
_TABLE: tuple[tuple[str, str, Kind, Profile], ...] = (
    ("POST", r"/messages", "messages", "360dialog"),
    ("POST", r"/marketing_messages", "marketing", "360dialog"),
    ("POST", r"/media", "media", "360dialog"),
    ("GET", r"/health_status", "health", "360dialog"),
    ("GET", r"/(?P<item>\d+)", "item", "360dialog"),
    ("DELETE", r"/(?P<item>\d+)", "delete", "360dialog"),
    ("GET", r"/_media" + _ITEM, "download", "cloud"),
    ("POST", _V1 + "/messages", "messages", "v1"),
    ("PUT", _V1 + "/messages" + _ITEM, "mark_read", "v1"),
    ("POST", _V1 + "/users/login", "login", "v1"),
    ("POST", _V1 + "/users/logout", "logout", "v1"),
    ("POST", _V1 + "/contacts", "contacts", "v1"),
    ("GET", _V1 + "/health", "health", "v1"),
    ("GET", _V1 + "/configs/templates", "templates", "v1"),
    ("POST", _V1 + "/media", "media", "v1"),
    ("GET", _V1 + "/media" + _ITEM, "item", "v1"),
    ("DELETE", _V1 + "/media" + _ITEM, "delete", "v1"),
    ("POST", _NUMBER + "/messages", "messages", "cloud"),
    ("POST", _NUMBER + "/marketing_messages", "marketing", "cloud"),
    ("POST", _NUMBER + "/media", "media", "cloud"),
    ("GET", _NUMBER + "/message_history", "history", "cloud"),
    ("GET", _VERSION + _ITEM + "/events", "events", "cloud"),
    ("GET", _VERSION + _ITEM + "/message_templates", "templates", "cloud"),
    ("GET", _VERSION + _ITEM, "item", "cloud"),
    ("DELETE", _VERSION + _ITEM, "delete", "cloud"),
)
_ROUTES = tuple((method, re.compile(path), kind, profile) for method, path, kind, profile in _TABLE)


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint.

    Attributes:
        kind: Which one; `item` is a medium or a number, `other` does not exist here.
        profile: Whose shapes its answers have.
        number: Phone number id in the path; None where the path names none.
        item: Id of what is asked for; None where the path names none.
        version: API version in the path, e.g. 24.0; None where the path names none.
    """

    kind: Kind
    profile: Profile
    number: str | None = None
    item: str | None = None
    version: float | None = None

    @property
    def takes_messages(self) -> bool:
        """Whether messages are posted here."""
        return self.kind in ("messages", "marketing")


def route(method: str, path: str) -> Route:
    """The endpoint of a request; `path` is without query."""
    for asked, pattern, kind, profile in _ROUTES:
        if method == asked and (found := pattern.fullmatch(path)):
            parts = found.groupdict()
            version = float(parts["version"]) if "version" in parts else None
            return Route(kind, profile, parts.get("number"), parts.get("item"), version)
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
