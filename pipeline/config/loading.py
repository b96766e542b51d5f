"""Reads settings: one TOML file, the environment over it; a mistake is named by its key, with what would be right."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from pipeline.config.settings import ENV_PREFIX, Settings
from pipeline.errors import ConfigError

ENV_CONFIG = "WAPIPE_CONFIG"
SECRET_KEYS = frozenset(
    {
        "token",
        "password",
        "login_password",
        "sasl_password",
        "ssl_key_password",
        "app_secret",
        "app_secrets",
        "verify_token",
        "path_token",
    }
)


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read settings from a TOML file (or the one that WAPIPE_CONFIG names) and the environment.

    Args:
        path: The file; None: `WAPIPE_CONFIG`, else no file.
        environ: Only to look up WAPIPE_CONFIG and to find unknown WAPIPE_ variables; None: this process's.

    Raises:
        ConfigError: names the key and what would be right.
    """
    env = os.environ if environ is None else environ
    source = path or env.get(ENV_CONFIG)
    from_file = _read_toml(Path(source)) if source else {}
    _refuse_unknown_tables(from_file)
    _refuse_secrets(from_file, ())
    _refuse_unknown_variables(env)
    try:
        return Settings(**from_file)
    except ValidationError as exc:
        raise ConfigError(_explain(exc, str(source) if source else None)) from exc
    except SettingsError as exc:
        raise ConfigError(_explain_variable(exc, env)) from exc


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror}); name a readable file with --config") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not TOML: {exc}") from exc


def _refuse_unknown_tables(table: Mapping[str, Any]) -> None:
    # pydantic-settings takes arguments of its own by names like _env_file: the file must not reach them
    for key in table:
        if key not in Settings.model_fields:
            raise ConfigError(f"{key}: no such setting; tables are {', '.join(sorted(Settings.model_fields))}")


def _refuse_secrets(table: Mapping[str, Any], where: tuple[str, ...]) -> None:
    for key, value in table.items():
        name = ".".join((*where, key))
        if where[-1:] != ("client",) and key in SECRET_KEYS:
            raise ConfigError(f"{name}: a secret may not stand in the settings file; use {key}_file or {key}_env")
        if isinstance(value, Mapping):
            _refuse_secrets(value, (*where, key))


def _refuse_unknown_variables(env: Mapping[str, str]) -> None:
    roots = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for name in env:
        upper = name.upper()
        if upper.startswith(ENV_PREFIX) and upper != ENV_CONFIG and upper.split("__", 1)[0] not in roots:
            raise ConfigError(f"{name}: no such setting; tables are {', '.join(sorted(Settings.model_fields))}")


def _explain_variable(error: SettingsError, env: Mapping[str, str]) -> str:
    table = next((name for name in Settings.model_fields if f'field "{name}"' in str(error)), "")
    names = sorted(name for name in env if name.upper().startswith(ENV_PREFIX + table.upper()))
    return f"{', '.join(names)}: a list or table in the environment is written as JSON, e.g. '[\"stop\"]'"


def _explain(error: ValidationError, source: str | None) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            reason = "no such setting; see `wapipe config docs`"
        elif problem["type"] == "missing":
            reason = "is required"
        lines.append(f"{key}: {reason}")
    origin = f"{source} (or a WAPIPE_ variable)" if source else "settings"
    return f"{origin}:\n  " + "\n  ".join(lines)
