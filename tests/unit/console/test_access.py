"""Who may come in: the settings must lock the door that others can reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import ConsoleSettings, Settings
from pipeline.console.access import FAILURES_MAX, FAILURES_S, MAX_SESSIONS, Attempts, Doors, Sessions, require_login
from pipeline.errors import EXIT_CONFIG, ConfigError


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "console.example"])
def test_no_public_address_without_a_login(host: str) -> None:
    """Reached by others, without a token or proxy: it does not start, names the key and ends with 78."""
    with pytest.raises(ConfigError, match=r"console\.operator_token_file: missing") as found:
        require_login(ConsoleSettings(host=host))
    assert found.value.exit_code == EXIT_CONFIG
    require_login(ConsoleSettings(host=host, operator_token_file=Path("token")))


def test_on_loopback_a_token_is_made_once_and_is_private(tmp_path: Path) -> None:
    """Without a way to log in, one is made: readable by its owner only, the same after a restart."""
    first, second = (Doors(Settings(), tmp_path).made_token_file for _ in range(2))
    assert first == second == tmp_path / "operator-token"
    assert first is not None
    assert first.stat().st_mode & 0o077 == 0
    assert Doors(Settings(), tmp_path).role_of(first.read_text()) == "operator"
    assert Doors(Settings(), tmp_path).role_of("") is None


def test_viewers_need_a_token_of_their_own(tmp_path: Path) -> None:
    """One token for both roles would make every viewer an operator: it is refused."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    console = ConsoleSettings(operator_token_file=tmp_path / "a", viewer_token_file=tmp_path / "b")
    with pytest.raises(ConfigError, match="viewer_token_file"):
        Doors(Settings(console=console), tmp_path)


def test_sessions_end_and_are_bounded() -> None:
    """A session ends with its time, and the oldest goes when there are too many."""
    now = [0.0]
    sessions = Sessions(10, clock=lambda: now[0])
    cookie, _ = sessions.open("ada", "operator")
    assert sessions.find(cookie) is not None
    now[0] = 10
    assert sessions.find(cookie) is None
    first, _ = sessions.open("ada", "operator")
    for _ in range(MAX_SESSIONS):
        sessions.open("ben", "viewer")
    assert sessions.find(first) is None


def test_failures_are_forgotten_after_a_minute() -> None:
    """An address that failed too often waits; another one does not; after a minute it may try again."""
    now = [0.0]
    attempts = Attempts(clock=lambda: now[0])
    for _ in range(FAILURES_MAX):
        assert attempts.may_try("a")
        attempts.fail("a")
    assert not attempts.may_try("a")
    assert attempts.may_try("b")
    now[0] = FAILURES_S + 1
    assert attempts.may_try("a")
