"""Several producers behind the face of one `Delivery`: the topic decides which. Used on the event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from pipeline.records.codec import Headers
from pipeline.streams.delivery import Delivery, Done, Receipt


class Outlets:
    """Looks like a `Delivery`.

    Args:
        default: Writes every topic that has no producer of its own.
        own: Producers by the full names of the topics that they write.
    """

    def __init__(self, default: Delivery, own: Mapping[str, Delivery]) -> None:
        self._default = default
        self._own = dict(own)
        self._all = list(dict.fromkeys([default, *self._own.values()]))

    def _of(self, topic: str) -> Delivery:
        return self._own.get(topic, self._default)

    def warm_up(self, topics: Collection[str], timeout_s: float) -> None:
        """Fetch metadata of the topics that will be written. Blocks.

        Raises:
            BrokerUnreachable: no broker answered in time, or one refused us.
        """
        for outlet in self._all:
            outlet.warm_up([topic for topic in topics if self._of(topic) is outlet], timeout_s)

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
        self._of(topic).produce(topic, value, key, headers, done, partition)

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        partition: int = -1,
    ) -> asyncio.Future[Receipt]:
        """Queue a record; the future ends when all in-sync replicas have it.

        Raises (by the future):
            KafkaException: it was not stored in time, or its fate is unknown.
        """
        return self._of(topic).send(topic, value, key, headers, partition)

    async def close(self, timeout_s: float) -> None:
        """Flush and stop all, side by side."""
        await asyncio.gather(*(outlet.close(timeout_s) for outlet in self._all))
