"""The three shapes of the API that this pipeline speaks: where a request goes, with which headers, in which body.

A profile is data and two pure functions; adding one touches nothing else. `cloud` is Meta's Graph API, `360dialog`
takes the same bodies under another address and header, `v1` is the On-Premises shape that façades such as Turn.io
still offer. `render` runs once per POST on the sender's event loop: it copies little and checks nothing, bodies have
been checked at the gate (`bodies.check_message`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import orjson

OTHER_ENDPOINTS_LIMIT: Final = (20.0, 60)
"""v1: requests per second and burst of every endpoint but `messages` (360dialog, "Before sending a message")."""
# Before this client version the messages endpoint had no more than the others (same page).
_RAISED_IN: Final = (2, 25, 3)
_VERSION: Final = re.compile(r"v?(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?")


class PairLimit(NamedTuple):
    """How fast one person may be written to: a message every `every_s` seconds, up to `burst` ahead of that."""

    every_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a number's messages go; the same for every POST.

    Attributes:
        url: Absolute address.
        headers: With the token in them: never printed.
    """

    url: str
    headers: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Profile:
    """One shape of the API.

    Attributes:
        name: As in the settings.
        rate_per_s: Default limit of the messages endpoint, requests per second.
        burst: Default burst, requests.
        pair_limit: Limit per recipient; None if there is none.
        echoes_callback_data: Whether status webhooks bring `biz_opaque_callback_data` back.
        upgrades: Whether Meta raises the throughput of its numbers (webhook `THROUGHPUT_UPGRADE`).
    """

    name: str
    rate_per_s: float
    burst: int
    pair_limit: PairLimit | None
    echoes_callback_data: bool
    upgrades: bool
    locate: Callable[[str, str, str], Endpoint] = field(repr=False)
    encode: Callable[[Mapping[str, Any], str, str | None], dict[str, Any]] = field(repr=False)

    def endpoint(self, base_url: str, number: str, token: str) -> Endpoint:
        """Where the messages of `number` are posted, and the headers that go with each of them."""
        return self.locate(base_url.rstrip("/"), number, token)

    def render(self, message: Mapping[str, Any], to: str, callback: str | None) -> bytes:
        """The body of the request.

        Args:
            message: Canonical message of the request record; has passed `check_message` for this profile.
            to: Recipient: digits, or a business-scoped user id (`US.…`).
            callback: Comes back in status webhooks; ≤ 512 characters; left out where the profile has none.
        """
        return orjson.dumps(self.encode(message, to, callback))


def default_limit(profile: str, api_version: str | None) -> tuple[float, int]:
    """Requests per second and burst of the messages endpoint, before any setting.

    Args:
        profile: Name of a profile.
        api_version: Version of a v1 client, e.g. `v2.53`; None means a recent one. Other profiles ignore it.

    Raises:
        ValueError: no such profile, or no such version.
    """
    known = PROFILES.get(profile)
    if known is None:
        raise ValueError(f"unknown profile {profile!r}; one of {', '.join(PROFILES)}")
    if profile == "v1" and api_version is not None and _version(api_version) < _RAISED_IN:
        return OTHER_ENDPOINTS_LIMIT
    return known.rate_per_s, known.burst


def _version(text: str) -> tuple[int, int, int]:
    found = _VERSION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no API version; write it like v2.53 or v2.25.3")
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major, minor, patch


def _json_headers(name: str, value: str) -> dict[str, str]:
    return {name: value, "Content-Type": "application/json"}


def _cloud_endpoint(base_url: str, number: str, token: str) -> Endpoint:
    return Endpoint(f"{base_url}/{quote(number, safe='')}/messages", _json_headers("Authorization", f"Bearer {token}"))


def _360dialog_endpoint(base_url: str, _number: str, token: str) -> Endpoint:
    return Endpoint(f"{base_url}/messages", _json_headers("D360-API-KEY", token))


def _v1_endpoint(base_url: str, _number: str, token: str) -> Endpoint:
    host = urlsplit(base_url).hostname or ""
    if host == "360dialog.io" or host.endswith(".360dialog.io"):
        return Endpoint(f"{base_url}/v1/messages", _json_headers("D360-API-KEY", token))
    return Endpoint(f"{base_url}/v1/messages", _json_headers("Authorization", f"Bearer {token}"))


def _cloud_body(message: Mapping[str, Any], to: str, callback: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {**message, "messaging_product": "whatsapp", "recipient_type": "individual"}
    # Without "+" Meta may put the business's own country code in front and reach a stranger (Meta, service messages).
    # A user id goes into `recipient`; `to` would win over it (Meta, business-scoped user IDs).
    if to.isdigit():
        body["to"] = "+" + to
    else:
        body["recipient"] = to
    if callback is not None:
        body["biz_opaque_callback_data"] = callback
    kind = message.get("type")
    if kind == "template":
        body["template"] = template = _deterministic(message["template"])
        template.pop("namespace", None)
    elif kind == "location":
        body["location"] = {name: _as_text(value) for name, value in message["location"].items()}
    return body


def _v1_body(message: Mapping[str, Any], to: str, _callback: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {**message, "to": to, "recipient_type": "individual"}
    kind = message.get("type")
    if kind == "template":
        body["template"] = _deterministic(message["template"])
    elif kind == "text":
        # v1 has preview_url beside the text, the Cloud API inside it (Meta, On-Premises messages reference).
        text = dict(message["text"])
        if "preview_url" in text:
            body["preview_url"] = text.pop("preview_url")
        body["text"] = text
    elif kind == "location":
        body["location"] = {
            name: float(value) if name in ("latitude", "longitude") else value
            for name, value in message["location"].items()
        }
    return body


def _deterministic(template: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with `language.policy`: v1 and Meta's OpenAPI require it, where examples leave it out."""
    return {**template, "language": {"policy": "deterministic", **template["language"]}}


def _as_text(value: Any) -> Any:
    """Meta's OpenAPI types latitude and longitude of outbound messages as strings: decimal ones, `1e-05` is none."""
    return f"{value:.{_PLACES}f}".rstrip("0").rstrip(".") if isinstance(value, int | float) else value


_PLACES: Final = 9
"""Decimal places of degrees: a tenth of a millimetre."""

# Per recipient: Meta, about the platform. Per number: Meta, throughput (no burst is documented beyond it).
_PAIR: Final = PairLimit(every_s=6.0, burst=45)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile("cloud", 80.0, 80, _PAIR, True, True, _cloud_endpoint, _cloud_body),
            Profile("360dialog", 80.0, 80, _PAIR, True, True, _360dialog_endpoint, _cloud_body),
            Profile("v1", 50.0, 150, None, False, False, _v1_endpoint, _v1_body),
        )
    }
)
"""All profiles by name."""
