"""Reading requests: which endpoint, whose credential, what is wrong with a body."""

from __future__ import annotations

import base64

import orjson
import pytest

from pipeline.simulator.messages import read_message
from pipeline.simulator.parts import Profile
from pipeline.simulator.requests import Route, basic_login, clean, credential, route

TEMPLATE = {
    "name": "order_shipped",
    "language": {"code": "en_US"},
    "components": [{"type": "header"}, {"type": "body", "parameters": [{"type": "text", "text": "4711"}]}],
}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v24.0/2000/messages", Route("messages", "cloud", "2000", version=24.0)),
        ("POST", "/a/b/v9.1/2000/messages", Route("messages", "cloud", "2000", version=9.1)),
        ("POST", "/v24.0/2000/marketing_messages", Route("marketing", "cloud", "2000", version=24.0)),
        ("GET", "/v24.0/2000", Route("item", "cloud", item="2000", version=24.0)),
        ("DELETE", "/v24.0/2000", Route("delete", "cloud", item="2000", version=24.0)),
        ("GET", "/v24.0/2000/message_history", Route("history", "cloud", "2000", version=24.0)),
        ("GET", "/v24.0/wamid.1/events", Route("events", "cloud", item="wamid.1", version=24.0)),
        ("POST", "/marketing_messages", Route("marketing", "360dialog")),
        ("POST", "/media", Route("media", "360dialog")),
        ("PUT", "/v1/messages/gBEG1", Route("mark_read", "v1", item="gBEG1")),
        ("POST", "/v1/users/logout", Route("logout", "v1")),
        ("GET", "/v1/health", Route("health", "v1")),
        ("POST", "/v1/media", Route("media", "v1")),
        ("GET", "/v1/media/1", Route("item", "v1", item="1")),
        ("POST", "/v1/messages", Route("messages", "v1")),
        ("POST", "/messages", Route("messages", "360dialog")),
        ("POST", "/v1/users/login", Route("login", "v1")),
        ("GET", "/v24.0/2000/messages", Route("other", "cloud")),
        ("POST", "/v1/contacts", Route("contacts", "v1")),
        ("POST", "/v24.0/2000/media", Route("media", "cloud", "2000", version=24.0)),
        ("POST", "/v24.0/2000/nothing", Route("other", "cloud")),
        ("POST", "/v1/nothing", Route("other", "v1")),
    ],
)
def test_route_by_path(method: str, path: str, expected: Route) -> None:
    """Each profile has its path; everything else is `other`."""
    assert route(method, path) == expected


@pytest.mark.parametrize(
    ("profile", "headers", "expected"),
    [
        ("cloud", {"Authorization": "Bearer t1"}, "t1"),
        ("cloud", {"D360-API-KEY": "k"}, ""),
        ("360dialog", {"Authorization": "Bearer t1"}, ""),
        ("360dialog", {"D360-API-KEY": "k"}, "k"),
        ("v1", {"Authorization": "Bearer t1"}, "t1"),
        ("v1", {"D360-API-KEY": "k"}, "k"),
        ("v1", {"Authorization": "Basic abc"}, ""),
    ],
)
def test_credential_comes_from_the_profiles_header(profile: Profile, headers: dict[str, str], expected: str) -> None:
    """A key in the wrong header is no credential."""
    assert credential(profile, headers) == expected


def test_basic_login_is_read_or_nothing() -> None:
    """User and password of a Basic header; None for anything that is not one."""
    good = base64.b64encode(b"admin:se:cret").decode()
    assert basic_login({"Authorization": f"Basic {good}"}) == ("admin", "se:cret")
    for bad in ("", "Bearer x", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode(), "Basic /w=="):
        assert basic_login({"Authorization": bad}) is None


