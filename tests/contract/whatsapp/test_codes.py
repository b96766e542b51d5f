"""The code tables against `published_codes.json`: every code of the facts, its disposition in a word, and its wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.whatsapp.answer import classify
from pipeline.whatsapp.code_row import Disposition
from pipeline.whatsapp.codes import CODES, WITHOUT_A_ROW, code_row

D = Disposition
PUBLISHED: dict[str, Any] = orjson.loads((Path(__file__).parent / "published_codes.json").read_bytes())

MEANT: dict[str, set[D]] = {
    "AUTH": {D.AUTHENTICATE},
    "HALT": {D.HALT},
    "PACE": {D.THROTTLE},
    "OVERLOAD": {D.OVERLOAD},
    "SPAM": {D.PAUSE_MARKETING},
    "PAIR": {D.PAIR},
    "SHORT": {D.RETRY},
    "LONG": {D.RETRY_LATER},
    "SUPPRESS": {D.SUPPRESS},
    "STOP": {D.STOP_MARKETING},
    "FIX": {D.REJECT},
    "TEMPLATE": {D.TEMPLATE_PAUSED, D.TEMPLATE_UNUSABLE},
    "WINDOW": {D.NEEDS_TEMPLATE},
    "CHECK": {D.CHECK_CONTACT},
    "REVIEW": {D.REVIEW},
    "INBOUND": {D.INBOUND_ONLY},
}
"""Dispositions that say what a word of the facts' tables says."""

DIFFERENT: dict[int, tuple[D, str]] = {
    1011: (D.OVERLOAD, "a service that is not ready is not ready for anybody: one probe instead of every message"),
    1028: (D.REVIEW, "one recipient's identity, no reason to halt the number"),
    2001: (D.TEMPLATE_UNUSABLE, "nothing with this template can go, like 132001"),
    2003: (D.TEMPLATE_UNUSABLE, "nothing with a template of this pack can go"),
    2060: (D.TEMPLATE_UNUSABLE, "nothing with this template can go"),
    2062: (D.TEMPLATE_UNUSABLE, "nothing with this template can go, like 132016"),
    131057: (D.THROTTLE, "the whole number is in maintenance: its messages wait and spend no attempts"),
    2494100: (D.THROTTLE, "the whole number is in maintenance: its messages wait and spend no attempts"),
}
"""Rows that say something else than the tables, each with the reason."""


def expanded(codes: str) -> Iterator[int]:
    """Numbers and ranges, spaced, as numbers."""
    for part in codes.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


ROWS = {code: entry for entry in PUBLISHED["rows"] for code in expanded(entry["codes"])}
NO_ROW = {code for entry in PUBLISHED["without"] for code in expanded(entry["codes"])}


def test_every_published_code_has_a_row_or_a_reason() -> None:
    """Codes of the tables have a row each (200–299 as a range), all others a reason why they have none."""
    assert [code for code in ROWS if code_row(code) is None] == []
    assert {code for codes in WITHOUT_A_ROW for code in expanded(codes)} == NO_ROW
    assert all(WITHOUT_A_ROW.values())


def test_no_row_and_no_reason_without_a_published_code() -> None:
    """Neither table names a code that nobody published, and none has both."""
    assert set(CODES) <= set(ROWS)
    assert not set(CODES) & NO_ROW


@pytest.mark.parametrize("code", sorted(ROWS))
def test_the_row_does_what_the_tables_say(code: int) -> None:
    """The disposition is the one of the facts' table, or the difference has a reason."""
    row = code_row(code)
    assert row is not None
    if code in DIFFERENT:
        assert row.disposition is DIFFERENT[code][0]
        assert row.disposition not in MEANT[ROWS[code]["says"]], "no difference any more"
    else:
        assert row.disposition in MEANT[ROWS[code]["says"]]


@pytest.mark.parametrize("code", sorted(code for code, entry in ROWS.items() if "wait_s" in entry))
def test_long_waits_are_as_long_as_the_tables_say(code: int) -> None:
    """131049 waits a day, 471 a day and five minutes, 132015 three hours, 132069 one, 134101 and 1014 ten minutes."""
    row = CODES[code]
    assert row.delay_s == ROWS[code]["wait_s"]
    body = orjson.dumps({"error": {"message": "m", "code": code}})
    assert classify(400, {}, body, 0.0).delay_s == row.delay_s


def test_no_other_row_waits() -> None:
    """A row without a published wait leaves it to the schedule of its disposition."""
    assert {code for code, row in CODES.items() if row.delay_s} == {
        code for code, entry in ROWS.items() if "wait_s" in entry
    }


@pytest.mark.parametrize("code", sorted(NO_ROW - set(range(138_001, 139_000))))
def test_codes_without_a_row_go_by_their_range(code: int) -> None:
    """On a send, an unexplained code of the 13xxxx family gets a few attempts, any other refuses the message."""
    outcome = classify(400, {}, orjson.dumps({"error": {"message": "m", "code": code}}), 0.0)
    assert outcome.kind == ("transient" if 130_000 <= code <= 139_999 else "refused")
    assert outcome.error_code == code
