"""`wapipe suppressions list | lift`: who gets nothing any more, and the way back for one of them."""

from __future__ import annotations

import click

from pipeline.cli.app import shell_user, with_settings
from pipeline.cli.output import SlowProgress, json_lines, line, note, table
from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.operations.reading import open_reader
from pipeline.operations.suppressions import lift_suppression, suppressed
from pipeline.operations.writing import perform
from pipeline.records.request import normal_recipient
from pipeline.whatsapp.suppression import holds


@click.group()
def suppressions() -> None:
    """Show who gets nothing any more, and lift that."""


@suppressions.command("list")
@click.option("--json", "is_json", is_flag=True, help="One suppression a line, as JSON.")
@with_settings
def list_(settings: Settings, is_json: bool) -> int:
    """List the suppressions that hold now: a recipient, why, since when, until when.

    \b
    Example:
      wapipe suppressions list --json
    """
    with open_reader(settings) as reader, SlowProgress("reading suppressions") as progress:
        found = suppressed(reader, advance=progress.update)
    now_ms = unix_ms()
    held = sorted((record for record in found.values() if holds(record, now_ms)), key=lambda record: record["at"])
    if is_json:
        json_lines(held)
    elif held:
        rows = [
            [record["recipient"], record["reason"], record["at"], record["until"] or "it is lifted"] for record in held
        ]
        table(("recipient", "reason", "since", "until"), rows)
    else:
        note("nobody is suppressed")
    return EXIT_DONE


@suppressions.command()
@click.argument("recipient")
@click.option("--reason", metavar="TEXT", help="Why, for audit-events.")
@with_settings
def lift(settings: Settings, recipient: str, reason: str | None) -> int:
    """Let messages go to a person again; gates and senders obey within a second or two.

    Exits 65 if the person is not suppressed. A failure with the same code suppresses them anew.

    \b
    Example:
      wapipe suppressions lift +15550109999 --reason "has installed WhatsApp"
    """
    try:
        person = normal_recipient(recipient)
    except ValueError as exc:
        raise click.UsageError(f"RECIPIENT {exc}") from exc
    with open_reader(settings) as reader, SlowProgress("reading suppressions") as progress:
        record = suppressed(reader, person, progress.update).get(person)
    if record is None or not holds(record, unix_ms()):
        note(f"{person} is not suppressed; `wapipe suppressions list` shows who is", "wait")
        return EXIT_NEGATIVE
    perform(settings, lift_suppression(shell_user(), person, reason=reason, before=record))
    line(person, ("lifted", "good"))
    return EXIT_DONE
