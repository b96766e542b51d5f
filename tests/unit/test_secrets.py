"""Secrets: read from files or variables, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import secrets
from pipeline.config import IngressSettings, NumberSettings, Settings
from pipeline.errors import ConfigError


def number(token_file: Path | None = None, token_env: str | None = None) -> NumberSettings:
    """A number whose token is in a file or a variable."""
    return NumberSettings(
        business="acme", profile="cloud", base_url="https://api.example", token_file=token_file, token_env=token_env
    )


def test_secret_is_read_without_white_space(tmp_path: Path) -> None:
    """Surrounding white space, as editors leave it, is not part of a secret."""
    path = tmp_path / "token"
    path.write_text("  EAAB-token\n")
    assert secrets.read_secret_file("numbers.1.token_file", path) == "EAAB-token"
    assert secrets.token_of("1", number(token_file=path)) == "EAAB-token"


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"HUSH-1\nHUSH-2", b"HUSH\x00", b"HUSH\xff", b"HUSH" * 5000, b"a" * 16_384 + "é".encode()],
    ids=["empty", "blank", "two lines", "control character", "not text", "too large", "cut in a character"],
)
def test_unusable_secret_is_refused_by_key_and_never_shown(tmp_path: Path, content: bytes) -> None:
    """A file that holds no usable secret is named with its setting; nothing of its content is in the error."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^ingress\.verify_token_file: .*(must hold one line|is not text)") as caught:
        secrets.read_secret_file("ingress.verify_token_file", path)
    assert "HUSH" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["missing", "."])
def test_unreadable_file_is_named(tmp_path: Path, name: str) -> None:
    """A missing file or a folder is named together with the setting and what to do."""
    with pytest.raises(ConfigError, match=r"^numbers\.7\.token_file: .*cannot be read.*name a file"):
        secrets.token_of("7", number(token_file=tmp_path / name))


def test_token_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token may come from the variable that the settings name."""
    monkeypatch.setenv("ACME_TOKEN", " EAAB ")
    assert secrets.token_of("7", number(token_env="ACME_TOKEN")) == "EAAB"


def test_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set stops the start with key, variable and remedy."""
    monkeypatch.delenv("ACME_TOKEN", raising=False)
    with pytest.raises(
        ConfigError, match=r"^numbers\.7\.token_env: .*ACME_TOKEN is not set; set it, or use token_file"
    ):
        secrets.token_of("7", number(token_env="ACME_TOKEN"))


def test_variable_with_two_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that would break an HTTP header is refused before any request, and is not shown."""
    monkeypatch.setenv("ACME_TOKEN", "HUSH\nX-Other: 1")
    with pytest.raises(ConfigError, match=r"numbers\.7\.token_env: .*one line") as caught:
        secrets.token_of("7", number(token_env="ACME_TOKEN"))
    assert "HUSH" not in str(caught.value)


def test_password_of_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number with a login proves itself with its password, from a file or a variable; others with their token."""
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    own = {"business": "acme", "profile": "v1", "base_url": "https://api.example", "login_user": "admin"}
    by_file = NumberSettings.model_validate({**own, "login_password_file": path})
    by_variable = NumberSettings.model_validate({**own, "login_password_env": "ACME_PASSWORD"})
    monkeypatch.setenv("ACME_PASSWORD", "other")
    assert secrets.credential_of("7", by_file) == secrets.password_of("7", by_file) == "s3cret"
    assert secrets.credential_of("7", by_variable) == "other"
    assert secrets.credential_of("7", number(token_env="ACME_PASSWORD")) == "other"
    path.unlink()
    with pytest.raises(ConfigError, match=r"^numbers\.7\.login_password_file: .*cannot be read"):
        secrets.credential_of("7", by_file)
    monkeypatch.delenv("ACME_PASSWORD")
    with pytest.raises(ConfigError, match=r"login_password_env: .*ACME_PASSWORD is not set.*login_password_file"):
        secrets.credential_of("7", by_variable)


def test_app_secrets_in_the_order_listed(tmp_path: Path) -> None:
    """Up to two app secrets are read, in the order of the settings; a bad one is named by its place."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("one")
    second.write_text("two")
    assert secrets.app_secrets(Settings(ingress=IngressSettings(app_secret_files=[first, second]))) == [b"one", b"two"]
    with pytest.raises(ConfigError, match=r"ingress\.app_secret_files\.1: "):
        secrets.app_secrets(Settings(ingress=IngressSettings(app_secret_files=[first, tmp_path / "c"])))
