"""Which codes suppress, for how long, and what holds when."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.whatsapp.code_row import Disposition
from pipeline.whatsapp.codes import CODES
from pipeline.whatsapp.suppression import RULES, holds, is_lifted_by, is_suppression, replaces, suppression_of

DAY_MS = 86_400_000
NOW_MS = 1_795_341_600_000


def record(days: int | None = 1, at_ms: int = NOW_MS) -> dict[str, Any]:
    """A suppression of now, for days or for good."""
    until = rfc3339(at_ms + days * DAY_MS) if days is not None else None
    return {"recipient": "1", "reason": "x", "until": until, "at": rfc3339(at_ms)}


def test_every_suppressing_code_has_a_rule() -> None:
    """The code table and the rules name the same codes, and every rule makes a record that can be read."""
    assert set(RULES) == {row.code for row in CODES.values() if row.disposition is Disposition.SUPPRESS}
    made = [suppression_of(code, "1", NOW_MS, 604_800) for code in RULES]
    assert all(one is not None and is_suppression(one) and holds(one, NOW_MS) for one in made)
    assert suppression_of(131049, "1", NOW_MS, 604_800) is None
    assert suppression_of(None, "1", NOW_MS, 604_800) is None


def test_it_holds_until_its_end() -> None:
    """A day is a day; for good is for good."""
    assert holds(record(1), NOW_MS + DAY_MS - 1)
    assert not holds(record(1), NOW_MS + DAY_MS)
    assert holds(record(None), NOW_MS + 10_000 * DAY_MS)
    assert not holds(None, NOW_MS)


@pytest.mark.parametrize(
    ("new", "known", "expected"),
    [
        (record(1), None, True), (record(2), record(1), True), (record(1), record(1), False),
        (record(1), record(2), False), (record(1), record(None), False), (record(None), record(1), True),
        (record(None), record(None), False), (record(1), record(1, NOW_MS - DAY_MS), True),
        (record(1, NOW_MS - DAY_MS), None, False),
    ],
)  # fmt: skip
def test_the_longer_one_stays(new: dict[str, Any], known: dict[str, Any] | None, expected: bool) -> None:
    """A new one is written if it holds, and longer than what is known."""
    assert replaces(new, known, NOW_MS) is expected


def test_only_a_later_message_lifts_only_a_soft_one() -> None:
    """What the person wrote before the failure, or of one that is for good, proves nothing."""
    assert is_lifted_by(record(1), NOW_MS + 1)
    assert not is_lifted_by(record(1), NOW_MS)
    assert not is_lifted_by(record(None), NOW_MS + 1)
    assert not is_lifted_by(None, NOW_MS)


@pytest.mark.parametrize(
    "value",
    [
        {}, {**record(), "until": 5}, {**record(), "until": "soon"}, {**record(), "at": None}, {**record(), "at": []},
        {**record(), "until": "2026-11-22T10:00:00"}, {**record(), "reason": 1},
    ],
)  # fmt: skip
def test_rubbish_is_no_suppression(value: dict[str, Any]) -> None:
    """What anybody else wrote there and cannot be read counts as absent."""
    assert not is_suppression(value)
