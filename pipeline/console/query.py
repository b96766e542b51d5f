"""Reads the read model: searches, timelines, funnels. Functions over a connection; `Reading` runs them beside the loop.

Every query walks an index and has a limit: none takes longer because the file is larger.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import orjson

from pipeline.console.fold import Message
from pipeline.console.schema import open_reader
from pipeline.operations.timeline import Origin, Step, in_order
from pipeline.records.canonical import canonical
from pipeline.records.request import normal_recipient

READERS: Final = 3
MAX_FOUND: Final = 50
MAX_STEPS: Final = 500
MAX_CAMPAIGNS: Final = 200
MAX_MINUTES: Final = 20_000
MAX_OPT_OUTS: Final = 20_000
OPT_OUT_AFTER_MS: Final = 3 * 86_400_000
"""An opt-out so long after a message of a campaign is counted as the campaign's."""
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
        person: Key of the person, if the text was one's number or id.
    """

    by: Literal["request id", "message id", "recipient", "campaign", "beginning of request ids"] | None
    messages: list[Message]
    person: str | None = None


def search(db: sqlite3.Connection, text: str) -> Hits:
    """Find messages by request id, the API's message id, recipient, campaign, or the beginning of a request id."""
    found = _select(db, "request_id = ?", text)
    if found:
        return Hits("request id", found)
    found = _select(db, "message_id = ?", text)
    if found:
        return Hits("message id", found)
    person = person_of(text)
    if person is not None:
        found = _select(db, "person = ?", person)
        if found or heard(db, person):
            return Hits("recipient", found, person)
    found = _select(db, "campaign = ?", text)
    if found:
        return Hits("campaign", found)
    found = _select(db, "request_id >= ? AND request_id < ?", text, text + "\U0010ffff") if text else []
    return Hits("beginning of request ids" if found else None, found)


def person_of(text: str) -> str | None:
    """Key of the person that a number or user id names; None: it is neither."""
    try:
        return canonical(normal_recipient(text))
    except ValueError:
        return None


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


def heard(db: sqlite3.Connection, person: str) -> list[dict[str, Any]]:
    """What a person did: when they wrote, newest first."""
    rows = db.execute("SELECT at_ms, body FROM heard WHERE person = ? ORDER BY at_ms DESC LIMIT ?", (person, MAX_FOUND))
    return [{"at_ms": at_ms, **orjson.loads(body)} for at_ms, body in rows]


# -- campaigns ---------------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Funnel:
    """What became of a campaign.

    Attributes:
        counts: Messages by what they count as (`fold.counts_of`), but reasons.
        reasons: Messages by the reason of their end.
        opt_outs: People who opted out within three days of a message of it, their last one of any campaign.
    """

    name: str
    first_ms: int
    last_ms: int
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    opt_outs: int = 0

    @property
    def open(self) -> int:
        """Messages that have not ended."""
        return self.counts.get("all", 0) - self.counts.get("ended", 0)


def campaigns(db: sqlite3.Connection) -> list[Funnel]:
    """Campaigns, that of the newest event first; without their opt-outs."""
    rows = db.execute("SELECT name, first_ms, last_ms FROM campaigns ORDER BY last_ms DESC LIMIT ?", (MAX_CAMPAIGNS,))
    return [_counted(db, Funnel(*row)) for row in rows.fetchall()]


def campaign(db: sqlite3.Connection, name: str) -> Funnel | None:
    """One campaign; None: no message of it was heard of."""
    row = db.execute("SELECT name, first_ms, last_ms FROM campaigns WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    funnel = _counted(db, Funnel(*row))
    funnel.opt_outs = _opt_outs(db, funnel)
    return funnel


def _counted(db: sqlite3.Connection, funnel: Funnel) -> Funnel:
    for what, count in db.execute("SELECT what, count FROM campaign_counts WHERE campaign = ?", (funnel.name,)):
        kind, _, reason = what.partition(":")
        if reason:
            funnel.reasons[reason] = count
        else:
            funnel.counts[kind] = count
    return funnel


def _opt_outs(db: sqlite3.Connection, funnel: Funnel) -> int:
    """Opt-outs are few and messages many: so each opt-out is asked which campaign's message came before it."""
    rows = db.execute(
        "SELECT DISTINCT person FROM (SELECT person, at_ms FROM consent_events INDEXED BY opt_outs"
        " WHERE is_opt_out AND at_ms BETWEEN ? AND ? LIMIT ?) AS gone WHERE ? = (SELECT campaign FROM messages"
        " WHERE messages.person = gone.person AND campaign IS NOT NULL AND stages > 1 AND first_ms <= gone.at_ms"
        " AND first_ms > gone.at_ms - ? ORDER BY id DESC LIMIT 1)",
        (funnel.first_ms, funnel.last_ms + OPT_OUT_AFTER_MS, MAX_OPT_OUTS, funnel.name, OPT_OUT_AFTER_MS),
    )
    return len(rows.fetchall())


def minutes(db: sqlite3.Connection, name: str) -> dict[str, dict[int, int]]:
    """Messages of a campaign by stage and minute (since 1970) in which they reached it."""
    rows = db.execute(
        "SELECT what, minute, count FROM campaign_minutes WHERE campaign = ? ORDER BY minute DESC LIMIT ?",
        (name, MAX_MINUTES),
    )
    found: dict[str, dict[int, int]] = {}
    for what, minute, count in rows:
        found.setdefault(what, {})[minute] = count
    return found


# -- consent, dead letters, acts ---------------------------------------------------------------------------------------
def consent(db: sqlite3.Connection, person: str) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """What holds for a person, and how it came to be, newest first."""
    row = db.execute("SELECT body FROM consents WHERE person = ?", (person,)).fetchone()
    rows = db.execute(
        "SELECT body FROM consent_events WHERE person = ? ORDER BY at_ms DESC LIMIT ?", (person, MAX_STEPS)
    )
    return _json(row[0]) if row is not None else None, [_json(body) for (body,) in rows]


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


def acts(db: sqlite3.Connection, *, target: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """What operators did, newest first."""
    where, values = ("target = ?", (target,)) if target is not None else ("TRUE", ())
    query = f"SELECT body FROM acts WHERE {where} ORDER BY at_ms DESC LIMIT ?"  # noqa: S608  texts of ours
    return [_json(body) for (body,) in db.execute(query, (*values, limit))]


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
