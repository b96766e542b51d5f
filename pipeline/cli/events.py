"""`wapipe events tail`: what becomes of messages, as it happens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import click

from pipeline.cli.app import DURATION, complete_number, with_settings
from pipeline.cli.output import SlowProgress, clock_time, json_lines, line, note
from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, WrongRequest
from pipeline.operations.events import KINDS, EventFilter, step_at
from pipeline.operations.reading import Reader, open_reader
from pipeline.operations.timeline import Step, as_json, describe, in_order

RECENT_MS: Final = 300_000
MAX_STEPS: Final = 100_000
KIND_CHARS: Final = 11


@click.group()
def events() -> None:
    """Show what becomes of messages, as it happens."""


@events.command()
@click.option("--type", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these; repeatable.")
@click.option("--number", metavar="NUMBER", shell_complete=complete_number, help="Only those of this sending number.")
@click.option("--campaign", metavar="NAME", help="Only those of this campaign.")
@click.option("--request-id", metavar="ID", help="Only those of this request.")
@click.option("--inbound", "has_inbound", is_flag=True, help="Also statuses, and that persons wrote.")
@click.option("--since", "since_ms", type=DURATION, help="How far to look back. Default: 5m; with -f: now.")
@click.option("--follow", "-f", "is_following", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--for", "for_ms", type=DURATION, help="With --follow: end after this.")
@click.option("--json", "is_json", is_flag=True, help="One event a line, with the whole record, as JSON.")
@with_settings
def tail(
    settings: Settings,
    kinds: tuple[str, ...],
    number: str | None,
    campaign: str | None,
    request_id: str | None,
    has_inbound: bool,
    since_ms: int | None,
    is_following: bool,
    for_ms: int | None,
    is_json: bool,
) -> int:
    """Show events of messages in time order: when, what, sending number, request id, and why.

    No text and no recipient is shown; --json has the whole records. Times are UTC.

    \b
    Examples:
      wapipe events tail --since 1h --type rejected --type failed
      wapipe events tail --follow --campaign spring-sale
      wapipe events tail --follow --inbound --number 200000000000001 --json
    """
    if for_ms is not None and not is_following:
        raise click.UsageError("--for goes with --follow.")
    wanted = EventFilter(kinds, number, campaign, request_id)
    topics = wanted.topics(has_inbound=has_inbound)
    back_ms = since_ms if since_ms is not None else 0 if is_following else RECENT_MS
    with open_reader(settings) as reader:
        found = in_order(_recent(reader, topics, wanted, unix_ms() - back_ms if back_ms else None))
        for step in found:
            _show(step, is_json=is_json)
        if is_following:
            reader.follow_on(topics)
            until_s = steady_s() + for_ms / 1000 if for_ms is not None else math.inf
            for row in reader.following(until_s):
                live = step_at(row)
                if live is not None and wanted.fits(live):
                    _show(live, is_json=is_json)
    if not found and not is_following:
        note(f"no such event in the last {back_ms / 60_000:g} minutes; look further back with --since 1d", "wait")
    return EXIT_DONE


def _recent(reader: Reader, topics: list[str], wanted: EventFilter, since_ms: int | None) -> Iterator[Step]:
    """Events from then on, topic by topic; None: none, but the ends are known."""
    count = 0
    with SlowProgress("reading events") as progress:
        for topic in topics:
            if since_ms is None:
                reader.follow_from_end(topic)
                continue
            for row in reader.to_end(topic, since_ms=max(0, since_ms), advance=progress.update):
                step = step_at(row)
                if step is None or not wanted.fits(step):
                    continue
                count += 1
                if count > MAX_STEPS:
                    raise WrongRequest(f"more than {MAX_STEPS} events: give a shorter --since or a filter")
                yield step


def _show(step: Step, *, is_json: bool) -> None:
    if is_json:
        json_lines([as_json(step)])
        return
    number, request_id = step.request
    told = ((clock_time(step.at_ms), "dim"), (f"{step.kind:<{KIND_CHARS}}", step.style), (number or "-", "dim"))
    line(*told, request_id or "-", (describe(step), "dim"))
