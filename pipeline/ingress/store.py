"""Records to Kafka, all of a call or an error, in bounded time. Runs on the ingress' loop; the producer has its thread.

A call is answered with 200 only after `Store.put` returned. After an error some of its records may be on Kafka all
the same; WhatsApp delivers the webhook again and the records come out with the same ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from pipeline.config import KafkaSettings
from pipeline.errors import PipelineError
from pipeline.ingress.outgoing import Outgoing
from pipeline.metrics import Metrics
from pipeline.records.codec import Headers
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Done, Receipt

PUBLISH_TIMEOUT_S = 2.0
# What nobody waits for any more leaves the queue soon after the answer was given, so that memory stays bounded.
MESSAGE_TIMEOUT_MS = 4000
REQUEST_TIMEOUT_MS = 3000
# A broker that comes back is found within a second; librdkafka's own default would be ten.
RECONNECT_BACKOFF_MS_MAX = 1000
CONNECT_TIMEOUT_MS = 3000
QUEUE_KBYTES_MAX = 131_072
QUEUE_RECORDS_MAX = 100_000


class NotStored(PipelineError):
    """Kafka did not take all records of a call in time; the caller answers 503.

    Operator action: look at the brokers; the ingress goes on by itself once they answer, and WhatsApp redelivers.
    """


class Producing(Protocol):
    """What the store needs of `streams.delivery.Delivery`."""

    def produce(
        self, topic: str, value: bytes | None, key: str | bytes | None, headers: Headers | None, done: Done
    ) -> None:
        """Queue a record."""

    def __len__(self) -> int:
        """Records queued or on their way."""


def ingress_producer_conf(kafka: KafkaSettings) -> dict[str, Any]:
    """Producer properties of the ingress: as everywhere, but it gives up early, because WhatsApp comes again."""
    return producer_conf(
        kafka,
        **{
            "message.timeout.ms": MESSAGE_TIMEOUT_MS,
            "request.timeout.ms": REQUEST_TIMEOUT_MS,
            "reconnect.backoff.max.ms": RECONNECT_BACKOFF_MS_MAX,
            "socket.connection.setup.timeout.ms": CONNECT_TIMEOUT_MS,
            "queue.buffering.max.kbytes": QUEUE_KBYTES_MAX,
            "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
        },
    )


class Store:
    """Writes the records of one call.

    Args:
        delivery: The producer.
        timeout_s: Longest wait for the acks of one call.
    """

    def __init__(self, delivery: Producing, metrics: Metrics, timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
        self._delivery, self._metrics, self._timeout_s = delivery, metrics, timeout_s

    async def put(self, records: Sequence[Outgoing]) -> None:
        """Write all records and wait until all in-sync replicas have them.

        Raises:
            NotStored: not all were acked within the time; some may be there.
        """
        if not records:
            return
        failed = self._metrics.producer_errors.inc
        batch = _Batch(len(records), asyncio.get_running_loop().create_future(), failed)
        try:
            for record in records:
                self._delivery.produce(record.topic, record.value, record.key, record.headers, batch.done)
        except BufferError as exc:
            raise NotStored("the producer's queue is full") from exc
        except KafkaException as exc:
            failed()
            raise NotStored(exc.args[0].str()) from exc
        try:
            async with asyncio.timeout(self._timeout_s):
                error = await batch.outcome
        except TimeoutError as exc:
            raise NotStored(f"no ack within {self._timeout_s} s") from exc
        if error is not None:
            raise NotStored(error.str())


class _Batch:
    """Counts the acks of one call; its outcome is None when all came, else the first error."""

    def __init__(self, records: int, outcome: asyncio.Future[KafkaError | None], failed: Callable[[], None]) -> None:
        self.outcome = outcome
        self._left = records
        self._failed = failed

    def done(self, _receipt: Receipt | None, error: KafkaError | None) -> None:
        self._left -= 1
        if error is not None:
            self._failed()
        if not self.outcome.done() and (error is not None or self._left == 0):
            self.outcome.set_result(error)
