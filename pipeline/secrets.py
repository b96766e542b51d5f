"""Secrets come from files or environment variables, named by the settings; they are never part of a message or log.

Each that was read is remembered (`redaction.py`), so that it is hidden in what others say of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.config import KafkaSettings, NumberSettings, Settings
from pipeline.errors import ConfigError
from pipeline.redaction import remember

MAX_SECRET_BYTES = 16_384


def read_secret_file(key: str, path: Path) -> str:
    """Read one secret; surrounding white space is not part of it.

    Args:
        key: The setting that named the file, for the error.

    Raises:
        ConfigError: the file cannot be read, is empty, too large or not text.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"{key}: {path}: cannot be read ({exc.strerror}); name a file that holds the secret") from exc
    try:
        text = raw.decode(errors="strict" if len(raw) <= MAX_SECRET_BYTES else "replace").strip()
    except UnicodeDecodeError:
        # not chained: the error's text would quote bytes of the secret
        raise ConfigError(f"{key}: {path}: is not text; name a file that holds the secret") from None
    if len(raw) > MAX_SECRET_BYTES or not _one_line(text):
        raise ConfigError(f"{key}: {path}: must hold one line with the secret, at most {MAX_SECRET_BYTES} bytes")
    return remember(text)


def _one_line(text: str) -> bool:
    return bool(text) and text.isprintable()


def token_of(number: str, settings: NumberSettings) -> str:
    """Read the access token of a number that has one of its own.

    Raises:
        ConfigError: names the key and the remedy.
    """
    return _read(f"numbers.{number}", "token", settings.token_file, settings.token_env)


def password_of(number: str, settings: NumberSettings) -> str:
    """Read the password of a number's login.

    Raises:
        ConfigError: names the key and the remedy.
    """
    key = f"numbers.{number}"
    return _read(key, "login_password", settings.login_password_file, settings.login_password_env)


def credential_of(number: str, settings: NumberSettings) -> str:
    """Read what a number proves with who it is: its token, or the password of its login.

    Raises:
        ConfigError: names the key and the remedy.
    """
    return token_of(number, settings) if settings.login is None else password_of(number, settings)


def _read(table: str, what: str, path: Path | None, variable: str | None) -> str:
    """Read a secret that one of two settings names: `<what>_file`, or `<what>_env`."""
    if path is not None:
        return read_secret_file(f"{table}.{what}_file", path)
    key, name = f"{table}.{what}_env", variable or ""
    secret = os.environ.get(name, "").strip()
    if not secret:
        raise ConfigError(f"{key}: the environment variable {name} is not set; set it, or use {what}_file")
    if not _one_line(secret):
        raise ConfigError(f"{key}: the environment variable {name} must hold one line with the secret")
    return remember(secret)


def sasl_password_of(kafka: KafkaSettings) -> str:
    """Read the password of the SASL user.

    Raises:
        ConfigError: names the key and the remedy.
    """
    return _read("kafka", "sasl_password", kafka.sasl_password_file, kafka.sasl_password_env)


def key_password_of(kafka: KafkaSettings) -> str | None:
    """Read the password that the client's TLS key is encrypted by; None: it is not encrypted.

    Raises:
        ConfigError: names the key and the remedy.
    """
    if kafka.ssl_key_password_file is None and kafka.ssl_key_password_env is None:
        return None
    return _read("kafka", "ssl_key_password", kafka.ssl_key_password_file, kafka.ssl_key_password_env)


def app_secrets(settings: Settings, number: str | None = None) -> list[bytes]:
    """Read the live app secrets that webhooks may be signed with, newest first as listed.

    Args:
        number: Those of the app that delivers this number's webhooks; None: those of the ingress.

    Raises:
        ConfigError: one cannot be read; names the key.
    """
    own = settings.numbers[number].app_secret_files if number is not None else []
    table, paths = (f"numbers.{number}", own) if own else ("ingress", settings.ingress.app_secret_files)
    return [read_secret_file(f"{table}.app_secret_files.{index}", path).encode() for index, path in enumerate(paths)]
