"""Batches of a stream's records: all that has come, in order, and nothing of an assignment that has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.streams.batches import batches

GENERATION = 3


class _Stream:
    """A stream over a queue, as Faust makes one: a turn of the loop before each event."""

    def __init__(self) -> None:
        self.channel = SimpleNamespace(queue=asyncio.Queue[Any]())

    def noack(self) -> _Stream:
        """Faust acknowledges nothing of it."""
        return self

    async def events(self) -> AsyncIterator[Any]:
        """One by one."""
        while True:
            await asyncio.sleep(0)
            yield await self.channel.queue.get()

    def bring(self, *offsets: int, generation: int = GENERATION) -> None:
        """Records come."""
        for offset in offsets:
            record = SimpleNamespace(offset=offset, generation_id=generation)
            self.channel.queue.put_nowait(SimpleNamespace(message=record))


def _offsets(records: list[Any]) -> list[int]:
    return [record.offset for record in records]


@pytest.fixture
def app() -> Any:
    """What is asked of the app."""
    flow = SimpleNamespace(is_active=lambda: True)
    return SimpleNamespace(flow_control=flow, consumer_generation_id=GENERATION)


async def test_what_has_come_is_delivered_together_and_in_order(app: Any) -> None:
    """One turn of the loop brings all records that are there, up to the size of a batch; the rest comes next."""
    stream = _Stream()
    stream.bring(1, 2, 3, 4, 5)
    found = batches(app, stream, 3)
    assert _offsets(await anext(found)) == [1, 2, 3]
    assert _offsets(await anext(found)) == [4, 5]
    stream.bring(6)
    assert _offsets(await anext(found)) == [6]


async def test_what_an_earlier_assignment_left_in_the_queue_is_left_out(app: Any) -> None:
    """A record that was fetched before a rebalance comes again to its next owner: it is not delivered here."""
    stream = _Stream()
    stream.bring(1)
    stream.bring(2, generation=GENERATION - 1)
    stream.bring(3)
    assert _offsets(await anext(batches(app, stream, 10))) == [1, 3]


async def test_while_the_flow_is_stopped_nothing_more_is_taken_in(app: Any) -> None:
    """In a rebalance what is queued is forgotten by the stream, so no batch may hold it."""
    stream = _Stream()
    stream.bring(1, 2)
    app.flow_control.is_active = lambda: False
    assert _offsets(await anext(batches(app, stream, 10))) == [1]
