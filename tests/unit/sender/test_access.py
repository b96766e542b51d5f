"""Tokens of numbers: which one holds, and what it means that one is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.errors import ConfigError
from pipeline.secrets import read_secret_file
from pipeline.sender.access import Access, FixedToken
from pipeline.whatsapp.answer import Kind, Outcome
from pipeline.whatsapp.profiles import PROFILES, Endpoint

ONE, TWO = "200000000000001", "200000000000002"
DENIED = Outcome(Kind.UNAUTHORISED, 401, 1005)
ACCEPTED = Outcome(Kind.ACCEPTED, 200, message_id="wamid.1")


class Lent:
    """A source whose tokens come later, as those of a login."""

    def __init__(self, token: str | None = None, *, renews: bool = True) -> None:
        self.token, self.renews, self.asked = token, renews, 0
        self.on_token: Callable[[], None] = lambda: None

    def renew(self) -> bool:
        """Count."""
        self.asked += 1
        return self.renews


def locate(number: str, token: str) -> Endpoint:
    """A v1 endpoint."""
    return PROFILES["v1"].endpoint("https://api.invalid", number, token)


def access_of(source: Lent | FixedToken, *numbers: str) -> Access:
    """Numbers that have their token from one source."""
    access = Access()
    for number in numbers or (ONE,):
        access.add(number, partial(locate, number), source)
    return access


def grant(source: Lent, token: str) -> None:
    """The source has another token."""
    source.token = token
    source.on_token()


def is_accepted(access: Access, number: str = ONE) -> None:
    """A message of the number is accepted with the token that holds."""
    assert access.judged(number, access.endpoint(number), ACCEPTED) is ACCEPTED


def is_denied(access: Access, number: str = ONE, endpoint: Endpoint | None = None) -> Kind:
    """A message of the number is refused for its token; what the sender makes of it."""
    return access.judged(number, endpoint or access.endpoint(number), DENIED).kind


def test_a_number_without_a_token_is_not_ready() -> None:
    """Nothing is sent before the first token; then all numbers that share it are ready, and are told of it."""
    source = Lent()
    told: list[str] = []
    access = access_of(source, ONE, TWO)
    access.on_change = told.append
    assert not access.is_ready(ONE)
    assert not access.is_ready(TWO)
    grant(source, "t1")
    assert access.is_ready(ONE)
    assert access.is_ready(TWO)
    assert told == [ONE, TWO]
    assert {access.endpoint(number).headers["Authorization"] for number in (ONE, TWO)} == {"Bearer t1"}
    assert access.newest(TWO, locate(TWO, "t0")) is access.endpoint(TWO)


def test_numbers_that_nobody_named_are_let_be() -> None:
    """Without a source there is nothing to wait for and nothing to renew."""
    access, known = Access(), locate(ONE, "t")
    assert access.is_ready(ONE)
    assert access.newest(ONE, known) is known
    assert access.judged(ONE, known, DENIED) is DENIED


def test_a_refused_token_is_renewed_once_and_the_message_goes_again() -> None:
    """The number stands still until the new token is there; the other requests under way ask for no further one."""
    source = Lent("t1")
    access = access_of(source)
    old = access.endpoint(ONE)
    assert is_denied(access) is Kind.TOKEN_SPENT
    assert not access.is_ready(ONE)
    assert is_denied(access) is Kind.TOKEN_SPENT, "it was under way with the same token"
    grant(source, "t2")
    assert access.is_ready(ONE)
    assert is_denied(access, endpoint=old) is Kind.TOKEN_SPENT, "its answer came late"
    second = access.endpoint(ONE)
    grant(source, "t3")
    assert is_denied(access, endpoint=second) is Kind.TOKEN_SPENT, "it was renewed early meanwhile"
    assert access.is_ready(ONE)
    assert source.asked == 1


def test_the_new_token_is_refused_too() -> None:
    """Then the number halts; the next probe goes with a newer token, and still halts it, until one is accepted."""
    source = Lent("t1")
    access = access_of(source)
    assert is_denied(access) is Kind.TOKEN_SPENT
    for serial in range(3):
        grant(source, f"t{serial}")
        assert is_denied(access) is Kind.UNAUTHORISED
        assert not access.is_ready(ONE), "no probe before there is another token"
    grant(source, "good")
    is_accepted(access)
    assert is_denied(access) is Kind.TOKEN_SPENT, "this one was good until now"


@pytest.mark.parametrize("kind", [Kind.THROTTLED, Kind.OVERLOADED, Kind.UNKNOWN, Kind.TRANSIENT, Kind.NUMBER_BLOCKED])
def test_an_answer_that_did_not_look_at_the_token_proves_nothing(kind: Kind) -> None:
    """Limits and overload are told before a token is looked at: they do not earn another login."""
    source = Lent("t1")
    access = access_of(source)
    assert is_denied(access) is Kind.TOKEN_SPENT
    grant(source, "t2")
    other = Outcome(kind, 500)
    assert access.judged(ONE, access.endpoint(ONE), other) is other
    assert is_denied(access) is Kind.UNAUTHORISED


def test_a_sister_with_the_same_token_goes_on() -> None:
    """A token that is refused for one number may be right for another: that one is not held up."""
    source = Lent("t1")
    access = access_of(source, ONE, TWO)
    assert is_denied(access, ONE) is Kind.TOKEN_SPENT
    assert not access.is_ready(ONE)
    assert access.is_ready(TWO)
    is_accepted(access, TWO)
    grant(source, "t2")
    assert is_denied(access, ONE) is Kind.UNAUTHORISED
    is_accepted(access, TWO)
    assert access.is_ready(TWO)


def test_without_another_token_the_number_halts_and_probes_with_the_old_one() -> None:
    """If the source gives no more, waiting is left, and the halt's probes may go."""
    access = access_of(Lent("t1", renews=False))
    assert is_denied(access) is Kind.UNAUTHORISED
    assert access.is_ready(ONE)


def test_a_file_is_read_again_when_its_token_is_refused(tmp_path: Path) -> None:
    """Whoever replaces a token's file needs no restart; the message goes again with what the file holds now."""
    path = tmp_path / "token"
    path.write_text("HUSH-1\n")
    with capture_logs() as lines:
        access = access_of(FixedToken(ONE, partial(read_secret_file, "token_file", path)))
        is_accepted(access)
        path.write_text("HUSH-2\n")
        assert is_denied(access) is Kind.TOKEN_SPENT
        assert access.is_ready(ONE)
        assert access.endpoint(ONE).headers["Authorization"] == "Bearer HUSH-2"
        assert is_denied(access) is Kind.UNAUTHORISED, "the same token again is no reason to send again"
        path.unlink()
        assert is_denied(access) is Kind.UNAUTHORISED
        assert is_denied(access) is Kind.UNAUTHORISED
    assert [line["event"] for line in lines] == ["token_replaced", "token_unreadable"]
    assert "HUSH" not in str(lines)


def test_a_missing_token_stops_the_start(tmp_path: Path) -> None:
    """A file that is not there is named at the start, not at the first refusal."""
    with pytest.raises(ConfigError, match="token_file"):
        FixedToken(ONE, partial(read_secret_file, "numbers.1.token_file", tmp_path / "token"))


def test_tokens_are_not_shown() -> None:
    """An endpoint, as it may stand in an error, shows no token."""
    assert "HUSH" not in repr(locate(ONE, "HUSH"))
