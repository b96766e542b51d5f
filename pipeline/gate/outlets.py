"""The gate's two producers: one that never leaves a gap, one that writes nothing late. Used on the event loop only.

A producer with a message time-out gives a record up and goes on with the next one: a request would overtake an earlier
one of its recipient, which comes again only after a restart. So whatever has an order goes through a producer without
a time-out: what it stores of a partition is always the beginning of what it was given. The worker ends the process
when that takes too long. The tables' topics have no order that matters, as merging decides by date, but a frozen
process must not write an old state late: their producer's time-out is below the group's session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from pipeline.config import KafkaSettings
from pipeline.records.codec import Headers
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Delivery, Done

WITHOUT_GAPS: Final[dict[str, Any]] = {"message.timeout.ms": 0, "enable.gapless.guarantee": True}


class Outlets:
    """Looks like a `Delivery`; the topic decides which producer it is.

    Args:
        tables: Full names of the topics that are tables' changelogs.
    """

    def __init__(self, kafka: KafkaSettings, loop: asyncio.AbstractEventLoop, tables: Collection[str]) -> None:
        self._tables = frozenset(tables)
        self._in_order = Delivery(producer_conf(kafka, **WITHOUT_GAPS), loop)
        self._in_time = Delivery(producer_conf(kafka), loop)

    def warm_up(self, topics: Collection[str], timeout_s: float) -> None:
        """Fetch metadata of the topics that will be written. Blocks.

        Raises:
            KafkaException: no broker answered in time.
        """
        self._in_order.warm_up([topic for topic in topics if topic not in self._tables], timeout_s)
        self._in_time.warm_up([topic for topic in topics if topic in self._tables], timeout_s)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: str | bytes | None,
        headers: Headers | None,
        done: Done,
        partition: int = -1,
    ) -> None:
        """Queue a record; `done(receipt, error)` is called on the loop when its fate is known.

        Raises:
            BufferError: librdkafka's queue is full.
            KafkaException: librdkafka refuses it at once.
        """
        outlet = self._in_time if topic in self._tables else self._in_order
        outlet.produce(topic, value, key, headers, done, partition)

    async def close(self, timeout_s: float) -> None:
        """Flush and stop both."""
        await asyncio.gather(self._in_order.close(timeout_s), self._in_time.close(timeout_s))
