"""`wapipe suppressions list | lift`: who gets nothing any more, and the way back for one of them."""

from __future__ import annotations

from typing import Any

import click

from pipeline.cli.app import with_settings
from pipeline.cli.audit import audit
from pipeline.cli.output import SlowProgress, json_lines, line, note, table
from pipeline.cli.reading import Reader, decoded, open_reader
from pipeline.cli.writing import Outgoing, write_all
from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.records.codec import headers_for
from pipeline.records.request import normal_recipient
from pipeline.streams.partition import partition_of
from pipeline.whatsapp.suppression import SCHEMA, holds, is_suppression

TOPIC = "suppressions"


@click.group()
def suppressions() -> None:
    """Show who gets nothing any more, and lift that."""


@suppressions.command("list")
@click.option("--json", "is_json", is_flag=True, help="One suppression a line, as JSON.")
@with_settings
def list_(settings: Settings, is_json: bool) -> int:
    """List the suppressions that hold now: a recipient, why, since when, until when."""
    with open_reader(settings) as reader, SlowProgress("reading suppressions") as progress:
        found = _newest(reader, None, progress)
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
        record = _newest(reader, person, progress).get(person)
    if not holds(record, unix_ms()):
        note(f"{person} is not suppressed; `wapipe suppressions list` shows who is", "wait")
        return EXIT_NEGATIVE
    told = audit("lift", f"suppression:{person}", reason=reason, before=record)
    write_all(settings, [told, Outgoing(TOPIC, person, None, headers_for(SCHEMA))])
    line(person, ("lifted", "good"))
    return EXIT_DONE


def _newest(reader: Reader, person: str | None, progress: SlowProgress) -> dict[str, dict[str, Any]]:
    """The newest readable record by recipient; of one person only, if one is named."""
    count = reader.partitions(TOPIC)
    partitions = None if person is None else [partition_of(person, count)]
    found: dict[str, dict[str, Any]] = {}
    for row in reader.to_end(TOPIC, partitions=partitions, advance=progress.update):
        recipient = (row.key or b"").decode(errors="replace")
        if person is not None and recipient != person:
            continue
        record = decoded(row) if row.value is not None else None
        if record is not None and is_suppression(record):
            found[recipient] = {**record, "recipient": recipient}
        elif row.value is None:
            found.pop(recipient, None)
    return found
