"""Several producers behind one face: each record goes through the one that its topic names."""

from __future__ import annotations

import asyncio
from typing import cast

from pipeline.streams.delivery import Delivery, Receipt
from pipeline.streams.outlets import Outlets


class FakeDelivery:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.produced, self.sent, self.warmed, self.closed_s = list[str](), list[str](), list[str](), 0.0

    def warm_up(self, topics: list[str], _timeout_s: float) -> None:
        """Note the topics."""
        self.warmed += topics

    def produce(self, topic: str, *_record: object) -> None:
        """Note the topic."""
        self.produced.append(topic)

    def send(self, topic: str, *_record: object) -> asyncio.Future[Receipt]:
        """Note the topic; stored at once."""
        self.sent.append(topic)
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        future.set_result(Receipt(len(self.sent), 0))
        return future

    async def close(self, timeout_s: float) -> int:
        """Note the time-out."""
        self.closed_s = timeout_s
        return 0


async def test_topic_decides() -> None:
    """A topic's own producer writes it, warms up for it and is closed; all else is the default's."""
    default, events = FakeDelivery(), FakeDelivery()
    outlets = Outlets(cast("Delivery", default), {"e": cast("Delivery", events), "f": cast("Delivery", events)})
    outlets.warm_up(["a", "e", "f"], 1.0)
    outlets.produce("a", b"", None, None, lambda _receipt, _error: None)
    outlets.produce("f", b"", None, None, lambda _receipt, _error: None)
    assert (await outlets.send("e", b"")).offset == 1
    assert (await outlets.send("a", b"")).offset == 1
    await outlets.close(3.0)
    assert (default.warmed, default.produced, default.sent, default.closed_s) == (["a"], ["a"], ["a"], 3.0)
    assert (events.warmed, events.produced, events.sent, events.closed_s) == (["e", "f"], ["f"], ["e"], 3.0)
