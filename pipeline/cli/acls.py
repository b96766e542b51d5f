"""`wapipe topics acls`: what to allow on Kafka, as arguments of its own tool."""

from __future__ import annotations

import click

from pipeline.cli.app import with_settings
from pipeline.cli.output import json_document, line
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE
from pipeline.streams.acls import NEEDS, commands


@click.command()
@click.option("--role", type=click.Choice(tuple(NEEDS)), required=True, help="Who it is for; operator: commands.")
@click.option("--principal", help="As Kafka knows the user. Default: User: and the role.")
@click.option("--json", "is_json", is_flag=True, help="A list of lines as JSON on stdout.")
@with_settings
def acls(settings: Settings, role: str, principal: str | None, is_json: bool) -> int:
    """Print what a role's Kafka user has to be allowed; asks nobody, changes nothing.

    One line per topic and group, each the arguments of one call of Kafka's tool: pipe them into
    `xargs -L 1 kafka-acls --bootstrap-server kafka:9092 --command-config admin.properties`.

    \b
    Example:
      wapipe topics acls --role gate --principal User:gate
    """
    lines = commands(settings, role, principal or f"User:{role}")
    if is_json:
        json_document(lines)
        return EXIT_DONE
    for text in lines:
        line(text)
    return EXIT_DONE
