"""`wapipe consent report`: what each way of opting in leads to."""

from __future__ import annotations

from typing import Any

import click

from pipeline.cli.app import DURATION, with_settings
from pipeline.cli.consent_tally import MAX_ROWS, Tally
from pipeline.cli.output import SlowProgress, json_document, note, table
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE
from pipeline.operations.reading import decoded, open_reader

MONTH_MS = 30 * 86_400_000


@click.command()
@click.option("--since", "since_ms", type=DURATION, default=MONTH_MS, show_default="30d", help="How far to look back.")
@click.option("--json", "is_json", is_flag=True, help="The rows as JSON.")
@with_settings
def report(settings: Settings, since_ms: int, is_json: bool) -> int:
    """Show grants, opt-outs and undelivered messages per method and source of the opt-in.

    A high rate says that people do not remember having opted in there, or that their numbers are wrong.

    \b
    Example:
      wapipe consent report --since 90d
    """
    begin_ms = max(0, unix_ms() - since_ms)
    tally = Tally()
    with open_reader(settings) as reader, SlowProgress("reading events") as progress:
        for topic, count in (("consent-events", tally.consent), ("outbound-events", tally.outbound)):
            for row in reader.to_end(topic, since_ms=begin_ms, advance=progress.update):
                event = decoded(row)
                if event is not None:
                    count(event)
    rows = tally.rows()
    if is_json:
        json_document({"since": rfc3339(begin_ms), "rows": rows, "undelivered_unmatched": tally.unmatched})
        return EXIT_DONE
    if rows:
        names = (
            "method",
            "source",
            "grants",
            "opt_outs",
            "opt_out_rate",
            "accepted",
            "undelivered",
            "undelivered_rate",
        )
        table([name.replace("_", " ") for name in names], ([_cell(row[name]) for name in names] for row in rows))
    else:
        note(f"no consent-event since {rfc3339(begin_ms)}; look further back with --since 365d", "wait")
    if tally.unmatched:
        note(f"{tally.unmatched} undelivered messages name no accepted message since then, and are not counted", "wait")
    if len(rows) > MAX_ROWS:
        note(f"more than {MAX_ROWS} sources: the others are counted as (other)", "wait")
    return EXIT_DONE


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if isinstance(value, float) else str(value)
