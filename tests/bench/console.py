"""What the console's read model costs: how fast it is filled, how fast its pages find a message, how a restart goes on.

Events go into the store in batches, as the feed hands them over; then a real console serves the file.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count as count_up
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

from pipeline.clock import rfc3339, unix_ms
from pipeline.console.feed import BATCH_RECORDS
from pipeline.console.files import open_file
from pipeline.console.schema import open_writer
from pipeline.console.store import Store
from pipeline.console.taken import Taken
from tests.bench.measure import peak_mib, percentile, rss_mib
from tests.support.console import event, status
from tests.support.console_page import Page
from tests.support.world import Draft, World

KINDS: Final = ("queued", "accepted", "sent", "delivered", "read")
"""Of each message."""
LAGS: Final = (0, 1, 2, 4, 60)
"""How many blocks later each of them comes; the last one when the store remembers its message no more."""
BLOCK: Final = BATCH_RECORDS // len(KINDS)
BLOCK_MS: Final = 1_000
TO_ONE_PERSON: Final = 4
OF_ONE_CAMPAIGN: Final = 20_000
SEARCHES: Final = 200
TAIL_PART: Final = 100
"""One event for so many messages is left on Kafka for the restart."""
WAIT_S: Final = 600.0
TOKEN: Final = "token-of-the-bench"


def console(kafka: str, folder: Path, count: int) -> dict[str, float | int | str]:
    """The console's read model: filling it, searching it, and a restart after a SIGKILL.

    Searches are whole pages over HTTP, at random over all messages. The restart has what came meanwhile to read.
    """
    (folder / "console-token").write_text(TOKEN)
    settings = f'[console]\nport = 0\noperator_token_file = "{folder / "console-token"}"\n'
    messages = max(BLOCK, count // len(KINDS))
    with World(kafka, folder, settings=settings) as world:
        figures: dict[str, float | int | str] = {"events": messages * len(KINDS)}
        with open_file(world.settings, folder / "data" / "console" / "console") as path:
            figures |= _fill(path, messages)
        page = start(world)
        pid = world.processes.pid("console")
        for name, texts in _texts(messages).items():
            figures |= _search(page, name, texts)
        figures |= {"console MiB": round(rss_mib(pid)), "console peak MiB": round(peak_mib(pid))}
        return figures | _restart(world, max(1, messages // TAIL_PART))


def _fill(path: Path, messages: int) -> dict[str, float | int | str]:
    """Apply all events; what it takes to make them up is not counted."""
    taken_s = used_s = 0.0
    with closing(open_writer(path)) as connection:
        store = Store(connection)
        for batch in _batches(messages):
            began_s, used_before_s = time.monotonic(), time.process_time()
            store.apply(batch, {})
            taken_s, used_s = taken_s + time.monotonic() - began_s, used_s + time.process_time() - used_before_s
    return {
        "fill: events per s": round(messages * len(KINDS) / taken_s),
        "fill: events per CPU-s": round(messages * len(KINDS) / used_s),
        "fill: seconds": round(taken_s, 1),
        "fill: peak MiB, with the bench": round(peak_mib(os.getpid())),
        "file, MB": round(path.stat().st_size / 1e6),
    }


def _batches(messages: int) -> Iterator[list[Taken]]:
    shapes, places = [shape_of(kind) for kind in KINDS], count_up()
    blocks = -(-messages // BLOCK)
    begin_ms = unix_ms() - (blocks + LAGS[-1]) * BLOCK_MS
    for turn in range(blocks + LAGS[-1]):
        at_ms = begin_ms + turn * BLOCK_MS
        batch: list[Taken] = []
        for (topic, shape), lag in zip(shapes, LAGS, strict=True):
            first = (turn - lag) * BLOCK
            for message in range(max(0, first), min(first + BLOCK, messages)):
                place = next(places)
                value = filled(shape, message, place, rfc3339(at_ms))
                batch.append(Taken(topic, 0, place, at_ms, None, value, None))
        yield batch


def shape_of(kind: str) -> tuple[str, bytes]:
    """Topic and bytes of an event with places to fill in."""
    if kind in ("queued", "accepted"):
        topic, made = "outbound-events", event(kind, "", campaign="@campaign@")
    else:
        topic, made = "inbound-events", status(kind, "", "")
    own: dict[str, Any] = {
        "event_id": "@event@", "request_id": "@request@", "recipient": "@person@", "at": "@at@", "received_at": "@at@",
        "message_id": None if kind == "queued" else "@message@",
    }  # fmt: skip
    return topic, orjson.dumps({name: own.get(name, value) for name, value in made.items()})


def filled(shape: bytes, message: int, place: int, at: str) -> bytes:
    """An event of a message: `place` makes its id, `at` is its time."""
    told = {
        b"@event@": f"{place:032x}", b"@request@": request_id(message), b"@person@": _person(message),
        b"@campaign@": _campaign(message), b"@message@": _message_id(message), b"@at@": at,
    }  # fmt: skip
    for name, text in told.items():
        shape = shape.replace(name, text.encode())
    return shape


def request_id(message: int) -> str:
    """Of a message, by its number."""
    return f"order-{_scattered(message):08x}"


def _message_id(message: int) -> str:
    return f"wamid.bench{_scattered(message):08x}"


def _scattered(message: int) -> int:
    """Another number for each message, in no order: ids do not come sorted, and an index feels it."""
    return message * 2_654_435_761 % 2**32


def _person(message: int) -> str:
    return f"1555{_scattered(message // TO_ONE_PERSON):010d}"


def _campaign(message: int) -> str:
    return f"campaign-{message // OF_ONE_CAMPAIGN}"


def _texts(messages: int) -> dict[str, list[str]]:
    """What is searched for, by what it is; the same with every run."""
    chosen = [Random(7).randrange(messages) for _ in range(SEARCHES)]
    ways = {"request id": request_id, "recipient": _person, "message id": _message_id, "campaign": _campaign}
    return {name: [make(message) for message in chosen] for name, make in ways.items()}


def _search(page: Page, name: str, texts: list[str]) -> dict[str, float | int | str]:
    took_ms = []
    for text in texts:
        began_s = time.monotonic()
        found = page.get(f"/messages?q={text}")
        took_ms.append((time.monotonic() - began_s) * 1000)
        assert f"by {name}" in found, f"{text} is not found by {name}"
    return {
        f"search by {name}: p50 ms": round(percentile(took_ms, 0.5), 1),
        f"search by {name}: p99 ms": round(percentile(took_ms, 0.99), 1),
    }


def start(world: World) -> Page:
    """Start the console, and log in."""
    world.spawn("console")
    world.ready("console")
    heard = world.heard("console")
    assert heard is not None
    return Page(heard["url"], "bench", TOKEN)


def _restart(world: World, tail: int) -> dict[str, float | int | str]:
    """Kill it, let more come, start it again: until it serves, and until it has found the last of those."""
    world.kill("console", signal.SIGKILL)
    last = f"tail-{tail - 1}"
    world.write("outbound-events", (Draft(b"k", orjson.dumps(event("queued", f"tail-{n}"))) for n in range(tail)))
    began_s = time.monotonic()
    page = start(world)
    ready_s = time.monotonic() - began_s
    world.until(lambda: "by request id" in page.get(f"/messages?q={last}"), "the last one is found", WAIT_S)
    return {
        "restart: process → ready, s": round(ready_s, 1),
        "restart: events that came meanwhile": tail,
        "restart: process → the last of them found, s": round(time.monotonic() - began_s, 1),
    }
