"""From lines of a .csv or .jsonl file to consent-update/1 records, or to a line number and a reason. No Kafka.

`Rows` reads its file as it is iterated and holds a bounded number of refusals.
"""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import orjson

from pipeline.cli.consent_columns import AS_THEY_ARE, COLUMNS, KNOWN, Columns
from pipeline.errors import ContractError, DecodeError
from pipeline.operations.consent import UpdateRules, update_record
from pipeline.records.codec import MAX_RECORD_BYTES, decode_object, stable_id

REQUIRED = ("recipient", "business", "categories", "at", "method", "source")
ACTIONS = ("grant", "revoke")
LIST_SEPARATOR = ";"
MAX_REFUSED_KEPT = 10_000


class GoodLine(NamedTuple):
    """A line that can be written."""

    recipient: str
    raw: bytes
    line: int


class RefusedLine(NamedTuple):
    """A line that cannot be written; line numbers count from 1, the header included."""

    line: int
    reason: str


def update_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of consent-update/1 from the columns of one line; its id depends on the content only.

    Raises:
        ContractError: a column that has to be there is empty, or one is unknown.
    """
    given = {name: value for name, value in columns.items() if value not in (None, "", [])}
    problems = [f"{name}: required" for name in REQUIRED if name not in given and not _is_free(name, given)]
    problems += [f"{str(name)[:60]}: no such column" for name in given if name not in KNOWN]
    problems += [] if given.get("action", "grant") in ACTIONS else ["action: grant or revoke"]
    if problems:
        raise ContractError(problems)
    evidence = {name: given.get(name) for name in ("method", "source", "text", "reference")}
    update = {
        "recipient": given["recipient"],
        "business": given["business"],
        "action": given.get("action", "grant"),
        "categories": _names(given["categories"]),
        "purposes": _names(given.get("purposes", ["*"])),
        "at": given["at"],
        "expires_at": given.get("expires_at"),
        "evidence": {**evidence, "actor": "user"},
    }
    return {"update_id": "import-" + stable_id(orjson.dumps(update).decode()), **update}


def _is_free(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a column may be empty all the same: an opt-out needs no evidence."""
    return given.get("action") == "revoke" and name in {"method", "source"}


def _names(value: Any) -> Any:
    if isinstance(value, str):
        return [name.strip() for name in value.split(LIST_SEPARATOR) if name.strip()]
    return value


class Rows:
    """The good lines of a file, read as they are iterated over, once; the others are kept with their reasons.

    Args:
        file: Ends in `.csv` (with a header) or `.jsonl`.
        rules: What each update is judged by.
        advance: Told bytes read and the file's size.
        columns: What the file calls its columns, and what it leaves out.
        after: Lines up to this one are passed over: they were read before.

    Attributes:
        refused: The first `MAX_REFUSED_KEPT` refused lines.
        refused_count: How many there were.

    Raises:
        UsageError: another kind of file, or a header without the columns that have to be there.
    """

    def __init__(
        self,
        file: Path,
        rules: UpdateRules,
        advance: Callable[[int, int], None],
        columns: Columns = AS_THEY_ARE,
        after: int = 0,
    ) -> None:
        self._after = after
        self._columns = columns
        self.refused: list[RefusedLine] = []
        self.refused_count = 0
        self._file = file
        self._rules = rules
        self._advance = advance
        self._size = max(file.stat().st_size, 1)
        kinds = {".csv": self._csv_lines, ".jsonl": self._json_lines}
        if file.suffix.lower() not in kinds:
            raise click.UsageError(f"{file}: name a .csv or a .jsonl file")
        self._lines = kinds[file.suffix.lower()]

    def __iter__(self) -> Iterator[GoodLine]:
        for number, columns in self._lines():
            if number <= self._after:
                continue
            try:
                update, raw = update_record(update_of(columns), self._rules)
            except ContractError as exc:
                self._refuse(number, "; ".join(exc.problems))
            except TypeError:  # orjson's, of a surrogate
                self._refuse(number, "holds text that is not UTF-8")
            else:
                yield GoodLine(update.recipient, raw, number)

    def _refuse(self, number: int, reason: str) -> None:
        if number <= self._after:
            return
        self.refused_count += 1
        if len(self.refused) < MAX_REFUSED_KEPT:
            self.refused.append(RefusedLine(number, reason))

    def _counted(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        read = 0
        for line in lines:
            read += len(line)
            self._advance(read, self._size)
            yield line

    def _json_lines(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with self._file.open("rb") as file:
            for number, line in enumerate(self._counted(file), 1):
                if not line.strip():
                    continue
                try:
                    yield number, self._columns.read(decode_object(line.removeprefix(BOM_UTF8), MAX_RECORD_BYTES))
                except DecodeError as exc:
                    self._refuse(number, str(exc))

    def _csv_lines(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with self._file.open("rb") as file:
            # A line that is not UTF-8 must not end the import: its bytes come through as surrogates and are refused.
            texts = (line.decode("utf-8-sig", "surrogateescape") for line in self._counted(file))
            reader = csv.reader(texts, strict=True)
            header = self._header(reader)
            while True:
                number = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as exc:
                    self._refuse(number, f"not CSV: {exc}")
                    continue
                if len(cells) > len(header):
                    self._refuse(number, f"{len(cells)} columns; the header has {len(header)}")
                elif any(cells):
                    named = {n: c.strip() for n, c in zip(header, cells, strict=False) if n is not None}
                    yield number, self._columns.filled(named)

    def _header(self, reader: Iterator[list[str]]) -> list[str | None]:
        try:
            cells = next(reader, None)
        except csv.Error as exc:
            raise click.UsageError(f"{self._file}: not CSV: {exc}") from exc
        if not cells:
            raise click.UsageError(f"{self._file}: is empty; the first line names the columns: {', '.join(COLUMNS)}")
        header = [self._columns.ours(name) for name in cells]
        given = {name for name in header if name is not None}
        problems = [f"column {name} is missing" for name in REQUIRED if name not in given | set(self._columns.defaults)]
        unknown = [name[:60] for name in given if name not in KNOWN]
        problems += [f"column {name!r} is unknown (--ignore-unknown passes over it)" for name in sorted(unknown)]
        theirs = {name.strip().lower() for name in cells}
        problems += [f"--map: there is no column {name!r}" for name in self._columns.names if name not in theirs]
        problems += ["a column is there twice"] if len(given) < sum(name is not None for name in header) else []
        if len(cells) == 1 and any(mark in cells[0] for mark in ";\t|"):
            problems = ["the columns are not separated by commas"]
        if problems:
            raise click.UsageError(f"{self._file}: {'; '.join(problems)}. Columns: {', '.join(COLUMNS)}")
        return header
