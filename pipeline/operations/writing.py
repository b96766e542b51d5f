"""Writing acts and records: idempotent, acked by all in-sync replicas, Java's partitioner.

`write_act` is for a caller with a loop and a producer; each other function runs an event loop of its own and blocks
until Kafka has everything or gave up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException

from pipeline.config import Settings
from pipeline.operations.acts import Act, Outgoing
from pipeline.operations.reading import CONNECT_TIMEOUT_S, unreachable
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Delivery, Receipt

MAX_WAITING_RECORDS = 50_000  # bounds the memory of an import; far above what one round trip needs
BREATHE_EVERY_RECORDS = 500
BREATHE_S = 0.005


async def write_act(delivery: Delivery, settings: Settings, act: Act) -> None:
    """Write an act, each record after Kafka has the one before it: first the audit record, then what it changes.

    Args:
        delivery: A producer of this loop.

    Raises:
        BrokerUnreachable: Kafka did not take a record in time; those before it are written.
    """
    try:
        for record in (*((act.audit,) if act.audit is not None else ()), *act.records):
            await delivery.send(
                settings.topic(record.topic), record.value, record.key, record.headers, record.partition
            )
    except KafkaException as exc:
        raise unreachable(settings, exc) from exc


def perform(settings: Settings, act: Act) -> None:
    """Write an act, as `write_act` does, and wait until Kafka has all of it.

    Raises:
        BrokerUnreachable: Kafka refused us, or did not take a record in time; those before it are written.
    """

    async def run() -> None:
        delivery = Delivery(producer_conf(settings.kafka), asyncio.get_running_loop())
        try:
            delivery.warm_up([settings.topic("audit-events")], CONNECT_TIMEOUT_S)
            await write_act(delivery, settings, act)
        finally:
            await delivery.close()

    asyncio.run(run())


def write_one(settings: Settings, record: Outgoing) -> Receipt:
    """Write a record and wait until Kafka has it.

    Raises:
        BrokerUnreachable: Kafka refused us, or did not take it in time.
    """

    async def run() -> Receipt:
        delivery = Delivery(producer_conf(settings.kafka), asyncio.get_running_loop())
        try:
            topic = settings.topic(record.topic)
            delivery.warm_up([topic], CONNECT_TIMEOUT_S)
            return await delivery.send(topic, record.value, record.key, record.headers, record.partition)
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
        BrokerUnreachable: Kafka refused us, or did not take one in time; some of the others may be written.
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
            topic = settings.topic(record.topic)
            if queued == 0:
                delivery.warm_up([topic], CONNECT_TIMEOUT_S)
            delivery.produce(topic, record.value, record.key, record.headers, tally.done, record.partition)
            queued += 1
            if queued % BREATHE_EVERY_RECORDS == 0:
                await asyncio.sleep(0)
                await _until_waiting(delivery, tally, MAX_WAITING_RECORDS)
        await _until_waiting(delivery, tally, 0)
    finally:
        await delivery.close()
    if tally.error is not None:
        error = unreachable(settings, KafkaException(tally.error))
        raise type(error)(f"{error}; {tally.stored} of {queued} records were written") from None
    return tally.stored


async def _until_waiting(delivery: Delivery, tally: _Tally, most: int) -> None:
    """Wait until at most `most` records are under way; ends by itself, as each of them has a deadline."""
    while len(delivery) > most and tally.error is None:
        await asyncio.sleep(BREATHE_S)
