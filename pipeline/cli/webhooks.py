"""`wapipe webhooks check`: whether webhooks reach the ingress."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import click

from pipeline.cli.app import with_settings
from pipeline.cli.output import json_document, line
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.ingress.check import check_webhook


@click.group()
def webhooks() -> None:
    """Check that webhooks reach the ingress."""


@webhooks.command()
@click.argument("number")
@click.option("--port", type=click.IntRange(1, 65_535), help="Where the ingress listens, if ingress.port is 0.")
@click.option("--json", "is_json", is_flag=True, help="As JSON.")
@with_settings
def check(settings: Settings, number: str, port: int | None, is_json: bool) -> int:
    """Send a synthetic webhook for NUMBER to the ingress of this machine.

    When the ingress takes it, the number counts as verified, and the sender may start on it (policy.require_webhook).
    Exits 65 if it does not.

    \b
    Example:
      wapipe webhooks check 200000000000001
    """
    result = asyncio.run(check_webhook(settings, number, port))
    if is_json:
        json_document(asdict(result))
    else:
        verdict = ("ok", "good") if result.is_ok else ("not ok", "bad")
        line(number, verdict, result.url, result.detail, (f"({result.took_ms} ms)", "dim"))
    return EXIT_DONE if result.is_ok else EXIT_NEGATIVE
