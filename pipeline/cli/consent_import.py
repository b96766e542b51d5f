"""`wapipe consent import`: opt-ins of another system, from a file to `consent-updates`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import click

from pipeline.cli.app import with_settings
from pipeline.cli.consent_columns import columns_of
from pipeline.cli.consent_file import RefusedLine, Rows
from pipeline.cli.import_journal import ImportJournal, Reached
from pipeline.cli.output import SlowProgress, json_document, line, note, table
from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.operations.acts import Outgoing
from pipeline.operations.consent import UPDATE_SCHEMA, UPDATES, rules_of
from pipeline.operations.reading import open_reader
from pipeline.operations.writing import write_all
from pipeline.records.codec import headers_for

MAX_REFUSED_SHOWN = 100
PIECE_ROWS = 20_000
"""So many are on Kafka before the journal says so: what a cut-off import writes twice at most."""


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--map", "mapped", multiple=True, metavar="COLUMN=NAME", help="Take COLUMN from the file's NAME. Repeatable."
)
@click.option("--default", "defaults", multiple=True, metavar="COLUMN=VALUE", help="Where a line has none. Repeatable.")
@click.option("--ignore-unknown", is_flag=True, help="Pass over columns that are not known.")
@click.option("--dry-run", is_flag=True, help="Check every line, write nothing.")
@click.option("--restart", is_flag=True, help="Begin anew, also if an earlier import of this file was cut short.")
@click.option("--json", "is_json", is_flag=True, help="Summary and refused lines as JSON.")
@with_settings
def import_(
    settings: Settings,
    file: Path,
    mapped: tuple[str, ...],
    defaults: tuple[str, ...],
    ignore_unknown: bool,
    dry_run: bool,
    restart: bool,
    is_json: bool,
) -> int:
    """Import grants from a .csv or .jsonl file.

    Columns: recipient, business, categories, purposes, at, expires_at, method, source, text, reference; lists in CSV
    are separated by ";". An optional column action takes grant (default) or revoke. The update's id is made from the
    line's content: importing a file twice changes nothing. Refused lines are listed with their number; exits 65 if
    there are any, after all the others have been written. An import that was cut short and is run again goes on where
    it stopped (--restart: from the beginning).

    \b
    Example, for a file with the columns phone and signed_up:
      wapipe consent import people.csv --map recipient=phone --map at=signed_up --default business=acme \\
        --default categories=marketing --default method=checkbox --default source=https://shop.example
    """
    columns = columns_of(mapped, defaults, ignores_unknown=ignore_unknown)
    rules = rules_of(settings, unix_ms())
    with SlowProgress("importing" if not dry_run else "checking", "bytes") as progress:
        if dry_run:
            rows = Rows(file, rules, progress.update, columns)
            written = sum(1 for _ in rows)
        else:
            journal = ImportJournal(settings.storage.data_dir, file, (mapped, defaults, ignore_unknown))
            if restart:
                journal.forget()
            before = journal.reached()
            if before.line:
                note(f"goes on behind line {before.line} of an earlier import that was cut short", "wait")
            rows = Rows(file, rules, progress.update, columns, before.line)
            rows.refused = [RefusedLine(*one) for one in before.refused]
            rows.refused_count = before.refused_count
            written = _write(settings, rows, journal, before.written)
    _report(rows, written, dry_run=dry_run, is_json=is_json)
    return EXIT_NEGATIVE if rows.refused_count else EXIT_DONE


def _write(settings: Settings, rows: Rows, journal: ImportJournal, written: int) -> int:
    """Write the rows in pieces, noting after each how far it came; returns how many updates there are in all."""
    with open_reader(settings) as reader:
        reader.partitions(UPDATES)
    headers, lines = headers_for(UPDATE_SCHEMA), iter(rows)
    while piece := list(islice(lines, PIECE_ROWS)):
        written += write_all(settings, (Outgoing(UPDATES, row.recipient, row.raw, headers) for row in piece))
        refused = [(bad.line, bad.reason) for bad in rows.refused]
        journal.save(Reached(piece[-1].line, written, rows.refused_count, refused))
    journal.forget()
    return written


def _report(rows: Rows, written: int, *, dry_run: bool, is_json: bool) -> None:
    refused: Sequence[RefusedLine] = rows.refused
    if is_json:
        listed = [{"line": bad.line, "reason": bad.reason} for bad in refused]
        json_document(
            {
                "written": 0 if dry_run else written,
                "good": written,
                "refused": rows.refused_count,
                "refused_lines": listed,
            }
        )
        return
    if refused:
        table(
            ("line", "refused because"), ((str(bad.line), (bad.reason, "bad")) for bad in refused[:MAX_REFUSED_SHOWN])
        )
        if rows.refused_count > MAX_REFUSED_SHOWN:
            note(f"… and {rows.refused_count - MAX_REFUSED_SHOWN} more; --json lists up to {len(refused)}")
    done = ("would be written", "wait") if dry_run else ("written", "good")
    line(str(written), done, f"of {written + rows.refused_count}, {rows.refused_count} refused")
