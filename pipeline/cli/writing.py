"""Writing records from a command: idempotent, acked by all in-sync replicas, Java's partitioner.

Each function runs an event loop of its own on the main thread and blocks until Kafka has everything or gave up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException

from pipeline.cli.reading import unreachable
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable
from pipeline.records.codec import Headers
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Delivery, Receipt

MAX_WAITING_RECORDS = 50_000  # bounds the memory of an import; far above what one round trip needs
BREATHE_EVERY_RECORDS = 500
BREATHE_S = 0.005


class Outgoing(NamedTuple):
    """A record to write; `topic` is its name without the prefix."""

    topic: str
    key: str
    value: bytes | None
    headers: Headers


def write_one(settings: Settings, record: Outgoing) -> Receipt:
    """Write a record and wait until Kafka has it.

    Raises:
        BrokerUnreachable: Kafka did not take it in time.
    """

    async def run() -> Receipt:
        delivery = Delivery(producer_conf(settings.kafka), asyncio.get_running_loop())
        try:
            return await delivery.send(settings.topic(record.topic), record.value, record.key, record.headers)
        except KafkaException as exc:
            raise unreachable(settings, exc) from exc
        finally:
            await delivery.close()

    return asyncio.run(run())


def write_all(settings: Settings, records: Iterable[Outgoing]) -> int:
    """Write records as they come and wait until Kafka has them all.

    Returns:
        How many were written.

    Raises:
        BrokerUnreachable: Kafka did not take one in time; some of the others may be written.
    """
    return asyncio.run(_write_all(settings, records))


class _Tally:
    """Counts deliveries; touched on the loop only."""

    def __init__(self) -> None:
        self.stored = 0
        self.error: KafkaError | None = None

    def done(self, receipt: Receipt | None, error: KafkaError | None) -> None:
        """Note the fate of one record; the first error is kept."""
        if receipt is None:
            self.error = self.error or error
        else:
            self.stored += 1


async def _write_all(settings: Settings, records: Iterable[Outgoing]) -> int:
    delivery = Delivery(producer_conf(settings.kafka), asyncio.get_running_loop())
    tally = _Tally()
    queued = 0
    try:
        for record in records:
            delivery.produce(settings.topic(record.topic), record.value, record.key, record.headers, tally.done)
            queued += 1
            if queued % BREATHE_EVERY_RECORDS == 0:
                await asyncio.sleep(0)
                await _until_waiting(delivery, tally, MAX_WAITING_RECORDS)
        await _until_waiting(delivery, tally, 0)
    finally:
        await delivery.close()
    if tally.error is not None:
        error = unreachable(settings, KafkaException(tally.error))
        raise BrokerUnreachable(f"{error}; {tally.stored} of {queued} records were written") from None
    return tally.stored


async def _until_waiting(delivery: Delivery, tally: _Tally, most: int) -> None:
    """Wait until at most `most` records are under way; ends by itself, as each of them has a deadline."""
    while len(delivery) > most and tally.error is None:
        await asyncio.sleep(BREATHE_S)