def test_cloud_message_is_read() -> None:
    """Recipient, callback, type and the first text parameter come out of a template body."""
    body = {
        "messaging_product": "whatsapp",
        "to": "+1 555-010 9999",
        "type": "template",
        "template": TEMPLATE,
        "biz_opaque_callback_data": "order-1:2",
    }
    message = read_message("cloud", orjson.dumps(body))
    assert message.problem is None
    assert (message.to, message.recipient) == ("+1 555-010 9999", "15550109999")
    assert (message.callback, message.type, message.text) == ("order-1:2", "template", "4711")


def test_cloud_message_may_go_to_a_user_id() -> None:
    """`recipient` stands in for `to` and is kept as it is."""
    body = {"messaging_product": "whatsapp", "recipient": "US.12AB", "type": "text", "text": {"body": "hi"}}
    message = read_message("cloud", orjson.dumps(body))
    assert (message.problem, message.recipient) == (None, "US.12AB")


def test_v1_message_defaults_to_text_and_has_no_callback() -> None:
    """On v1 `type` may be missing and there is no callback field."""
    message = read_message("v1", b'{"to":"1","text":{"body":"hi"},"biz_opaque_callback_data":"x"}', strict=False)
    assert (message.problem, message.type, message.text, message.callback) == (None, "text", "hi", "")


@pytest.mark.parametrize(
    ("profile", "body", "code"),
    [
        ("cloud", b"not json", 100),
        ("cloud", b"[]", 100),
        ("cloud", b'{"to":"1","type":"text","text":{"body":"x"}}', 100),
        ("cloud", b'{"messaging_product":"whatsapp","type":"text","text":{"body":"x"}}', 131008),
        ("cloud", b'{"messaging_product":"whatsapp","to":"1"}', 131008),
        ("cloud", b'{"messaging_product":"whatsapp","to":"1","type":"hsm","hsm":{"a":1}}', 131051),
        ("cloud", b'{"messaging_product":"whatsapp","to":"1","type":"text"}', 131008),
        ("cloud", b'{"messaging_product":"whatsapp","to":"1","type":"text","text":"x"}', 131009),
        ("cloud", b'{"messaging_product":"whatsapp","to":"1","type":"text","text":{"body":7}}', 131008),
        ("cloud", b'{"messaging_product":"whatsapp","to":"1","type":"template","template":{"x":1}}', 131008),
        ("cloud", b'{"messaging_product":"whatsapp","to":"1","type":"contacts","contacts":{"x":1}}', 131009),
        ("v1", b"", 1025),
        ("v1", b'{"text":{"body":"x"}}', 1008),
        ("v1", b'{"to":"1"}', 1008),
        ("v1", b'{"to":"1","type":"reaction","reaction":{"a":1}}', 1009),
        ("v1", b'{"to":"1","text":["x"]}', 1009),
        ("v1", b'{"to":{"a":1},"text":{"body":"x"}}', 1008),
    ],
)
def test_wrong_bodies_have_a_code(profile: Profile, body: bytes, code: int) -> None:
    """Every kind of wrong body is told with the profile's code, and never raises."""
    problem = read_message(profile, body).problem
    assert problem is not None
    assert problem[0] == code


def test_text_is_found_where_the_type_has_it() -> None:
    """The first text comes from an interactive body, an hsm parameter or a caption, else it is empty."""
    cases: list[tuple[str, object, str]] = [
        ("interactive", {"body": {"text": "pick"}}, "pick"),
        ("hsm", {"localizable_params": [{"default": "Ada"}]}, "Ada"),
        ("image", {"id": "1", "caption": "look"}, "look"),
        ("template", {"name": "n", "components": "odd"}, ""),
        ("location", {"latitude": 1}, ""),
    ]
    for kind, content, expected in cases:
        assert read_message("v1", orjson.dumps({"to": "1", "type": kind, kind: content})).text == expected


def test_clean_replaces_what_is_not_utf8() -> None:
    """A path with undecodable bytes becomes text that can be written as JSON."""
    assert clean("/v1/\udcff") == "/v1/?"
    assert clean("/é") == "/é"
