"""Writes what is no message: people, their ids, consent, tiers, dead letters, acts. Over the writing connection.

Each record replaces what its key said before, or is kept under an id of its own: read twice, it changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from pipeline.clock import parse_rfc3339_ms
from pipeline.console.taken import Taken, moment_of, text_of, uid_of
from pipeline.errors import DecodeError
from pipeline.records.alias import is_alias
from pipeline.records.canonical import canonical
from pipeline.records.codec import decode_object

MAX_VALUE_BYTES: Final = 65_536
"""Of a dead letter's bytes; the whole stays on Kafka."""
_SEEN: Final = (
    "INSERT INTO tier_people VALUES (?, ?, ?)"
    " ON CONFLICT (portfolio, person) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)"
)


def take_alias(db: sqlite3.Connection, record: Taken) -> None:
    """Other ids of a person, as they stand now."""
    try:
        value = decode_object(record.value) if record.value is not None else None
    except DecodeError:
        return
    if value is None:
        db.execute("DELETE FROM aliases WHERE id = ?", (record.key_text,))
    elif is_alias(value):
        row = (record.key_text, value["recipient"], record.value)
        db.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)", row)


def take_consent(db: sqlite3.Connection, record: Taken) -> None:
    """What holds for a person now."""
    if record.value is None:
        db.execute("DELETE FROM consents WHERE person = ?", (record.key_text,))
    else:
        db.execute("INSERT OR REPLACE INTO consents VALUES (?, ?)", (record.key_text, record.value))


def take_dead_letter(db: sqlite3.Connection, record: Taken) -> None:
    """What nobody could process, with the beginning of its bytes."""
    headers = {
        name: (value or b"").decode(errors="replace") for name, value in record.headers or () if isinstance(name, str)
    }
    value = record.value or b""
    told = (headers.get(f"errors.{name}", "") for name in ("topic", "stage", "code", "message"))
    row = (
        record.partition, record.offset, record.timestamp_ms, *told, len(value), record.key, value[:MAX_VALUE_BYTES],
        orjson.dumps(headers),
    )  # fmt: skip
    db.execute("INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def take_heard(db: sqlite3.Connection, record: Taken, event: Mapping[str, Any]) -> None:
    """What a person wrote: that they did, not what."""
    person = text_of(event, "recipient")
    if event.get("type") not in ("message", "preference", "call") or person is None:
        return
    body = {name: event.get(name) for name in ("type", "number", "message_id", "at")}
    at_ms = moment_of(event.get("received_at"), record)
    row = (canonical(person), uid_of(event, record), at_ms, record.place, orjson.dumps(body))
    db.execute("INSERT OR IGNORE INTO heard VALUES (?, ?, ?, ?, ?)", row)


def take_consent_event(db: sqlite3.Connection, record: Taken, event: Mapping[str, Any]) -> None:
    """What a person's consent went through."""
    evidence = event.get("evidence")
    by_person = isinstance(evidence, dict) and evidence.get("actor") == "user"
    is_opt_out = event.get("action") == "revoke" and event.get("result") == "applied" and by_person
    row = (record.key_text, uid_of(event, record), record.timestamp_ms, is_opt_out, record.value)
    db.execute("INSERT OR IGNORE INTO consent_events VALUES (?, ?, ?, ?, ?)", row)


def take_tier_recipient(db: sqlite3.Connection, record: Taken, event: Mapping[str, Any]) -> None:
    """Whom a portfolio wrote to, and when last."""
    told = event.get("portfolios")
    for portfolio, at in told.items() if isinstance(told, dict) else ():
        try:
            db.execute(_SEEN, (portfolio, record.key_text, parse_rfc3339_ms(str(at))))
        except ValueError:
            continue


def take_act(db: sqlite3.Connection, record: Taken, event: Mapping[str, Any]) -> None:
    """What an operator did."""
    uid, at_ms = text_of(event, "event_id") or record.place, moment_of(event.get("at"), record)
    row = (uid, at_ms, str(event.get("target")), str(event.get("action")), record.value)
    db.execute("INSERT OR IGNORE INTO acts VALUES (?, ?, ?, ?, ?)", row)


OF_RECORDS: Final[Mapping[str, Callable[[sqlite3.Connection, Taken], None]]] = {
    "recipient-aliases": take_alias, "consent": take_consent, "dead-letter": take_dead_letter,
}  # fmt: skip
"""Who takes the records of a topic in as they are: they may be no JSON, or say that something is gone."""
OF_EVENTS: Final[Mapping[str, Callable[[sqlite3.Connection, Taken, Mapping[str, Any]], None]]] = {
    "inbound-events": take_heard, "consent-events": take_consent_event, "tier-recipients": take_tier_recipient,
    "audit-events": take_act,
}  # fmt: skip
"""Who takes the events of a topic in; of `inbound-events` those that are no status of a message."""
