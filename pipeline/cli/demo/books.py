"""What is left when the campaign is over: the run's records on the topics and the simulator's ledger, as plain values.

Reads every topic from the campaign's start to its end, as it stands; nothing here comes from a counter of the pipeline.
Blocks; runs on the main thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.cli.demo.campaign import ENTRANCE, URGENT_ENTRANCE
from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.operations.reading import Reader, Row, decoded, open_reader

Key = tuple[str, str]
"""A request: (number, request id)."""


class Request(NamedTuple):
    """A record on an entrance; `key` is None if its ids cannot be read: it belongs into dead-letter."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: Key | None
    recipient: str
    category: str


class Post(NamedTuple):
    """A request that the simulator saw.

    Attributes:
        at_ms: Arrival, in Unix time by the simulator's monotonic clock.
        text: First text parameter: the request id.
        fault: Kind of the spell that hit it, `forced`, or "".
    """

    at_ms: float
    number: str
    recipient: str
    text: str
    status: int
    is_accepted: bool
    message_id: str
    fault: str


class Sender(NamedTuple):
    """What the simulator measured of one number.

    Attributes:
        excess: Requests beyond rate·t + burst in the worst interval; ≤ 0: within.
    """

    excess: float


class Spell(NamedTuple):
    """A time in which the API failed for one number, Unix milliseconds."""

    number: str
    from_ms: float
    to_ms: float


@dataclass(slots=True)
class Books:
    """All of one run.

    Attributes:
        requests: Records on the entrances.
        events: By event id and type, as a re-written event is the same event.
        dead_letters: How many of the run's records are on dead-letter.
        opt_outs: Broker time at which a person's first revoke was on `consent-updates`, ms.
        statuses: Distinct status events: (message id, status).
        posts: Requests to the API, in order of arrival.
        senders: By number.
        spells: What was made to fail.
    """

    requests: list[Request] = field(default_factory=list)
    events: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    dead_letters: int = 0
    opt_outs: dict[str, int] = field(default_factory=dict)
    statuses: set[tuple[str, str]] = field(default_factory=set)
    posts: list[Post] = field(default_factory=list)
    senders: dict[str, Sender] = field(default_factory=dict)
    spells: list[Spell] = field(default_factory=list)


def read_books(
    settings: Settings,
    tag: str,
    people: str,
    since_ms: int,
    stats: Mapping[str, Any],
    ledger: Sequence[Mapping[str, Any]],
    spelled: Sequence[str],
) -> Books:
    """Read everything of a run.

    Args:
        tag: Of the run.
        people: What the phone numbers of its people begin with.
        since_ms: Broker time before which nothing of it was written.
        stats: The simulator's statistics.
        ledger: The simulator's ledger.
        spelled: The number of each spell, in order of their begin.

    Raises:
        BrokerUnreachable: no broker answered.
    """
    books = Books()
    with open_reader(settings) as reader:
        for topic in (ENTRANCE, URGENT_ENTRANCE):
            books.requests += map(_request, _own(reader, topic, tag, since_ms))
        for row in _own(reader, "outbound-events", tag, since_ms):
            event = decoded(row)
            if event is not None:
                books.events.setdefault((event["event_id"], event["type"]), event)
        books.dead_letters = sum(1 for _ in _own(reader, "dead-letter", tag, since_ms))
        _read_inbound(reader, books, people, since_ms)
    began_ms = parse_rfc3339_ms(stats["started_at"])
    own = [row for row in ledger if row["profile"] != "other" and tag in row["text"]]
    books.posts = [_post(row, began_ms) for row in own]
    books.senders = {number: Sender(found["excess"] or 0.0) for number, found in stats["senders"].items()}
    books.spells = [
        Spell(number, began_ms + spell["from_ns"] / 1e6, began_ms + spell["to_ns"] / 1e6)
        for number, spell in zip(spelled, stats["spells"], strict=True)
    ]
    return books


def _read_inbound(reader: Reader, books: Books, people: str, since_ms: int) -> None:
    for row in reader.to_end("consent-updates", since_ms=since_ms):
        update = decoded(row)
        if update is not None and update["action"] == "revoke" and update["recipient"].startswith(people):
            books.opt_outs.setdefault(update["recipient"], row.timestamp_ms)
    for row in reader.to_end("inbound-events", since_ms=since_ms):
        event = decoded(row)
        if event is not None and event["type"] == "status" and event["message_id"] is not None:
            books.statuses.add((event["message_id"], event["status"]))


def _own(reader: Reader, topic: str, tag: str, since_ms: int) -> Iterator[Row]:
    wanted = tag.encode()
    return (row for row in reader.to_end(topic, since_ms=since_ms) if wanted in (row.value or b""))


def _request(row: Row) -> Request:
    value = decoded(row) or {}
    ids = [value.get(name) for name in ("from", "request_id", "to")]
    key = (ids[0], ids[1]) if all(isinstance(one, str) for one in ids) else None
    recipient = (row.key or b"").decode(errors="replace")
    category = str(value.get("category"))
    return Request(row.topic, row.partition, row.offset, row.timestamp_ms, key, recipient, category)  # type: ignore[arg-type]


def _post(row: Mapping[str, Any], began_ms: int) -> Post:
    return Post(
        began_ms + row["t_ns"] / 1e6,
        row["sender"],
        "".join(filter(str.isdigit, row["to"])),
        row["text"],
        row["status"],
        row["accepted"],
        row["message_id"],
        row["fault"],
    )
