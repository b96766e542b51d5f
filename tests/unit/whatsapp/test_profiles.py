"""Requests of the three shapes: addresses, headers, bodies, default limits."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.whatsapp.profiles import PROFILES, PairLimit, default_limit

TEMPLATE: dict[str, Any] = {
    "type": "template",
    "template": {"name": "order_shipped", "namespace": "ns", "language": {"code": "en_US"}, "components": []},
}


def rendered(profile: str, message: dict[str, Any], to: str = "15550109999", callback: str | None = "r-1:2") -> Any:
    """The body of a request as an object."""
    return orjson.loads(PROFILES[profile].render(message, to, callback))


def test_defaults_of_the_profiles() -> None:
    """Each profile has the published limit and says whether it echoes callback data."""
    found = {name: (p.rate_per_s, p.burst, p.pair_limit, p.echoes_callback_data) for name, p in PROFILES.items()}
    assert found == {
        "cloud": (80.0, 80, PairLimit(6.0, 45), True),
        "360dialog": (80.0, 80, PairLimit(6.0, 45), True),
        "v1": (50.0, 150, None, False),
    }


@pytest.mark.parametrize(
    ("profile", "version", "limit"),
    [
        ("cloud", None, (80.0, 80)),
        ("cloud", "v24.0", (80.0, 80)),
        ("v1", None, (50.0, 150)),
        ("v1", "v2.53", (50.0, 150)),
        ("v1", "2.25.3", (50.0, 150)),
        ("v1", "v2.25.2", (20.0, 60)),
        ("v1", "v2.25", (20.0, 60)),
        ("v1", "1.9.9", (20.0, 60)),
        ("v1", "v2.9", (20.0, 60)),
    ],
)
def test_default_limit_by_version(profile: str, version: str | None, limit: tuple[float, int]) -> None:
    """v1 clients before 2.25.3 have 20 requests a second and bursts of 60; versions compare as numbers."""
    assert default_limit(profile, version) == limit


@pytest.mark.parametrize(("profile", "version"), [("v2", None), ("v1", "newest"), ("v1", "")])
def test_default_limit_refuses_what_it_does_not_know(profile: str, version: str | None) -> None:
    """A profile or version that does not exist is named in the error."""
    with pytest.raises(ValueError, match=r"unknown profile|is no API version"):
        default_limit(profile, version)


@pytest.mark.parametrize(
    ("profile", "base_url", "url", "header", "value"),
    [
        (
            "cloud",
            "https://graph.example/v24.0/",
            "https://graph.example/v24.0/7/messages",
            "Authorization",
            "Bearer t",
        ),
        ("360dialog", "https://waba.example", "https://waba.example/messages", "D360-API-KEY", "t"),
        ("v1", "https://host.example", "https://host.example/v1/messages", "Authorization", "Bearer t"),
        ("v1", "https://waba.360dialog.io", "https://waba.360dialog.io/v1/messages", "D360-API-KEY", "t"),
        ("v1", "https://360dialog.io.example", "https://360dialog.io.example/v1/messages", "Authorization", "Bearer t"),
    ],
)
def test_endpoint(profile: str, base_url: str, url: str, header: str, value: str) -> None:
    """A number's messages go to the profile's address with its token header."""
    endpoint = PROFILES[profile].endpoint(base_url, "7", "t")
    assert endpoint.url == url
    assert endpoint.headers == {header: value, "Content-Type": "application/json"}


def test_endpoint_does_not_print_the_token() -> None:
    """An endpoint that lands in a log shows no token."""
    assert "secret" not in repr(PROFILES["cloud"].endpoint("https://graph.example", "7", "secret"))


def test_cloud_text() -> None:
    """The Cloud body names the product, the recipient with a plus, and the callback data."""
    assert rendered("cloud", {"type": "text", "text": {"body": "Hi", "preview_url": False}}) == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+15550109999",
        "type": "text",
        "text": {"body": "Hi", "preview_url": False},
        "biz_opaque_callback_data": "r-1:2",
    }


def test_dialog_speaks_cloud() -> None:
    """360dialog takes the very bytes of the Cloud API."""
    assert PROFILES["360dialog"].render(TEMPLATE, "1", "a:1") == PROFILES["cloud"].render(TEMPLATE, "1", "a:1")


def test_cloud_user_id_goes_into_recipient() -> None:
    """A business-scoped user id is no phone number: it goes into `recipient`."""
    body = rendered("cloud", {"type": "text", "text": {"body": "Hi"}}, to="US.13491208655302741918", callback=None)
    assert body["recipient"] == "US.13491208655302741918"
    assert not {"to", "biz_opaque_callback_data"} & set(body)


def test_v1_text_moves_the_preview() -> None:
    """v1 has preview_url beside the text, no product and no callback data; the message itself stays as it was."""
    message = {"type": "text", "text": {"body": "Hi", "preview_url": True}}
    assert rendered("v1", message) == {
        "to": "15550109999",
        "recipient_type": "individual",
        "type": "text",
        "preview_url": True,
        "text": {"body": "Hi"},
    }
    assert message == {"type": "text", "text": {"body": "Hi", "preview_url": True}}


def test_templates_say_deterministic() -> None:
    """Both shapes send the policy of the language; the namespace stays on v1 only."""
    language = {"policy": "deterministic", "code": "en_US"}
    cloud, v1 = rendered("cloud", TEMPLATE)["template"], rendered("v1", TEMPLATE)["template"]
    assert cloud == {"name": "order_shipped", "language": language, "components": []}
    assert v1 == {**cloud, "namespace": "ns"}
    assert TEMPLATE["template"]["language"] == {"code": "en_US"}


def test_location_by_shape() -> None:
    """Degrees are strings in Cloud bodies and numbers in v1 bodies, however the request wrote them."""
    place = {"latitude": 52.52, "longitude": "13.4", "name": "Shop", "address": "Street 1"}
    message = {"type": "location", "location": place}
    assert rendered("cloud", message)["location"] == {**place, "latitude": "52.52"}
    assert rendered("v1", message)["location"] == {**place, "longitude": 13.4}
    tiny = {"type": "location", "location": {"latitude": 0.00001, "longitude": -100}}
    assert rendered("cloud", tiny)["location"] == {"latitude": "0.00001", "longitude": "-100"}


def test_the_sender_decides_who_gets_it() -> None:
    """Fields that the sender fills in win over a message that brings its own."""
    body = rendered("cloud", {"type": "text", "text": {"body": "Hi"}, "to": "1999", "recipient_type": "group"})
    assert (body["to"], body["recipient_type"]) == ("+15550109999", "individual")
