"""Writes the read model: batches of records, each in one transaction with the positions up to which they were read.

So a restart goes on exactly where the last commit stood; and as every row has the id of its record, what is read twice
all the same changes nothing. Touched by one thread, the feed's.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import orjson

from pipeline.console import facts
from pipeline.console.fold import FUNNEL, SLOT_MS, Message, counts_of, fold_outbound, fold_status
from pipeline.console.taken import Taken, moment_of, text_of, uid_of
from pipeline.errors import DecodeError
from pipeline.records.canonical import canonical
from pipeline.records.codec import decode_object

REMEMBERED_MESSAGES: Final = 20_000
"""Messages whose row is kept in memory from batch to batch: most events are of messages that were just told of."""
# What the message's own row knows, or what nobody looks for here, is not kept a second time with each event.
_OF_THE_ROW: Final = frozenset({
    "event_id", "request_id", "number", "recipient", "business", "category", "purpose", "priority", "campaign",
    "message_id", "terminal", "retryable", "metadata", "body", "profile", "user_id", "pricing",
})  # fmt: skip
_COLUMNS: Final = tuple(field.name for field in fields(Message))
_row_of: Final = attrgetter(*_COLUMNS)
_INSERT: Final = f"INSERT INTO messages ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608  names of ours
_UPDATE: Final = f"UPDATE messages SET {', '.join(f'{name} = ?' for name in _COLUMNS[1:])} WHERE id = ?"  # noqa: S608
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM messages WHERE "  # noqa: S608
_ADD_COUNT: Final = (
    "INSERT INTO campaign_counts VALUES (?, ?, ?)"
    " ON CONFLICT (campaign, what) DO UPDATE SET count = count + excluded.count"
)
_ADD_SLOT: Final = (
    "INSERT INTO campaign_slots VALUES (?, ?, ?, ?)"
    " ON CONFLICT (campaign, slot, stage) DO UPDATE SET count = count + excluded.count"
)
_ADD_CAMPAIGN: Final = (
    "INSERT INTO campaigns VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
    " SET first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)"
)
_ADD_POSITION: Final = "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)"


class Store:
    """The writing side of the read model.

    Args:
        connection: As `open_writer` makes it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._next_id = (connection.execute("SELECT max(id) FROM messages").fetchone()[0] or 0) + 1
        self._by_key: dict[tuple[str, str], Message] = {}
        self._known: dict[int, Message] = {}
        self._new: dict[int, Message] = {}
        self._dirty: dict[int, Message] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._slots: Counter[tuple[str, int, str]] = Counter()
        self._campaigns: dict[str, tuple[int, int]] = {}

    def positions(self) -> dict[tuple[str, int], int]:
        """Offset to go on at, by topic (without the prefix) and partition."""
        rows = self._db.execute("SELECT topic, part, next FROM positions")
        return {(topic, part): following for topic, part, following in rows}

    def apply(self, records: Iterable[Taken], positions: Mapping[tuple[str, int], int]) -> None:
        """Take records in, and note where the reading stands; all of it, or nothing.

        Raises:
            sqlite3.Error: the file cannot be written; nothing of the batch counts.
        """
        with self._transaction():
            for record in records:
                self._take(record)
            self._flush()
            rows = ((topic, part, following) for (topic, part), following in positions.items())
            self._db.executemany(_ADD_POSITION, rows)
        if len(self._known) > REMEMBERED_MESSAGES:
            self.forget()

    def forget(self) -> None:
        """Drop what is remembered of messages, e.g. because rows were deleted."""
        self._by_key.clear()
        self._known.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self.forget()
            for pending in (self._new, self._dirty, self._counts, self._slots, self._campaigns):
                pending.clear()
            raise
        self._db.execute("COMMIT")

    def _take(self, record: Taken) -> None:
        take = facts.OF_RECORDS.get(record.topic)
        if take is not None:
            take(self._db, record)
            return
        try:
            event = decode_object(record.value)
        except DecodeError:
            return  # not of ours: readers pass over what they cannot read
        if record.topic == "outbound-events":
            self._outbound(record, event)
        elif record.topic == "inbound-events" and event.get("type") == "status":
            self._status(record, event)
        elif record.topic in facts.OF_EVENTS:
            facts.OF_EVENTS[record.topic](self._db, record, event)

    # -- messages ------------------------------------------------------------------------------------------------------
    def _outbound(self, record: Taken, event: dict[str, Any]) -> None:
        number, request_id, message_id = (
            text_of(event, "number"),
            text_of(event, "request_id"),
            text_of(event, "message_id"),
        )
        if request_id is None and message_id is None:
            return
        at_ms = record.timestamp_ms if event.get("type") == "undelivered" else moment_of(event.get("at"), record)
        message = self._message(number, request_id, message_id)
        if not self._keep(message, record, event, at_ms, "outbound"):
            return
        before = counts_of(message) if message.campaign is not None else frozenset()
        recipient = text_of(event, "recipient")
        fold_outbound(message, event, at_ms, None if recipient is None else canonical(recipient.lstrip("+")))
        self._count(message, before, at_ms)
        if message_id is not None and request_id is not None:
            self._by_key[("m", message_id)] = self._adopt(message, message_id)

    def _status(self, record: Taken, event: dict[str, Any]) -> None:
        at_ms = moment_of(event.get("received_at"), record)
        number, request_id, message_id = (
            text_of(event, "number"),
            text_of(event, "request_id"),
            text_of(event, "message_id"),
        )
        if request_id is None and message_id is None:
            return
        message = self._message(number, request_id, message_id)
        if not self._keep(message, record, event, at_ms, "inbound"):
            return
        before = counts_of(message) if message.campaign is not None else frozenset()
        fold_status(message, event, at_ms)
        self._count(message, before, at_ms)

    def _message(self, number: str | None, request_id: str | None, message_id: str | None) -> Message:
        """The row of a message: by its request, else by the id that the API gave it; a new one if there is none."""
        key = ("m", str(message_id))
        where: str = "message_id = ?"
        values: tuple[str | None, ...] = (message_id,)
        if request_id is not None:
            key = ("r", f"{number}\x1f{request_id}")
            where, values = "request_id = ? AND number IS ?", (request_id, number)
        found = self._by_key.get(key)
        if found is None:
            row = self._db.execute(f"{_SELECT}{where} LIMIT 1", values).fetchone()
            if row is not None:
                found = self._remembered(Message(*row))
            else:
                found = Message(self._next_id, number, request_id)
                self._next_id += 1
                self._known[found.id] = self._new[found.id] = found
            self._by_key[key] = found
        return found

    def _remembered(self, row: Message) -> Message:
        """One object for one row, whatever key it was found by."""
        return self._known.setdefault(row.id, row)

    def _keep(self, message: Message, record: Taken, event: Mapping[str, Any], at_ms: int, origin: str) -> bool:
        """Keep an event; False if it was there."""
        kept = {name: value for name, value in event.items() if value not in (None, [], {}) and name not in _OF_THE_ROW}
        row = (message.id, uid_of(event, record), at_ms, origin, record.place, orjson.dumps(kept))
        is_new = self._db.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", row).rowcount > 0
        if is_new and message.id not in self._new:
            self._dirty[message.id] = message
        return is_new

    def _adopt(self, message: Message, message_id: str) -> Message:
        """Join what was heard under the API's id alone (v1, or a webhook that was read first) with its message."""
        orphan = self._by_key.get(("m", message_id))
        if orphan is None:
            row = self._db.execute(f"{_SELECT}message_id = ? AND request_id IS NULL LIMIT 1", (message_id,)).fetchone()
            orphan = self._remembered(Message(*row)) if row is not None else None
        if orphan is None or orphan is message or orphan.request_id is not None:
            return message
        rows = self._db.execute("SELECT at_ms, origin, body FROM events WHERE message = ?", (orphan.id,)).fetchall()
        for at_ms, origin, body in rows:
            before = counts_of(message) if message.campaign is not None else frozenset()
            event = orjson.loads(body)
            if origin == "inbound":
                fold_status(message, event, at_ms)
            else:
                fold_outbound(message, event, at_ms, None)
            self._count(message, before, at_ms)
        self._db.execute("UPDATE OR IGNORE events SET message = ? WHERE message = ?", (message.id, orphan.id))
        self._db.execute("DELETE FROM events WHERE message = ?", (orphan.id,))
        self._db.execute("DELETE FROM messages WHERE id = ?", (orphan.id,))
        for known in (self._new, self._dirty, self._known):
            known.pop(orphan.id, None)
        return message

    def _count(self, message: Message, before: frozenset[str], at_ms: int) -> None:
        """Add what a message counts as by now, and did not before, to its campaign."""
        campaign = message.campaign
        if campaign is None:
            return
        for what in counts_of(message) - before:
            self._counts[(campaign, what)] += 1
            if what in FUNNEL:
                self._slots[(campaign, at_ms // SLOT_MS, what)] += 1
        first_ms, last_ms = self._campaigns.get(campaign, (at_ms, at_ms))
        self._campaigns[campaign] = (min(first_ms, at_ms), max(last_ms, at_ms))

    def _flush(self) -> None:
        self._db.executemany(_INSERT, map(_row_of, self._new.values()))
        self._db.executemany(_UPDATE, ((*row[1:], row[0]) for row in map(_row_of, self._dirty.values())))
        self._db.executemany(_ADD_COUNT, ((*key, count) for key, count in self._counts.items()))
        self._db.executemany(_ADD_SLOT, ((*key, count) for key, count in self._slots.items()))
        self._db.executemany(_ADD_CAMPAIGN, ((name, *times) for name, times in self._campaigns.items()))
        for pending in (self._new, self._dirty, self._counts, self._slots, self._campaigns):
            pending.clear()
