"""How commands print: tables and JSON to stdout, notes and progress to stderr; colours only on a terminal.

What comes from topics is cleaned of control characters first, so that no record can drive the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

import orjson
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.clock import rfc3339, steady_s

PIPE_WIDTH = 4_000  # without a terminal no cell is cut or wrapped
WHOLE_CELL_CHARS = 24  # times and number ids stay in one piece on a narrow terminal; wider columns wrap
SHOW_PROGRESS_AFTER_S = 2.0
UPDATE_EVERY_S = 0.2

STYLES: Mapping[str, str] = {
    "good": "green",
    "bad": "bold red",
    "wait": "yellow",
    "dim": "dim",
    "plain": "",
}

Cell = str | tuple[str, str]
"""A text, or a text with one of the names in `STYLES`."""


def clean(value: object) -> str:
    """Text of a value for one table cell: None is `-`, control characters are escaped."""
    if value is None:
        return "-"
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in text)


def clock_time(unix_ms: int) -> str:
    """A moment as `2026-11-22 10:00:00.123` (UTC)."""
    return rfc3339(unix_ms)[:-1].replace("T", " ")


def console(stream: TextIO | None = None) -> Console:
    """A console on a stream (default stdout), which prints data as it is: no markup, no guessing of colours."""
    out = stream or sys.stdout
    width = None if out.isatty() else PIPE_WIDTH
    return Console(file=out, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def styled(cell: Cell) -> Text:
    """A cleaned cell as rich text."""
    if isinstance(cell, tuple):
        return Text(clean(cell[0]), style=STYLES[cell[1]])
    return Text(clean(cell))


def line(*cells: Cell) -> None:
    """Print cells with a space between them, as one line on stdout, at once."""
    console().print(Text(" ").join(styled(cell) for cell in cells), soft_wrap=True)
    sys.stdout.flush()


def note(text: str, style: str = "dim") -> None:
    """Print a remark for people on stderr."""
    console(sys.stderr).print(styled((text, style)), soft_wrap=True)


def grid_of(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Aligned columns; on a narrow terminal long cells wrap, times and ids do not."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    texts = [[styled(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        is_narrow = all(len(row[index]) <= WHOLE_CELL_CHARS for row in texts)
        grid.add_column(column.upper(), overflow="fold", no_wrap=is_narrow)
    for row in texts:
        grid.add_row(*row)
    return grid


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print aligned columns on stdout; on a narrow terminal long cells wrap, in a pipe none does."""
    grid, out = grid_of(columns, rows), console()
    with out.capture() as captured:
        out.print(grid)
    # rich fills the last column with spaces; a copied line should not carry them
    for text in captured.get().splitlines():
        sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


def json_lines(values: Iterable[Any]) -> None:
    """Print each value as one line of JSON on stdout, at once."""
    for value in values:
        sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


def json_document(value: Any) -> None:
    """Print one value as indented JSON on stdout."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
    sys.stdout.flush()


class _Rate(ProgressColumn):
    """How fast it goes: units, or bytes, per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """The rate so far; nothing before two points are known."""
        if task.speed is None:
            return Text()
        rate = decimal(int(task.speed)) if self._unit == "bytes" else f"{task.speed:,.0f} {self._unit}"
        return Text(f"{rate}/s", style=STYLES["dim"])


class SlowProgress:
    """A progress bar on stderr that appears once something took 2 s, on a terminal only. Use as a context manager.

    Args:
        what: What is being done.
        unit: What is counted, in the plural; `bytes` are shown as such.
        clock: Seconds on a clock that never steps.
    """

    def __init__(self, what: str, unit: str = "records", clock: Callable[[], float] = steady_s) -> None:
        self._what = what
        self._unit = unit
        self._clock = clock
        self._started_s = self._shown_s = clock()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Say how far it is; cheap enough to be called for every record.

        Args:
            done: Units done so far.
            total: Units in all; may grow.
        """
        now_s = self._clock()
        if now_s - self._shown_s < UPDATE_EVERY_S or now_s - self._started_s < SHOW_PROGRESS_AFTER_S:
            return
        self._shown_s = now_s
        if self._bar is None:
            out = console(sys.stderr)
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), _Rate(self._unit))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=out, disable=not out.is_terminal)
            self._bar.add_task(self._what)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)
