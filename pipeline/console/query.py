"""Reads the read model: searches, timelines, dead letters, acts. Functions; `Reading` runs them beside the loop.

Every query walks an index and has a limit: none takes longer because the file is larger.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import orjson

from pipeline.console import people
from pipeline.console.fold import Message
from pipeline.console.schema import open_reader
from pipeline.operations.people import Person
from pipeline.operations.timeline import Origin, Step, in_order

READERS: Final = 3
MAX_FOUND: Final = 50
MAX_STEPS: Final = 500
_COLUMNS: Final = ", ".join(one.name for one in fields(Message))

Found = TypeVar("Found")


class Reading:
    """A small pool of threads, each with a connection of its own that can only read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="console-read")

    async def run(self, ask: Callable[..., Found], *arguments: Any) -> Found:
        """Ask `ask(connection, *arguments)` in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, ask, arguments)

    def _ask(self, ask: Callable[..., Found], arguments: Sequence[Any]) -> Found:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = open_reader(self._path)
            self._all.append(connection)
        return ask(connection, *arguments)

    def close(self) -> None:
        """End the threads after what they are at."""
        self._pool.shutdown(cancel_futures=True)


# -- messages ----------------------------------------------------------------------------------------------------------
class Hits(NamedTuple):
    """What a search found.

    Attributes:
        by: Which word of a message the text was; None: nothing has it.
        messages: Newest first, at most `MAX_FOUND`.
        person: The person, if the text was one's number or id.
    """

    by: Literal["request id", "message id", "recipient", "campaign", "beginning of request ids"] | None
    messages: list[Message]
    person: Person | None = None


def search(db: sqlite3.Connection, text: str) -> Hits:
    """Find messages by request id, the API's message id, recipient, campaign, or the beginning of a request id."""
    found = _select(db, "request_id = ?", text)
    if found:
        return Hits("request id", found)
    found = _select(db, "message_id = ?", text)
    if found:
        return Hits("message id", found)
    person = people.find(db, text)
    if person is not None:
        hits = to_person(db, person)
        if hits.messages or people.heard(db, person):
            return hits
    found = _select(db, "campaign = ?", text)
    if found:
        return Hits("campaign", found)
    found = _select(db, "request_id >= ? AND request_id < ?", text, text + "\U0010ffff") if text else []
    return Hits("beginning of request ids" if found else None, found)


def to_person(db: sqlite3.Connection, person: Person) -> Hits:
    """Messages to any id of a person."""
    ids = sorted(person.ids)
    return Hits("recipient", _select(db, f"person IN ({', '.join('?' * len(ids))})", *ids), person)


def recent(db: sqlite3.Connection) -> list[Message]:
    """The messages that were heard of last."""
    return _select(db, "TRUE")


def message_of(db: sqlite3.Connection, message: int) -> Message | None:
    """One message by its row."""
    return next(iter(_select(db, "id = ?", message)), None)


def _select(db: sqlite3.Connection, where: str, *values: Any) -> list[Message]:
    query = f"SELECT {_COLUMNS} FROM messages WHERE {where} ORDER BY id DESC LIMIT {MAX_FOUND}"  # noqa: S608  names of ours
    return [Message(*row) for row in db.execute(query, values)]


def steps_of(db: sqlite3.Connection, message: Message) -> list[Step]:
    """The events of a message in time order, as the command line tells them."""
    rows = db.execute(
        "SELECT uid, at_ms, origin, place, body FROM events WHERE message = ? LIMIT ?", (message.id, MAX_STEPS)
    )
    shared = {name: getattr(message, name) for name in ("number", "request_id", "recipient", "priority", "message_id")}
    return in_order(_step(row, shared) for row in rows)


def _step(row: tuple[bytes, int, Origin, str, bytes], shared: Mapping[str, Any]) -> Step:
    uid, at_ms, origin, place, body = row
    return Step(at_ms, origin, {**shared, **orjson.loads(body), "event_id": uid.hex()}, place)


# -- dead letters, acts ------------------------------------------------------------------------------------------------
def dead_letters(db: sqlite3.Connection, *, code: str = "", topic: str = "") -> list[dict[str, Any]]:
    """Dead letters, newest first, without their bytes."""
    names = ("part", "at", "at_ms", "topic", "stage", "code", "message", "size")
    rows = db.execute(
        f"SELECT {', '.join(names)} FROM dead_letters WHERE (? = '' OR code = ?) AND (? = '' OR topic = ?)"  # noqa: S608  names of ours
        " ORDER BY at_ms DESC LIMIT ?",
        (code, code, topic, topic, MAX_FOUND * 2),
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def dead_letter(db: sqlite3.Connection, part: int, at: int) -> dict[str, Any] | None:
    """One dead letter with its bytes (at most 64 KiB of them); `headers` by name."""
    names = ("part", "at", "at_ms", "topic", "stage", "code", "message", "size", "key", "value", "headers")
    query = f"SELECT {', '.join(names)} FROM dead_letters WHERE part = ? AND at = ?"  # noqa: S608  names of ours
    row = db.execute(query, (part, at)).fetchone()
    if row is None:
        return None
    found = dict(zip(names, row, strict=True))
    return {**found, "headers": _json(found["headers"])}


def acts(db: sqlite3.Connection, *, targets: Sequence[str] | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """What operators did, newest first.

    Args:
        targets: To one of these; None: to anything.
    """
    where = f"target IN ({', '.join('?' * len(targets))})" if targets is not None else "TRUE"
    query = f"SELECT body FROM acts WHERE {where} ORDER BY at_ms DESC LIMIT ?"  # noqa: S608  texts of ours
    return [_json(body) for (body,) in db.execute(query, (*(targets or ()), limit))]


def handled(db: sqlite3.Connection, targets: Sequence[str]) -> dict[str, str]:
    """What was done last with each of these, where anything was."""
    rows = db.execute(
        f"SELECT target, action FROM acts WHERE target IN ({', '.join('?' * len(targets))})"  # noqa: S608  marks only
        " ORDER BY at_ms",
        targets,
    )
    return dict(rows.fetchall())


def totals(db: sqlite3.Connection, since_ms: int) -> dict[str, int]:
    """How many dead letters and opt-outs there were since then."""
    asked = {
        "dead_letters": "SELECT count(*) FROM dead_letters WHERE at_ms >= ?",
        "opt_outs": "SELECT count(*) FROM consent_events INDEXED BY opt_outs WHERE is_opt_out AND at_ms >= ?",
    }
    return {name: db.execute(query, (since_ms,)).fetchone()[0] for name, query in asked.items()}


def _json(raw: bytes) -> Any:
    return orjson.loads(raw)
