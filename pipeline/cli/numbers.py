"""`wapipe numbers list | pause | resume`: how each number stands, and an operator's hold on it.

Everything is read from Kafka: `account-state`, the ends of the lane topics, and what the senders' group has committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from pipeline.cli.app import shell_user, with_settings
from pipeline.cli.output import Cell, json_document, line, note, table
from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE
from pipeline.operations.account import account_states
from pipeline.operations.numbers import Standing, backlogs, pause_key, pause_number, standing
from pipeline.operations.reading import open_reader
from pipeline.operations.writing import perform
from pipeline.records.request import PRIORITIES


@click.group()
def numbers() -> None:
    """Show, pause and resume sending numbers."""


@numbers.command("list")
@click.option("--json", "is_json", is_flag=True, help="As JSON.")
@with_settings
def list_(settings: Settings, is_json: bool) -> int:
    """Show every number: its limit, why it stands still, what waits, and how long that takes at the full rate.

    Waiting are the records of its lanes that its sender has not committed; delayed ones have a copy each.
    """
    with open_reader(settings) as reader:
        states = account_states(reader)
    waiting, now_ms = backlogs(settings), unix_ms()
    found = [standing(settings, number, states, waiting[number], now_ms) for number in settings.numbers]
    if is_json:
        json_document(list(map(_as_json, found)))
        return EXIT_DONE
    columns = ("number", "business", "profile", "limit/s", "now/s", "waiting", "delayed", "drains in", "stands still")
    table(columns, map(_row, found))
    return EXIT_DONE


def _change_options(command: Any) -> Any:
    for option in (
        click.argument("number"),
        click.option("--reason", required=True, metavar="TEXT", help="Why; kept in audit-events."),
    ):
        command = option(command)
    return command


@numbers.command()
@_change_options
@click.option(
    "--priority",
    "priorities",
    multiple=True,
    type=click.Choice(PRIORITIES),
    help="Repeatable. Default: all.",
)
@with_settings
def pause(settings: Settings, number: str, reason: str, priorities: tuple[str, ...]) -> int:
    """Hold what a number sends; nothing is lost, and no attempt is spent.

    \b
    Example:
      wapipe numbers pause 200000000000001 --priority bulk --reason "evening"
    """
    return _say(settings, number, reason, is_paused=True, priorities=priorities)


@numbers.command()
@_change_options
@with_settings
def resume(settings: Settings, number: str, reason: str) -> int:
    """Let a number send again that an operator paused."""
    return _say(settings, number, reason, is_paused=False)


def _say(settings: Settings, number: str, reason: str, *, is_paused: bool, priorities: Sequence[str] = ()) -> int:
    with open_reader(settings) as reader:
        before = account_states(reader).get(pause_key(number))
    act = pause_number(
        settings, shell_user(), number, is_paused=is_paused, priorities=priorities, reason=reason, before=before,
        now_ms=unix_ms(),
    )  # fmt: skip
    if act is None:
        since = f" since {before['at']}, by {before['by']}" if before is not None else ""
        note(f"{number} is {'paused' if is_paused else 'not paused'} already{since}; nothing is changed")
        return EXIT_DONE
    perform(settings, act)
    held = (act.after or {})["priorities"]
    what = f"({', '.join(held)} only)" if held else "(everything)"
    line(number, ("paused", "wait") if is_paused else ("resumed", "good"), what if is_paused else "")
    return EXIT_DONE


def _as_json(found: Standing) -> dict[str, Any]:
    return {
        "number": found.number,
        "business": found.business,
        "profile": found.profile,
        "limit_per_s": found.limit_per_s,
        "rate_now_per_s": 0.0 if found.is_still else None,
        "stands_still": found.stops,
        "backlog": dict(found.backlog),
        "delayed": found.delayed,
        "seconds_to_drain": found.seconds_to_drain,
    }


def _row(found: Standing) -> tuple[Cell, ...]:
    drains = found.seconds_to_drain
    return (
        found.number,
        found.business,
        found.profile,
        f"{found.limit_per_s:g}",
        "0" if found.is_still else "-",
        " ".join(f"{name} {count}" for name, count in found.backlog.items() if count) or "0",
        str(found.delayed),
        "never" if drains is None else f"{drains:.0f} s",
        ("; ".join(found.stops), "wait") if found.stops else ("no", "good"),
    )
