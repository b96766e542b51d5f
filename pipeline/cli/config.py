"""`wapipe config check | show | docs`: the settings, checked, shown, documented."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import click

from pipeline.cli.app import load_settings
from pipeline.cli.output import json_document, line, note
from pipeline.cli.settings_text import as_markdown, as_toml, masked_settings
from pipeline.config import Settings
from pipeline.errors import EXIT_CONFIG, EXIT_DONE, ConfigError
from pipeline.secrets import app_secrets, credential_of, read_secret_file
from pipeline.streams.client import librdkafka


@click.group()
def config() -> None:
    """Check, show and document the settings."""


@config.command()
@click.option("--no-secrets", is_flag=True, help="Do not look whether the files and variables with secrets are there.")
@click.pass_context
def check(ctx: click.Context, no_secrets: bool) -> int:
    """Print ok, or everything that is wrong (exit 78). Secrets are looked at, never printed.

    \b
    Example:
      wapipe --config wapipe.toml config check
    """
    settings = load_settings(ctx)
    problems = [] if no_secrets else secret_problems(settings)
    for problem in problems:
        note(problem, "bad")
    if problems:
        return EXIT_CONFIG
    count = len(settings.numbers)
    line(("ok", "good"), f"{count} number{'' if count == 1 else 's'}, Kafka at {settings.kafka.bootstrap_servers}")
    return EXIT_DONE


def secret_problems(settings: Settings) -> list[str]:
    """One sentence for each secret that the settings name and that cannot be used."""
    files = {
        "ingress.verify_token_file": settings.ingress.verify_token_file,
        "ingress.path_token_file": settings.ingress.path_token_file,
    }
    reads: list[Callable[[], object]] = [partial(librdkafka, settings.kafka), partial(app_secrets, settings)]
    reads += [partial(app_secrets, settings, number) for number in settings.numbers]
    reads += [partial(credential_of, number, own) for number, own in settings.numbers.items()]
    reads += [partial(read_secret_file, key, path) for key, path in files.items() if path is not None]
    problems = []
    for read in reads:
        try:
            read()
        except ConfigError as exc:
            problems.append(str(exc))
    return problems


@config.command()
@click.option("--json", "is_json", is_flag=True, help="As JSON.")
@click.pass_context
def show(ctx: click.Context, is_json: bool) -> int:
    """Print the settings that hold, as TOML: file, environment and defaults together. Secrets are not read.

    \b
    Example:
      wapipe --config wapipe.toml config show
    """
    values = masked_settings(load_settings(ctx))
    if is_json:
        json_document(values)
    else:
        sys.stdout.write(as_toml(values))
    return EXIT_DONE


@config.command()
def docs() -> int:
    """Print a Markdown table of all settings: key, type, default, meaning.

    \b
    Example:
      wapipe config docs
    """
    sys.stdout.write(as_markdown())
    return EXIT_DONE
