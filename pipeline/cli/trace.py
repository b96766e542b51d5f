"""`wapipe trace`: every event of a message, or of a person, in time order, and what is still waited for."""

from __future__ import annotations

import click

from pipeline.cli.app import DURATION, with_settings
from pipeline.cli.output import Cell, SlowProgress, clock_time, json_document, line, note, table
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.operations.account import account_states, wait_sentence
from pipeline.operations.reading import open_reader
from pipeline.operations.search import Search
from pipeline.operations.timeline import Step, as_json, describe, in_order, unfinished
from pipeline.records.request import normal_recipient

DAY_MS = 86_400_000
MAX_WAITING_SHOWN = 20


@click.command()
@click.argument("request_id", required=False)
@click.option("--to", "recipient", metavar="RECIPIENT", help="All messages to and from this person instead.")
@click.option("--from", "number", metavar="NUMBER", help="Only messages of this sending number.")
@click.option("--since", "since_ms", type=DURATION, default=DAY_MS, show_default="1d", help="How far to look back.")
@click.option("--json", "is_json", is_flag=True, help="Steps, with the whole records, as JSON.")
@with_settings
def trace(
    settings: Settings, request_id: str | None, recipient: str | None, number: str | None, since_ms: int, is_json: bool
) -> int:
    """Show every event of a message, and what it waits for.

    Dead letters of it are among them, and who replayed or discarded each, and why. Exits 65 if nothing is found.
    Times are UTC; those of webhooks are when they came in.

    \b
    Examples:
      wapipe trace order-4711-shipped
      wapipe trace --to +15550109999 --since 1h
    """
    if (request_id is None) == (recipient is None):
        raise click.UsageError("Give either a REQUEST_ID or --to RECIPIENT.")
    asked = request_id if request_id is not None else _person(recipient)
    now_ms = unix_ms()
    with open_reader(settings) as reader, SlowProgress("reading events") as progress:
        search = Search(reader, max(0, now_ms - since_ms), number, progress.update, settings.kafka.topic_prefix)
        found = search.by_request(asked) if request_id is not None else search.by_recipient(asked)
        steps = in_order(found)
        open_steps = unfinished(steps)
        states = account_states(reader) if open_steps else {}
    waiting = [wait_sentence(settings, last, states, now_ms) for last in open_steps[:MAX_WAITING_SHOWN]]
    if is_json:
        json_document({"steps": [as_json(step) for step in steps], "waits_for": waiting})
    elif steps:
        _show(steps, waiting, has_person=recipient is not None)
    if not steps:
        note(f"nothing since {rfc3339(now_ms - since_ms)}; look further back with --since 30d", "wait")
        return EXIT_NEGATIVE
    return EXIT_DONE


def _person(recipient: str | None) -> str:
    try:
        return normal_recipient(recipient)
    except ValueError as exc:
        raise click.UsageError(f"--to {exc}") from exc


def _show(steps: list[Step], waiting: list[str], *, has_person: bool) -> None:
    columns = ("time (UTC)", "after", "what", "number") + (("request id",) if has_person else ()) + ("detail",)
    rows: list[tuple[Cell, ...]] = []
    before_ms = steps[0].at_ms
    for step in steps:
        number, request_id = step.request
        named: tuple[Cell, ...] = (request_id or "-",) if has_person else ()
        after = f"{(step.at_ms - before_ms) / 1000:.3f} s"
        before_ms = step.at_ms
        times: tuple[Cell, ...] = ((clock_time(step.at_ms), "dim"), (f"{after:>9}", "dim"))
        rows.append((*times, (step.kind, step.style), number or "-", *named, describe(step)))
    table(columns, rows)
    for sentence in waiting:
        line(("waits:", "wait"), sentence)
