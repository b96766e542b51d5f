"""The login of the v1 API: the request, what its answer says, when the token is to be renewed.

`POST /v1/users/login` with HTTP Basic gives a bearer token that lives seven days (On-Premises API, users); cloud and
360dialog have fixed tokens and no login. Pure; any bytes are safe. The I/O is `pipeline/sender/login.py`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

from pipeline.whatsapp.answer import Kind, Outcome, classify
from pipeline.whatsapp.error_body import first_of, parse_body

TOKEN_LIFE_S: Final = 7 * 86_400.0
"""How long a token lives if the answer does not say (On-Premises API, users)."""
TOKEN_LIFE_S_MIN: Final = 60.0
TOKEN_LIFE_S_MAX: Final = 30 * 86_400.0
"""A life outside these is the work of clocks that disagree: neither a login a second nor one for ever comes of it."""
REFRESH_SHARE: Final = 6 / 7
"""The part of its life after which a token is renewed: a day is left of seven for logins that fail."""
TOKEN_CHARS_MAX: Final = 8_192
CODE_BAD_USER: Final = 1021
CODE_PASSWORD_CHANGE: Final = 1024


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """What is posted.

    Attributes:
        url: Absolute address.
        headers: With the password in them: never printed.
        body: An empty object; a new password would stand there.
    """

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Granted:
    """A token.

    Attributes:
        token: Never printed.
        life_s: How long it is good for, seconds, within `TOKEN_LIFE_S_MIN` and `TOKEN_LIFE_S_MAX`.
    """

    token: str = field(repr=False)
    life_s: float

    @property
    def refresh_s(self) -> float:
        """After how many seconds it is to be renewed."""
        return self.life_s * REFRESH_SHARE


def login_request(base_url: str, user: str, password: str) -> LoginRequest:
    """The request that asks for a token.

    Args:
        base_url: Of the host, without `/v1`.
        user: Without a colon, which HTTP Basic cannot carry.
        password: Any text.
    """
    basic = b64encode(f"{user}:{password}".encode()).decode("ascii")
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json"}
    return LoginRequest(f"{base_url.rstrip('/')}/v1/users/login", headers)


def read_login(status: int, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Granted | Outcome:
    """Read the answer to a login.

    Args:
        status: HTTP status, as received.
        headers: Of the answer; names in any case.
        body: As received.
        now_unix_s: Reading of the host's clock.

    Returns:
        The token, or why there is none: `THROTTLED`, `OVERLOADED` or `TRANSIENT` heal by themselves, all other kinds
        need a person (`remedy`). The detail of a 2xx quotes nothing of its body, which may hold a token.
    """
    if 200 <= status <= 299:
        user = first_of((parse_body(body) or {}).get("users"))
        token = user.get("token")
        if _is_token(token):
            return Granted(token, _life_s(user.get("expires_after"), now_unix_s))
        return Outcome(Kind.REFUSED, status, detail=f"HTTP {status}: no token in the answer")
    outcome = classify(status, headers, body, now_unix_s)
    # A gateway that cannot tell what became of a login has done no harm: the next one gives a token all the same.
    return replace(outcome, kind=Kind.TRANSIENT) if outcome.kind is Kind.UNKNOWN else outcome


def remedy(outcome: Outcome) -> str | None:
    """What a person has to do about a login that was refused; None if it heals by itself."""
    if outcome.kind in (Kind.THROTTLED, Kind.OVERLOADED, Kind.TRANSIENT):
        return None
    if outcome.error_code == CODE_PASSWORD_CHANGE:
        return (
            'log in once by hand with {"new_password": …} in the body, then put the new password where'
            " login_password_file (or login_password_env) points; a file is read anew before each login"
        )
    if outcome.kind is Kind.UNAUTHORISED or outcome.error_code == CODE_BAD_USER:
        return (
            "correct login_user, or the password where login_password_file (or login_password_env) points; a file is"
            " read anew before each login"
        )
    return "check base_url, and that the API has POST /v1/users/login; if it has not, use token_file"


def _is_token(value: Any) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and 0 < len(value) <= TOKEN_CHARS_MAX
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def _life_s(expires_after: Any, now_unix_s: float) -> float:
    """Seconds until `2026-11-29 10:00:00+00:00` (a blank for the T; UTC if it does not say)."""
    try:
        moment = datetime.fromisoformat(expires_after)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        life_s = moment.timestamp() - now_unix_s
    except (TypeError, ValueError, OverflowError):
        life_s = TOKEN_LIFE_S
    return min(max(life_s, TOKEN_LIFE_S_MIN), TOKEN_LIFE_S_MAX)
