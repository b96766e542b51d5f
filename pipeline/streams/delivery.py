"""Awaitable, idempotent production. What a caller got no answer for is not on Kafka as far as it may know.

The event loop itself collects what librdkafka's threads have got answers for, as long as something is on its way: no
other thread of Python is woken, nor asks for the interpreter's lock. `produce` and `send` are called on the loop only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from pipeline.records.codec import Headers
from pipeline.streams.reach import Reach

POLL_S = 0.002
IDLE_POLL_S = 5.0
CLOSE_TIMEOUT_S = 10.0


class Receipt(NamedTuple):
    """Where a record was stored: offset and the broker's time in milliseconds."""

    offset: int
    timestamp_ms: int


Done = Callable[[Receipt | None, KafkaError | None], None]


class Delivery:
    """An idempotent producer (acks=all) for one event loop.

    Args:
        conf: librdkafka properties, as `producer_conf` makes them.
        loop: The loop that callbacks run on.
        poll_s: How often answers are collected.
        on_fatal: Called, on the loop, when this producer can never write again: its owner has to make a new one, or
            end. What was on its way fails by its own callback with that error, whatever comes later at once.

    Raises:
        ConfigError: librdkafka does not take a property.
    """

    def __init__(
        self,
        conf: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        poll_s: float = POLL_S,
        on_fatal: Callable[[KafkaException], None] | None = None,
    ) -> None:
        self._poll_s, self._on_fatal = poll_s, on_fatal
        self._fatal: KafkaError | None = None
        self._reach = Reach(conf)
        self._producer = self._reach.make(Producer)
        self._loop = loop
        self._done: deque[tuple[Done, Receipt | None, KafkaError | None]] = deque()
        self._polling = False
        self._idle = loop.call_later(IDLE_POLL_S, self._poll_idle)

    def warm_up(self, topics: list[str], timeout_s: float) -> None:
        """Fetch metadata of the topics that will be written, so that the first record does not wait for it. Blocks.

        Raises:
            BrokerUnreachable: no broker answered in time, or one refused us.
        """
        for topic in topics:
            self._reach.metadata(self._producer, timeout_s, topic)

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
            KafkaException: librdkafka refuses it at once, e.g. because it is too large.
        """
        finished = self._done

        def delivered(error: KafkaError | None, message: Any) -> None:  # in `_poll`, or in the thread that flushes
            receipt = None if error is not None else Receipt(message.offset(), message.timestamp()[1])
            finished.append((done, receipt, error))

        self._producer.produce(topic, value, key, partition, delivered, headers=headers)
        if not self._polling:
            self._polling = True
            self._loop.call_later(self._poll_s, self._poll)

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
        future: asyncio.Future[Receipt] = self._loop.create_future()

        def done(receipt: Receipt | None, error: KafkaError | None) -> None:
            if future.done():
                return
            if receipt is None:
                future.set_exception(KafkaException(error))
            else:
                future.set_result(receipt)

        try:
            self.produce(topic, value, key, headers, done, partition)
        except BufferError:
            future.set_exception(KafkaException(KafkaError(KafkaError._QUEUE_FULL)))
        except KafkaException as exc:
            future.set_exception(exc)
        return future

    def __len__(self) -> int:
        """Records queued or on their way."""
        return len(self._producer)

    def _poll(self) -> None:
        """Collect what was stored; again soon as long as anything is on its way."""
        self._collect()
        if len(self._producer):
            self._loop.call_later(self._poll_s, self._poll)
        else:
            self._polling = False

    def _poll_idle(self) -> None:
        """Hear what librdkafka has to say while nothing is on its way: else it would pile up."""
        if not self._polling:
            self._collect()
        self._idle = self._loop.call_later(IDLE_POLL_S, self._poll_idle)

    def _collect(self) -> None:
        try:
            self._producer.poll(0)
        except KafkaException as exc:
            self._died(exc)
        self._resolve()

    def _died(self, error: KafkaException) -> None:
        # A fatal error is told once, to whoever serves callbacks next; records hear only that they were dropped.
        self._fatal = error.args[0]
        if self._on_fatal is not None:
            self._on_fatal(error)

    def _resolve(self) -> None:
        done = self._done
        while done:
            call, receipt, error = done.popleft()
            call(receipt, error if error is None or self._fatal is None else self._fatal)

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> int:
        """Flush and stop; returns how many records were still undelivered (their futures may never end)."""
        self._idle.cancel()
        try:
            left: int = await asyncio.to_thread(self._producer.flush, timeout_s)
        except KafkaException as exc:
            self._died(exc)
            left = len(self._producer)
        self._resolve()
        return left
