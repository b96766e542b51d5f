"""Scripted outcomes: what happens to one recipient's messages, one after the other. Pure, bounded.

Runs on the simulator's loop. `read_table` is the one function here that reads a file, once at the start.
"""

from __future__ import annotations

import csv
import fnmatch
import re
import tomllib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import ConfigError
from pipeline.simulator.parts import Script

CURSORS_MAX = 100_000
TABLE_BYTES_MAX = 16 * 1024 * 1024
_COLUMNS = ("recipient", "outcomes", "statuses")
_ROWS: TypeAdapter[tuple[Script, ...]] = TypeAdapter(tuple[Script, ...])

OutcomeKind = Literal["accept", "answer", "webhook", "both", "slow", "lost", "reset", "empty", "silence"]


class Outcome(NamedTuple):
    """What happens to one message.

    Attributes:
        kind: As in `Script.outcomes`.
        code: Of `answer`, `webhook` and `both`.
        delay_s: Of `slow`.
        statuses: Statuses that follow; None = the usual ones.
    """

    kind: OutcomeKind
    code: int | None = None
    delay_s: float = 0.0
    statuses: tuple[str, ...] | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the message is not taken."""
        return self.kind in ("answer", "both", "reset", "empty")


class Scripts:
    """All scripts, and how far each recipient is in its own; the longest unused of `CURSORS_MAX` start over."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        """Every recipient stands at its beginning."""
        self._exact: dict[str, list[Outcome]] = {}
        self._patterns: list[tuple[re.Pattern[str], list[Outcome]]] = []
        self._cursors: OrderedDict[str, int] = OrderedDict()
        for script in scripts:
            outcomes = [_outcome(word, script.statuses) for word in script.outcomes]
            if re.search(r"[*?]", script.recipient):
                self._patterns.append((re.compile(fnmatch.translate(script.recipient)), outcomes))
            else:
                self._exact.setdefault(script.recipient, outcomes)

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns)

    def peek(self, recipient: str) -> Outcome | None:
        """What the next message to `recipient` meets; None = nothing is scripted."""
        outcomes = self._outcomes(recipient)
        if outcomes is None:
            return None
        return outcomes[min(self._cursors.get(recipient, 0), len(outcomes) - 1)]

    def step(self, recipient: str) -> None:
        """It has met it: the one after it is next."""
        self._cursors[recipient] = self._cursors.pop(recipient, 0) + 1
        if len(self._cursors) > CURSORS_MAX:
            self._cursors.popitem(last=False)

    def _outcomes(self, recipient: str) -> list[Outcome] | None:
        exact = self._exact.get(recipient)
        if exact is not None:
            return exact
        return next((outcomes for pattern, outcomes in self._patterns if pattern.match(recipient)), None)


def _outcome(word: str, statuses: tuple[str, ...] | None) -> Outcome:
    name, _, value = word.partition(":")
    kind = cast("OutcomeKind", name)
    return Outcome(
        kind,
        code=int(value) if kind in ("answer", "webhook", "both") else None,
        delay_s=float(value) if kind == "slow" else 0.0,
        statuses=() if kind == "silence" else statuses,
    )


def read_table(path: Path) -> tuple[Script, ...]:
    """Read scripts from a table file.

    Args:
        path: `.csv` with the columns recipient, outcomes and perhaps statuses, words in a cell parted by blanks; or
            `.toml` with `[[scripts]]` tables.

    Raises:
        ConfigError: names the file, the row and what is wrong with it.
    """
    try:
        if path.stat().st_size > TABLE_BYTES_MAX:
            raise ConfigError(f"{path}: above {TABLE_BYTES_MAX} bytes; split the table")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; name a UTF-8 file that can be read") from error
    rows, first = (_toml_rows(path, text), 0) if path.suffix == ".toml" else (_csv_rows(path, text), 2)
    try:
        return _ROWS.validate_python(rows)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        row, *where = found["loc"]
        at = ".".join(str(part) for part in where) or "row"
        number = int(row) + first
        name = f"line {number}" if first else f"scripts.{number}"
        raise ConfigError(f"{path}: {name}: {at}: {found['msg']}") from error


def _csv_rows(path: Path, text: str) -> list[dict[str, Any]]:
    lines = csv.reader(text.splitlines())
    header = [name.strip() for name in next(lines, [])]
    if header not in ([*_COLUMNS], [*_COLUMNS[:2]]):
        raise ConfigError(f"{path}: line 1: the columns are {','.join(_COLUMNS)}")
    return [_row(cells) for cells in lines]


def _row(cells: list[str]) -> dict[str, Any]:
    recipient, outcomes, statuses, *more = [*(cell.strip() for cell in cells), "", "", ""]
    row: dict[str, Any] = {"recipient": recipient, "outcomes": outcomes.split()}
    if statuses:
        row["statuses"] = statuses.split()
    if any(more):
        row["a fourth cell"] = more
    return row


def _toml_rows(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    rows = given.pop("scripts", None)
    if given or not isinstance(rows, list):
        raise ConfigError(f"{path}: the file holds [[scripts]] tables and nothing else")
    return rows
