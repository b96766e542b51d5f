"""The v1 login: what is asked, what the answer says, when the next one is due, and what a person has to do."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import orjson
import pytest

from pipeline.whatsapp.answer import Kind, Outcome
from pipeline.whatsapp.login import (
    TOKEN_CHARS_MAX,
    TOKEN_LIFE_S,
    TOKEN_LIFE_S_MAX,
    TOKEN_LIFE_S_MIN,
    Granted,
    login_request,
    read_login,
    remedy,
)

NOW_S = 1_795_341_600.0
"""2026-11-22 10:00:00 UTC, seven days before the token of Meta's example ends."""
DAY_S = 86_400.0


def answer(**user: Any) -> Granted | Outcome:
    """What a 200 with this user in it says."""
    return read_login(200, {}, orjson.dumps({"users": [user], "meta": {"version": "v2.53.1"}}), NOW_S)


def refused(status: int, code: int | None = None, body: bytes | None = None) -> Outcome:
    """What an error answer says."""
    error = orjson.dumps({"errors": [{"code": code, "title": "no"}]}) if body is None else body
    read = read_login(status, {}, error, NOW_S)
    assert isinstance(read, Outcome)
    return read


def test_the_request_carries_user_and_password_as_http_basic() -> None:
    """Any password can be carried, colons and umlauts, too; nothing of it shows when the request is printed."""
    request = login_request("https://waba.example:9090/", "admin", "HUSH:ü€")
    assert request.url == "https://waba.example:9090/v1/users/login"
    scheme, encoded = request.headers["Authorization"].split(" ")
    assert (scheme, b64decode(encoded).decode()) == ("Basic", "admin:HUSH:ü€")
    assert orjson.loads(request.body) == {}
    assert encoded not in repr(request)
    assert "HUSH" not in repr(request)


@pytest.mark.parametrize(
    "expires_after",
    ["2026-11-29 10:00:00+00:00", "2026-11-29T10:00:00Z", "2026-11-29 12:00:00+02:00", "2026-11-29 10:00:00"],
)
def test_a_token_is_read_with_its_end(expires_after: str) -> None:
    """The end of a token is read with a blank or a T, with any offset; UTC if there is none. The token is not shown."""
    granted = answer(token="eyJ0eXAi", expires_after=expires_after)
    assert granted == Granted("eyJ0eXAi", 7 * DAY_S)
    assert "eyJ0eXAi" not in repr(granted)


@pytest.mark.parametrize(
    ("expires_after", "life_s"),
    [
        (None, TOKEN_LIFE_S), ("soon", TOKEN_LIFE_S), (1_795_946_400, TOKEN_LIFE_S), ({}, TOKEN_LIFE_S),
        ("2026-11-22 09:00:00+00:00", TOKEN_LIFE_S_MIN), ("9999-12-31 23:59:59+00:00", TOKEN_LIFE_S_MAX),
        ("0001-01-01 00:00:00+23:59", TOKEN_LIFE_S_MIN),
    ],
)  # fmt: skip
def test_an_odd_end_neither_storms_nor_lasts_for_ever(expires_after: Any, life_s: float) -> None:
    """Without a readable end a token lives seven days; one that has ended, or never ends, is brought into bounds."""
    granted = answer(token="t", expires_after=expires_after)
    assert isinstance(granted, Granted)
    assert granted.life_s == life_s
    assert 0 < granted.refresh_s < granted.life_s


def test_a_token_is_renewed_a_day_before_its_end() -> None:
    """A token of seven days is renewed after six."""
    assert Granted("t", 7 * DAY_S).refresh_s == pytest.approx(6 * DAY_S)


@pytest.mark.parametrize(
    "user",
    [{}, {"token": ""}, {"token": 7}, {"token": None}, {"token": "a b"}, {"token": "a\r\nX: 1"}, {"token": "ü"},
     {"token": "a" * (TOKEN_CHARS_MAX + 1)}],
)  # fmt: skip
def test_what_cannot_be_a_token_is_none(user: dict[str, Any]) -> None:
    """What could not stand in a header is no token; the answer is refused without quoting it."""
    read = answer(**user)
    assert isinstance(read, Outcome)
    assert (read.kind, read.detail) == (Kind.REFUSED, "HTTP 200: no token in the answer")
    assert "token_file" in (remedy(read) or "")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"users":{}}', b'{"users":[7]}', b"\xff"])
def test_any_body_is_read(body: bytes) -> None:
    """Bodies of any kind are answers without a token."""
    assert isinstance(read_login(201, {}, body, NOW_S), Outcome)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, 1005, "correct login_user, or the password"), (401, None, "correct login_user, or the password"),
        (400, 1021, "correct login_user, or the password"), (403, 1024, "new_password"), (404, None, "check base_url"),
        (301, None, "check base_url"), (400, 1008, "check base_url"),
    ],
)  # fmt: skip
def test_what_a_person_must_do_is_named(status: int, code: int | None, words: str) -> None:
    """A wrong password, a bad user, a password to be changed, a wrong address: each with its remedy."""
    outcome = refused(status, code)
    assert words in (remedy(outcome) or "")
    assert outcome.error_code == code


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, 1015, Kind.THROTTLED), (429, None, Kind.THROTTLED), (503, 1016, Kind.OVERLOADED),
        (503, None, Kind.OVERLOADED), (500, None, Kind.TRANSIENT), (502, None, Kind.TRANSIENT),
        (504, None, Kind.TRANSIENT), (500, 1000, Kind.TRANSIENT),
    ],
)  # fmt: skip
def test_what_heals_by_itself_needs_nobody(status: int, code: int | None, kind: Kind) -> None:
    """Limits, overload and gateways that lost the server are passing; a login that may have worked does no harm."""
    outcome = refused(status, code)
    assert outcome.kind is kind
    assert remedy(outcome) is None


def test_a_wait_that_is_asked_for_is_read() -> None:
    """`Retry-After` of a refused login is kept."""
    read = read_login(429, {"Retry-After": "7"}, b"", NOW_S)
    assert isinstance(read, Outcome)
    assert read.retry_after_s == 7.0
