"""What every command shares: its settings, and the types of its options. Runs in the command, on the main thread."""

from __future__ import annotations

import functools
import getpass
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.config import KafkaSettings, Settings, load
from pipeline.errors import PipelineError
from pipeline.operations.acts import Actor

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION_PART = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)", re.ASCII)
_BARE_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,3})?", re.ASCII)


def quiet(settings: Settings) -> Settings:
    """The same settings with librdkafka's own log lines off, for commands that report errors themselves."""
    client = {"log_level": 0, **settings.kafka.client}
    kafka: KafkaSettings = settings.kafka.model_copy(update={"client": client})
    return settings.model_copy(update={"kafka": kafka})


def load_settings(ctx: click.Context) -> Settings:
    """Settings from the file that `--config` named, or WAPIPE_CONFIG, and the environment.

    Raises:
        ConfigError: names the key and the remedy.
    """
    config_file: Path | None = ctx.obj
    return load(config_file)


def with_settings(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command its settings as first argument."""

    @functools.wraps(command)
    def call(**options: Any) -> int:
        return command(quiet(load_settings(click.get_current_context())), **options)

    return call


def shell_user() -> Actor:
    """Whoever runs the command, by login name; `unknown` where the system has none."""
    try:
        return Actor(getpass.getuser(), "cli")
    except (KeyError, OSError):
        return Actor("unknown", "cli")


def complete_number(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Configured numbers that begin so, for shell completion; none if the settings cannot be read."""
    try:
        known = load(ctx.find_root().params.get("config_file")).numbers
    except PipelineError:
        return []
    return [number for number in known if number.startswith(incomplete)]


def duration_ms(text: str) -> int:
    """Read `90s`, `10m`, `1h30m`, `2d`, `250ms`, or bare seconds, as milliseconds.

    Raises:
        ValueError: none of these.
    """
    if _BARE_SECONDS.fullmatch(text):
        return round(float(text) * 1000)
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration; write 90s, 10m, 1h30m or 2d")
    return round(sum(float(number) * _UNITS_MS[unit] for number, unit in parts))


class Duration(click.ParamType):
    """An option that takes a duration; its value is in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds of a text; an int (a default) is taken as it is."""
        if isinstance(value, int):
            return value
        try:
            return duration_ms(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


DURATION = Duration()


def only(what: str, option: str, choices: list[str]) -> str:
    """The one thing there is, for an option that was left out.

    Raises:
        UsageError: there is none, or more than one.
    """
    if len(choices) == 1:
        return choices[0]
    known = f"; configured: {', '.join(choices)}" if choices else ""
    raise click.UsageError(f"Missing option '{option}': name the {what}{known}.")
