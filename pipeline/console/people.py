"""People by the read model: their ids, what they wrote, their consent, and how much of a tier they take.

Functions over a reading connection; every query has a limit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from pipeline.operations.people import Person, resolve
from pipeline.records.canonical import canonical
from pipeline.records.request import normal_recipient
from pipeline.records.tier import COUNTED_MS

MAX_HEARD: Final = 50
MAX_CHANGES: Final = 500


def find(db: sqlite3.Connection, text: str) -> Person | None:
    """Whom a number or user id means, with all ids that are known of them; None: it is neither."""
    try:
        asked = canonical(normal_recipient(text))
    except ValueError:
        return None

    def look_up(ids: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
        rows = db.execute(f"SELECT id, body FROM aliases WHERE id IN ({_marks(ids)})", sorted(ids))  # noqa: S608  marks only
        return {name: orjson.loads(body) for name, body in rows}

    return resolve([asked], look_up)


def heard(db: sqlite3.Connection, person: Person) -> list[dict[str, Any]]:
    """What a person did: when they wrote, newest first."""
    rows = db.execute(
        f"SELECT at_ms, body FROM heard WHERE person IN ({_marks(person.ids)}) ORDER BY at_ms DESC LIMIT ?",  # noqa: S608  marks only
        (*sorted(person.ids), MAX_HEARD),
    )
    return [{"at_ms": at_ms, **orjson.loads(body)} for at_ms, body in rows]


def consent(db: sqlite3.Connection, person: Person) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """What holds for a person, and how it came to be under any of their ids, newest first.

    A number that was given up has consent of its own: that is not told here.
    """
    row = db.execute("SELECT body FROM consents WHERE person = ?", (person.key,)).fetchone()
    ids = sorted(person.ids - set(person.numbers))
    rows = db.execute(
        f"SELECT body FROM consent_events WHERE person IN ({_marks(ids)}) ORDER BY at_ms DESC LIMIT ?",  # noqa: S608  marks only
        (*ids, MAX_CHANGES),
    )
    return orjson.loads(row[0]) if row is not None else None, [orjson.loads(body) for (body,) in rows]


def tiers_used(db: sqlite3.Connection, now_ms: int) -> dict[str, int]:
    """How many people each portfolio has written to, as the gates count them."""
    rows = db.execute(
        "SELECT portfolio, count(*) FROM tier_people WHERE at_ms > ? GROUP BY portfolio", (now_ms - COUNTED_MS,)
    )
    return dict(rows.fetchall())


def _marks(values: Collection[Any]) -> str:
    return ", ".join("?" * len(values))
