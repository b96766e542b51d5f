"""What a look at a number says: token, limits, quality."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.whatsapp.look import FIELDS, look_at, read_look, unanswered
from pipeline.whatsapp.profiles import PROFILES

NUMBER = "200000000000001"


@pytest.mark.parametrize(
    ("profile", "base_url", "url"),
    [
        ("cloud", "https://g.invalid/v24.0", f"https://g.invalid/v24.0/{NUMBER}?fields={','.join(FIELDS)}"),
        ("360dialog", "https://d.invalid", "https://d.invalid/health_status"),
        ("v1", "https://o.invalid", "https://o.invalid/v1/health"),
    ],
)
def test_each_profile_is_looked_at_where_it_costs_no_message(profile: str, base_url: str, url: str) -> None:
    """The address of each profile, with the credentials of its messages."""
    posts = PROFILES[profile].endpoint(base_url, NUMBER, "t0ken")
    look = look_at(profile, base_url, NUMBER, posts, fields=FIELDS)
    assert look.url == url
    assert look.headers == {name: value for name, value in posts.headers.items() if name != "Content-Type"}
    assert "t0ken" not in repr(look)


def seen(status: int, body: Any) -> tuple[str, bool, bool]:
    """Token, whether that is final, whether fewer fields may be answered."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    read = read_look(status, {}, raw, 0.0)
    return read.token, read.is_final, read.asks_less


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"id": NUMBER, "quality_rating": "GREEN"}, ("accepted", True, False)),
        (200, {"health": {"gateway_status": "connected"}}, ("accepted", True, False)),
        (401, {"error": {"code": 190, "message": "expired"}}, ("refused", True, False)),
        (400, {"error": {"code": 190, "message": "expired"}}, ("refused", True, False)),
        (401, {"errors": [{"code": 1005, "title": "Access denied"}]}, ("refused", True, False)),
        (401, {"meta": {"http_code": 401, "developer_message": "Invalid api key"}}, ("refused", True, False)),
        (400, {"error": {"code": 100, "message": "no field"}}, ("accepted", True, True)),
        (403, {"error": {"code": 10, "message": "permission"}}, ("unknown", True, False)),
        (404, b"404 page not found", ("unknown", True, False)),
        (405, b"", ("unknown", True, False)),
        (200, b"<html>hello</html>", ("unknown", True, False)),
        (429, {"error": {"code": 4}}, ("unknown", False, False)),
        (503, b"<html>busy</html>", ("unknown", False, False)),
        (502, b"", ("unknown", False, False)),
        (500, b"", ("unknown", False, False)),
    ],
)
def test_only_a_refusal_of_the_token_refuses_it(status: int, body: Any, expected: tuple[str, bool, bool]) -> None:
    """An API that does not know the endpoint, is busy or answers rubbish has said nothing about the token."""
    assert seen(status, body) == expected


def test_limits_and_quality_are_read_as_told() -> None:
    """Quality, tier and throughput level of a cloud number; values of another kind are passed over."""
    body = {"quality_rating": "YELLOW", "throughput": {"level": "HIGH"}, FIELDS[2]: "TIER_10K", "id": NUMBER}
    told = read_look(200, {}, orjson.dumps(body), 0.0)
    assert (told.quality, told.throughput, told.tier) == ("YELLOW", "HIGH", "TIER_10K")
    odd = read_look(200, {}, orjson.dumps({"quality_rating": 3, "throughput": [], FIELDS[2]: {}}), 0.0)
    assert (odd.token, odd.quality, odd.throughput, odd.tier) == ("accepted", None, None, None)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"health_status": {"can_send_message": "LIMITED"}}, "can_send_message: LIMITED"),
        ({"health": {"gateway_status": "connecting"}}, "gateway: connecting"),
        ({"health": {"a:1": {"gateway_status": "connected"}, "b:2": {"gateway_status": "disconnected"}}},
         "gateway: connected, disconnected"),
    ],
)  # fmt: skip
def test_health_is_told_in_words(body: Any, detail: str) -> None:
    """What 360dialog and v1 say of a number's health is its detail."""
    assert read_look(200, {}, orjson.dumps(body), 0.0).detail == detail


def test_no_answer_is_no_refusal() -> None:
    """A look without an answer is repeated soon, and says why."""
    nothing = unanswered(TimeoutError("slow"))
    assert (nothing.token, nothing.is_final, nothing.detail) == ("unknown", False, "no answer: TimeoutError slow")
