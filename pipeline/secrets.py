"""Secrets come from files or environment variables, named by the settings; they are never part of a message or log."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.config import NumberSettings, Settings
from pipeline.errors import ConfigError

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
    return text


def _one_line(text: str) -> bool:
    return bool(text) and text.isprintable()


def token_of(number: str, settings: NumberSettings) -> str:
    """Read the access token of a number.

    Raises:
        ConfigError: names the key and the remedy.
    """
    key = f"numbers.{number}"
    if settings.token_file is not None:
        return read_secret_file(f"{key}.token_file", settings.token_file)
    name = settings.token_env or ""
    token = os.environ.get(name, "").strip()
    if not token:
        raise ConfigError(f"{key}.token_env: the environment variable {name} is not set; set it, or use token_file")
    if not _one_line(token):
        raise ConfigError(f"{key}.token_env: the environment variable {name} must hold one line with the token")
    return token


def app_secrets(settings: Settings) -> list[bytes]:
    """Read the live app secrets that webhooks may be signed with, newest first as listed."""
    return [
        read_secret_file(f"ingress.app_secret_files.{index}", path).encode()
        for index, path in enumerate(settings.ingress.app_secret_files)
    ]
