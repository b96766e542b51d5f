"""Who may post: signatures, tokens, rotation by file, and settings that would leave the door open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.ingress.access import MAX_APP_SECRETS, RECHECK_S, Access, require_locks
from tests.unit.ingress.support import (
    CLOUD,
    PATH_TOKEN,
    SECRET,
    V1,
    VERIFY_TOKEN,
    number,
    secret_file,
    settings_with,
    signed,
)  # fmt: skip

BODY = b'{"object":"whatsapp_business_account","entry":[]}'
SIGNATURE = signed(BODY)["X-Hub-Signature-256"]


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _is_signed(access: Access, signature: str | None) -> bool:
    return access.voice_of(BODY, signature, None, None) is not None


def _replace(path: Path, content: str) -> None:
    """Give a file new content and a date that is surely another."""
    before = path.stat().st_mtime_ns
    path.write_text(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_signature_by_either_live_secret_counts(tmp_path: Path) -> None:
    """Two apps, or one in rotation: both secrets open the door, a third does not."""
    files = [secret_file(tmp_path, "one", "first"), secret_file(tmp_path, "two", "second")]
    access = Access(settings_with(tmp_path, app_secret_files=files))
    given = [_is_signed(access, signed(BODY, key)["X-Hub-Signature-256"]) for key in (b"first", b"second", b"x")]
    assert given == [True, True, False]


@pytest.mark.parametrize("signature", [None, "", "sha256=", "sha1=00", SIGNATURE.upper(), SIGNATURE[:-1], "sha256=ü"])
def test_a_missing_or_odd_signature_is_none(tmp_path: Path, signature: str | None) -> None:
    """Nothing but the exact header value counts."""
    assert not _is_signed(Access(settings_with(tmp_path)), signature)


def test_a_secret_is_read_anew_when_its_file_changes(tmp_path: Path) -> None:
    """Rotation needs no restart: the new secret counts and the old one does not, at the latest after `RECHECK_S`."""
    clock = _Clock()
    settings = settings_with(tmp_path)
    access = Access(settings, clock)
    _replace(settings.ingress.app_secret_files[0], "rotated")
    assert _is_signed(access, SIGNATURE)
    clock.now_s += RECHECK_S
    assert not _is_signed(access, SIGNATURE)
    assert _is_signed(access, signed(BODY, b"rotated")["X-Hub-Signature-256"])


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_secret_file_that_breaks_leaves_the_last_secret_live(tmp_path: Path, damage: str) -> None:
    """A botched rotation does not shut the door; the file is followed again once it is good."""
    clock = _Clock()
    settings = settings_with(tmp_path)
    path = settings.ingress.app_secret_files[0]
    access = Access(settings, clock)
    if damage == "gone":
        path.unlink()
    else:
        _replace(path, "")
    clock.now_s += RECHECK_S
    assert _is_signed(access, SIGNATURE)
    path.write_text("good again")
    clock.now_s += RECHECK_S
    assert _is_signed(access, signed(BODY, b"good again")["X-Hub-Signature-256"])


def test_the_verify_token_must_be_exact(tmp_path: Path) -> None:
    """Only the whole token verifies, and without a token file nothing does."""
    access = Access(settings_with(tmp_path))
    assert [access.may_verify(token) for token in (VERIFY_TOKEN, VERIFY_TOKEN + "x", "", "ü")] == [
        True, False, False, False,
    ]  # fmt: skip
    assert not Access(settings_with(tmp_path, verify_token_file=None)).may_verify("")


def test_a_path_token_speaks_for_v1_numbers_only(tmp_path: Path) -> None:
    """The shared token never stands in for the signature of a Cloud number or an unknown one."""
    access = Access(settings_with(tmp_path, path_token_file=secret_file(tmp_path, "token", PATH_TOKEN)))
    assert access.has_token(V1, PATH_TOKEN)
    assert not access.has_token(V1, None)
    assert not access.has_token(V1, "path-token-2")
    assert not any(access.has_token(other, PATH_TOKEN) for other in (CLOUD, "999", None))


def test_v1_beside_an_app_secret_but_without_a_token_must_be_signed(tmp_path: Path) -> None:
    """An app secret for other numbers does not leave v1 open."""
    access = Access(settings_with(tmp_path))
    assert not access.has_token(V1, None)
    assert not access.may_knock(V1, None, None)
    assert access.may_knock(V1, None, SIGNATURE)


def test_v1_alone_on_loopback_needs_nothing(tmp_path: Path) -> None:
    """For trying things out on one machine, and only for the configured number."""
    access = Access(settings_with(tmp_path, {V1: number("v1")}, app_secret_files=None))
    assert access.has_token(V1, None)
    assert access.may_knock(V1, None, None)
    assert not access.may_knock("999", None, None)
    assert not _is_signed(access, signed(BODY, b"")["X-Hub-Signature-256"])


@pytest.mark.parametrize("profile", ["cloud", "360dialog"])
def test_a_signed_profile_without_an_app_secret_stops_the_start(tmp_path: Path, profile: str) -> None:
    """The error names the key, also on loopback and beside a path token."""
    token = secret_file(tmp_path, "token", PATH_TOKEN)
    settings = settings_with(tmp_path, {CLOUD: number(profile)}, app_secret_files=None, path_token_file=token)
    with pytest.raises(ConfigError, match=r"ingress\.app_secret_files"):
        require_locks(settings)


def test_no_numbers_and_no_app_secret_stops_the_start(tmp_path: Path) -> None:
    """Nothing could ever be authentic: say so."""
    with pytest.raises(ConfigError, match=r"ingress\.app_secret_files.*no numbers"):
        require_locks(settings_with(tmp_path, {}, app_secret_files=None))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "hooks.example.org"])
def test_unsigned_v1_that_others_can_reach_stops_the_start(tmp_path: Path, host: str) -> None:
    """v1 without signature or token is for loopback only."""
    settings = settings_with(tmp_path, {V1: number("v1")}, app_secret_files=None, host=host)
    with pytest.raises(ConfigError, match=r"ingress\.path_token_file"):
        require_locks(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_unsigned_v1_on_loopback_may_start(tmp_path: Path, host: str) -> None:
    """All spellings of loopback count."""
    require_locks(settings_with(tmp_path, {V1: number("v1")}, app_secret_files=None, host=host))


def test_v1_with_a_path_token_may_start_anywhere(tmp_path: Path) -> None:
    """The token is lock enough."""
    token = secret_file(tmp_path, "token", PATH_TOKEN)
    numbers = {V1: number("v1")}
    require_locks(settings_with(tmp_path, numbers, app_secret_files=None, host="0.0.0.0", path_token_file=token))


@pytest.mark.parametrize("key", ["app_secret_files", "verify_token_file", "path_token_file"])
def test_a_secret_that_cannot_be_read_at_start_is_a_config_error(tmp_path: Path, key: str) -> None:
    """The start names the setting whose file is missing, and never the secret."""
    missing = tmp_path / "missing"
    ingress: dict[str, Any] = {key: [missing] if key == "app_secret_files" else missing}
    settings = settings_with(tmp_path, None, **ingress)
    with pytest.raises(ConfigError, match=rf"ingress\.{key}") as caught:
        Access(settings)
    assert SECRET.decode() not in str(caught.value)


OTHER = "200000000000009"


def _own(folder: Path, *, common: bool = True) -> Access:
    """A number with app secrets of its own, of an account of its own, beside those of the ingress."""
    own = [secret_file(folder, "own-1", "own-first"), secret_file(folder, "own-2", "own-second")]
    one = number("cloud", "acme", 3).model_copy(update={"app_secret_files": own, "account": "300000000000009"})
    shared = number("cloud").model_copy(update={"account": "300000000000001"})
    numbers = {CLOUD: shared, OTHER: one} if common else {OTHER: one}
    return Access(settings_with(folder, numbers, **({} if common else {"app_secret_files": None})))


@pytest.mark.parametrize(
    ("secret", "number_id", "account", "may"),
    [
        (SECRET, CLOUD, "300000000000001", True),
        (SECRET, None, "300000000000001", True),
        (SECRET, "299999999999999", "399999999999999", True),
        (SECRET, None, None, True),
        (SECRET, OTHER, "300000000000009", False),
        (SECRET, None, "300000000000009", False),
        (b"own-first", OTHER, "300000000000009", True),
        (b"own-second", None, "300000000000009", True),
        (b"own-first", CLOUD, "300000000000001", False),
        (b"own-first", None, "300000000000001", False),
        (b"own-first", "299999999999999", "300000000000009", False),
        (b"own-first", None, None, False),
    ],
)
def test_an_app_speaks_for_its_numbers_only(
    tmp_path: Path, secret: bytes, number_id: str | None, account: str | None, may: bool
) -> None:
    """A number with app secrets of its own is told of by that app alone, which tells of nobody else."""
    access = _own(tmp_path)
    voice = access.voice_of(BODY, signed(BODY, secret)["X-Hub-Signature-256"], None, None)
    assert voice is not None
    assert voice.may_tell(number_id, account, {CLOUD, OTHER, "300000000000001", "300000000000009"}) is may


def test_numbers_that_all_have_secrets_need_none_of_the_ingress(tmp_path: Path) -> None:
    """The ingress starts without an app secret of its own if every signed number brings one."""
    assert _is_signed(_own(tmp_path, common=False), signed(BODY, b"own-first")["X-Hub-Signature-256"])


def test_too_many_app_secrets_stop_the_start(tmp_path: Path) -> None:
    """Every call tries each secret, so their number is bounded, by a named error."""
    numbers = {
        str(200_000 + index): number("cloud", "acme", index).model_copy(
            update={"app_secret_files": [secret_file(tmp_path, f"s{index}", f"secret-{index}")]}
        )
        for index in range(MAX_APP_SECRETS)
    }
    with pytest.raises(ConfigError, match="at most 64"):
        Access(settings_with(tmp_path, numbers))
