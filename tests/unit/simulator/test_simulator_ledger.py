"""The ledger: rows come out as they went in, in order, up to a bound."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.simulator.ledger import ROWS_PER_BLOCK, TEXT_CHARS_MAX, Ledger, Row


def _row(number: int, **changes: Any) -> Row:
    row = Row(
        t_ns=number * 1_000,
        sender=f"n{number % 3}",
        profile="cloud",
        to=f"1555{number:07}",
        callback=f"r{number}:1",
        text="zwölf – 十二 👍",
        status=200,
        code=None,
        accepted=True,
        message_id=f"wamid.{number}",
        fault="",
    )
    return row._replace(**changes)


def test_rows_come_back_as_they_went_in() -> None:
    """Every field survives, text beyond ASCII and empty strings included."""
    rows = [_row(0), _row(1, text="", callback="", code=130429, status=429, accepted=False, fault="429"), _row(2)]
    ledger = Ledger(10)
    for row in rows:
        ledger.add(row)
    assert [ledger.row(number) for number in range(3)] == rows


def test_rows_cross_blocks() -> None:
    """Rows at the edges of a block are the right ones."""
    ledger = Ledger(ROWS_PER_BLOCK * 2)
    for number in range(ROWS_PER_BLOCK + 2):
        ledger.add(_row(number))
    for number in (0, ROWS_PER_BLOCK - 1, ROWS_PER_BLOCK, ROWS_PER_BLOCK + 1):
        assert ledger.row(number) == _row(number)


def test_rows_beyond_the_bound_are_counted() -> None:
    """A full ledger keeps what it has and counts the rest."""
    ledger = Ledger(2)
    for number in range(5):
        ledger.add(_row(number))
    assert (len(ledger), ledger.dropped) == (2, 3)
    with pytest.raises(IndexError):
        ledger.row(2)


def test_long_texts_are_cut() -> None:
    """A text is kept up to its maximum, so a row has a bounded size."""
    ledger = Ledger(1)
    ledger.add(_row(0, text="x" * 5000))
    assert ledger.row(0).text == "x" * TEXT_CHARS_MAX
    assert ledger.row(0).message_id == "wamid.0"


def test_lines_are_numbered_json() -> None:
    """`lines` gives one JSON object a line, from the row asked for, with its number."""
    ledger = Ledger(10)
    for number in range(4):
        ledger.add(_row(number))
    lines = [orjson.loads(line) for line in ledger.lines(2, 99)]
    assert [line["n"] for line in lines] == [2, 3]
    assert lines[0]["to"] == "15550000002"
    assert next(ledger.lines(-5, 1)).endswith(b"\n")
    assert not list(ledger.lines(7, 99))
