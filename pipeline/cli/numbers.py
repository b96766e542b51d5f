"""`wapipe numbers list | pause | resume | plot`: how each number stands, and an operator's hold on it.

Everything is read from Kafka: `account-state`, the ends of the lane topics, what the senders' group has committed, and
what became of messages in the last seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.live import Live
from rich.table import Table

from pipeline.cli.app import DURATION, complete_number, shell_user, with_settings
from pipeline.cli.output import (
    Cell,
    SlowProgress,
    clock_time,
    console,
    grid_of,
    json_document,
    json_lines,
    line,
    note,
    table,
)
from pipeline.cli.plot import FORMATS, draw
from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.operations.account import account_states
from pipeline.operations.arrivals import attempts_of
from pipeline.operations.numbers import Standing, pause_key, pause_number, require_number, standings
from pipeline.operations.reading import open_reader
from pipeline.operations.writing import perform
from pipeline.records.request import PRIORITIES

COLUMNS: Final = (
    "number", "business", "profile", "limit/s", "now/s", "waiting", "delayed", "drains in", "stands still",
)  # fmt: skip
EVERY_MS: Final = 2000
EVERY_MS_MIN: Final = 200
FIVE_MINUTES_MS: Final = 300_000
DAY_MS: Final = 86_400_000


@click.group()
def numbers() -> None:
    """Show, plot, pause and resume sending numbers."""


@numbers.command("list")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option(
    "--every", "every_ms", type=DURATION, default=EVERY_MS, show_default="2s", help="With --watch: how often."
)
@click.option("--for", "for_ms", type=DURATION, help="With --watch: end after this.")
@click.option("--json", "is_json", is_flag=True, help="As JSON; with --watch one line each time.")
@with_settings
def list_(settings: Settings, watch: bool, every_ms: int, for_ms: int | None, is_json: bool) -> int:
    """Show every number: limit, rate, why it stands still, what waits, and how long that takes at the full rate.

    The rate is what the API answered in the last 10 s. Waiting are the records of its lanes that its sender has not
    committed; delayed ones have a copy each. With --watch a terminal shows one live table, anything else one after the
    other.

    \b
    Examples:
      wapipe numbers list
      wapipe numbers list --watch
      wapipe numbers list --json
    """
    if every_ms < EVERY_MS_MIN:
        raise click.UsageError(f"--every is at least {EVERY_MS_MIN}ms.")
    if not watch:
        found = _look(settings)
        if is_json:
            json_document(list(map(_as_json, found)))
        else:
            table(COLUMNS, map(_row, found))
        return EXIT_DONE
    until_s = steady_s() + for_ms / 1000 if for_ms is not None else math.inf
    if console().is_terminal and not is_json:
        with Live(console=console(), auto_refresh=False) as live:
            _repeat(settings, every_ms, until_s, lambda found: live.update(_grid(found), refresh=True))
    elif is_json:
        _repeat(settings, every_ms, until_s, lambda found: json_lines([list(map(_as_json, found))]))
    else:
        _repeat(settings, every_ms, until_s, _snapshot)
    return EXIT_DONE


def _look(settings: Settings) -> list[Standing]:
    with open_reader(settings) as reader:
        return standings(reader, settings, unix_ms())


def _repeat(settings: Settings, every_ms: int, until_s: float, show: Callable[[list[Standing]], None]) -> None:
    """Look and show at a steady pace; a look that takes longer than that is followed by the next one at once."""
    next_s = steady_s()
    with open_reader(settings) as reader:
        show(standings(reader, settings, unix_ms()))
        while (next_s := max(next_s + every_ms / 1000, steady_s())) < until_s:
            time.sleep(max(0.0, next_s - steady_s()))
            show(standings(reader, settings, unix_ms()))


def _grid(found: list[Standing]) -> Table:
    return grid_of(COLUMNS, map(_row, found))


def _snapshot(found: list[Standing]) -> None:
    line((clock_time(unix_ms()), "dim"))
    table(COLUMNS, map(_row, found))
    line()


@numbers.command()
@click.argument("number", shell_complete=complete_number)
@click.option(
    "--last", "last_ms", type=DURATION, default=FIVE_MINUTES_MS, show_default="5m", help="How far to look back."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), default=Path("rate.png"),
    show_default=True, help="The picture: .png or .svg.",
)  # fmt: skip
@with_settings
def plot(settings: Settings, number: str, last_ms: int, out: Path) -> int:
    """Draw a number's requests to the API against its limit: rate·t + burst, and second by second.

    Needs matplotlib: pip install 'wapipe[plot]'. Exits 65 if it sent nothing in that time. Times are the broker's.

    \b
    Examples:
      wapipe numbers plot 200000000000001
      wapipe numbers plot 200000000000001 --last 1h --out rate.svg
    """
    require_number(settings, number)
    if out.suffix.lower() not in FORMATS:
        raise click.UsageError(f"--out {out}: name a .png or a .svg file")
    if not out.parent.is_dir():
        raise click.UsageError(f"--out {out}: there is no folder {out.parent}")
    if not 0 < last_ms <= DAY_MS:
        raise click.UsageError("--last is more than 0 and at most 1d.")
    end_ms = unix_ms()
    with open_reader(settings) as reader, SlowProgress("reading send-ledger") as progress:
        arrivals = attempts_of(reader, settings, number, end_ms - last_ms, progress.update)
    if not arrivals.at_ms:
        note(f"{number} sent nothing in that time; look further back with --last", "wait")
        return EXIT_NEGATIVE
    # What it did is shown, not the silence before and after it.
    begin_ms, end_ms = arrivals.at_ms[0] // 1000 * 1000, max(arrivals.at_ms[-1], arrivals.at_ms[0] + 1000) + 1
    over = draw(arrivals, number, begin_ms, end_ms, out)
    verdict = ("never above the limit", "good") if over <= 0 else (f"{over:.1f} above the limit at worst", "bad")
    line(str(out), f"{len(arrivals.at_ms):,} requests in {(end_ms - begin_ms) / 1000:.0f} s:", verdict)
    return EXIT_DONE


def _change_options(command: Any) -> Any:
    for option in (
        click.argument("number", shell_complete=complete_number),
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
    Examples:
      wapipe numbers pause 200000000000001 --reason "wrong template"
      wapipe numbers pause 200000000000001 --priority bulk --reason "evening"
    """
    return _say(settings, number, reason, is_paused=True, priorities=priorities)


@numbers.command()
@_change_options
@with_settings
def resume(settings: Settings, number: str, reason: str) -> int:
    """Let a number send again that an operator paused.

    \b
    Example:
      wapipe numbers resume 200000000000001 --reason "morning"
    """
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
        "rate_now_per_s": found.rate_now_per_s,
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
        f"{found.rate_now_per_s:g}",
        " ".join(f"{name} {count}" for name, count in found.backlog.items() if count) or "0",
        str(found.delayed),
        "never" if drains is None else f"{drains:.0f} s",
        ("; ".join(found.stops), "wait") if found.stops else ("no", "good"),
    )
