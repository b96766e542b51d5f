"""`python -m tests.fuzz [--count N] [--seed N]`: generated answers, messages and webhooks against the WhatsApp room.

Prints progress (a bar on a terminal, plain lines otherwise) and what it came to; exits 1 at the first broken promise,
with the smallest case found and the command that repeats it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.fuzz.run import Tally, run

LINE_EVERY_S: Final = 10.0


@contextmanager
def shown(count: int) -> Iterator[Callable[[int], None]]:
    """Progress towards `count` cases on stderr."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("cases"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("cases", total=count)
            yield lambda done: bar.update(task, completed=min(done, count))
        return
    due_s = time.monotonic() + LINE_EVERY_S

    def line(done: int) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + LINE_EVERY_S
            print(f"{done:,} of {count:,} cases", file=sys.stderr, flush=True)

    yield line


@click.command()
@click.option("--count", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Cases to judge.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same cases.")
def main(*, count: int, seed: int) -> None:
    """Feed generated answers, messages and webhooks; nothing may be raised but the named errors."""
    began_s = time.monotonic()
    with shown(count) as progress:
        tally = run(count, seed, progress=progress)
    sys.exit(report(tally, seed, time.monotonic() - began_s))


def report(tally: Tally, seed: int, took_s: float) -> int:
    """Print what a run came to; returns the exit code: 1 if a promise was broken."""
    kinds = ", ".join(f"{count:,} {kind}s" for kind, count in sorted(tally.judged.items()))
    print(f"{tally.total:,} cases in {took_s:.0f} s (seed {seed}): {kinds or 'none whole'}")
    if tally.failure is None:
        return 0
    print(tally.failure.told(), file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
