"""Backlogs by the million: requests at the entrance, admitted messages in a lane, written as fast as Kafka goes.

A record is made once and cut where the message's own words stand: what differs is put in between as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import orjson
from confluent_kafka import Producer

from pipeline.clock import unix_ms
from pipeline.records.codec import headers_for
from pipeline.records.ready import SCHEMA, ready_record
from tests.bench.progress import Progress
from tests.support.campaign import BUSINESS, people, request
from tests.support.world import Draft, World

ID, TO, OFFSET = "@id@", "@to@", 123_456_789_012_345
CROWD: Final = tuple(people(5000))
DAY_MS: Final = 86_400_000
FLUSH_TIMEOUT_S: Final = 900.0
SHOWN_EVERY: Final = 10_000
READY_HEADERS: Final = tuple(headers_for(SCHEMA))


def fill(world: World, topic: str, drafts: Iterable[Draft], count: int, **options: Any) -> None:
    """Write so many records, in order; `options` go to each `produce`, e.g. `partition`."""
    conf = {
        "bootstrap.servers": world.kafka, "partitioner": "murmur2_random", "enable.idempotence": True, "linger.ms": 20,
        "compression.type": "lz4", "queue.buffering.max.messages": 200_000, "log_level": 0,
    }  # fmt: skip
    producer, name, progress = Producer(conf), world.topic(topic), Progress(f"{topic} is filled", count)
    for number, (key, value, headers) in enumerate(islice(drafts, count)):
        while True:
            try:
                producer.produce(name, value, key, headers=list(headers), **options)
                break
            except BufferError:
                producer.poll(0.1)
        if number % SHOWN_EVERY == 0:
            producer.poll(0)
            progress.at(number)
    assert producer.flush(FLUSH_TIMEOUT_S) == 0
    progress.end()


def requests(number: str, name: str = "b", crowd: Sequence[str] = CROWD, **fields: Any) -> Iterator[Draft]:
    """Requests over a crowd in turn, without end; their ids begin with `name`."""
    pieces = _pieces(request(ID, number, TO, **fields))
    for turn in _turns():
        to = crowd[turn % len(crowd)].encode()
        yield Draft(to, _joined(pieces, f"{name}-{turn:07d}".encode(), to, turn))


def admitted(
    number: str, name: str = "b", crowd: Sequence[str] = CROWD, *, shard: int = 0, **fields: Any
) -> Iterator[Draft]:
    """Ready records of one lane over a crowd in turn, without end, as a gate writes them."""
    now_ms, lane = unix_ms(), f"{number}#{shard}"
    asked = {"purpose": None, **request(ID, number, TO, **fields)}
    source = {"topic": "outbound-requests", "partition": 0, "offset": OFFSET, "timestamp_ms": now_ms}
    whole = ready_record(
        asked, source, business=BUSINESS, lane=lane, priority=PRIORITIES[asked["category"]], judged_ms=now_ms,
        expires_ms=now_ms + DAY_MS, valid_until_ms=now_ms + DAY_MS, valid_cause="expired", consent=None,
    )  # fmt: skip
    pieces = _pieces(whole)
    for turn in _turns():
        to = crowd[turn % len(crowd)].encode()
        yield Draft(lane.encode(), _joined(pieces, f"{name}-{turn:07d}".encode(), to, turn), READY_HEADERS)


PRIORITIES: Final = {"authentication": "urgent", "utility": "normal", "marketing": "bulk"}


def _turns() -> Iterator[int]:
    turn = 0
    while True:
        yield turn
        turn += 1


def _pieces(whole: Any) -> list[tuple[bytes, str]]:
    """The record's bytes up to each place, with what comes there; the last one ends with nothing."""
    rest, pieces = orjson.dumps(whole), list[tuple[bytes, str]]()
    marks = {ID.encode(): "id", TO.encode(): "to", str(OFFSET).encode(): "offset"}
    while True:
        found = [(rest.index(mark), mark) for mark in marks if mark in rest]
        if not found:
            return [*pieces, (rest, "")]
        place, mark = min(found)
        pieces.append((rest[:place], marks[mark]))
        rest = rest[place + len(mark) :]


def _joined(pieces: list[tuple[bytes, str]], request_id: bytes, to: bytes, offset: int) -> bytes:
    words = {"id": request_id, "to": to, "offset": str(offset).encode(), "": b""}
    return b"".join(part for text, place in pieces for part in (text, words[place]))
