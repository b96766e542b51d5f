"""Number, account and host: whom a refusal stops, and whom it does not."""

from __future__ import annotations

import pytest

from pipeline.config import NumberSettings
from pipeline.sender.scopes import ScopeName, alone, scopes_of
from pipeline.throttle.halt import Open, Probe


def number(account: str, base_url: str) -> NumberSettings:
    """A number of an account at a host."""
    return NumberSettings(business="acme", account=account, profile="cloud", base_url=base_url, token_env="T")


NUMBERS = {
    "same": number("waba-1", "https://one.example"),
    "account": number("waba-1", "https://two.example"),
    "host": number("waba-2", "https://one.example"),
    "stranger": number("waba-2", "https://two.example"),
}


@pytest.mark.parametrize(
    ("name", "stopped"), [("number", {"same"}), ("account", {"same", "account"}), ("host", {"same", "host"})]
)
def test_a_refusal_stops_exactly_its_scope(name: ScopeName, stopped: set[str]) -> None:
    """Lanes of one process share what their numbers have in common, and nothing else."""
    scopes = scopes_of(NUMBERS)
    assert scopes["same"].refused(name, "throttled", 9.0, 10.0, None, 0.0)
    assert {other for other, theirs in scopes.items() if theirs.is_halted(10.1)} == stopped


def test_numbers_without_an_account_share_none() -> None:
    """An account that the settings do not name is not taken for the same one."""
    scopes = scopes_of({"1": number("", "https://one.example"), "2": number("", "https://two.example")})
    scopes["1"].refused("account", "throttled", 9.0, 10.0, None, 0.0)
    assert not scopes["2"].is_halted(10.1)


def test_an_answer_to_an_older_request_ends_no_spell() -> None:
    """What was written before the refusal came proves nothing; what was written after it ends the spell."""
    scopes = alone()
    scopes.refused("account", "throttled", 9.0, 10.0, None, 0.0)
    assert not scopes.answered(9.9, 10.2)
    assert scopes.is_halted(10.2)
    assert scopes.answered(10.5, 10.6)
    assert not scopes.is_halted(10.6)


def test_a_refusal_from_before_the_last_end_says_nothing() -> None:
    """A straggler of the spell that is over does not begin another."""
    scopes = alone()
    scopes.refused("host", "overloaded", 9.0, 10.0, None, 0.0)
    scopes.answered(10.5, 10.6)
    assert not scopes.refused("host", "overloaded", 10.55, 10.7, None, 0.0)
    assert not scopes.is_halted(10.7)


def test_one_probe_for_all_that_share_a_scope() -> None:
    """While one number's probe is on its way, another number of the account sends none."""
    scopes = scopes_of(NUMBERS)
    scopes["same"].refused("account", "throttled", 9.0, 10.0, None, 0.0)
    sister = scopes["account"].account.halt
    assert sister.state(11.0) == Probe()
    scopes["same"].probing(11.0)
    assert sister.state(11.0) != Probe()
    scopes["same"].probe_lost(11.1)
    assert sister.state(12.0) == Probe()


def test_the_slowest_scope_sets_the_pace() -> None:
    """After a spell of the host its numbers go at half, and the burst is whole again at once."""
    scopes = alone()
    assert scopes.allowance(0.0) == (1.0, 1.0)
    scopes.refused("host", "overloaded", 0.0, 1.0, None, 0.0)
    assert scopes.allowance(3.0) is None
    scopes.answered(4.0, 4.1)
    assert isinstance(scopes.number.halt.state(4.1), Open)
    assert scopes.allowance(4.1) == (0.5, 1.0)
