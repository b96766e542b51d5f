"""Reading a ledger on a real Kafka: all of it, or what retention has left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaSettings, Settings
from pipeline.records.codec import encode
from pipeline.records.ledger import ledger_record
from pipeline.sender.finish import LEDGER_HEADERS
from pipeline.sender.replay import LedgerReader
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Delivery
from tests.support.broker import create_topics

RECORDS = 6


@pytest.mark.parametrize(("kept_from", "start", "read"), [(0, 0, 6), (0, 4, 2), (3, 1, 3), (6, 2, 0)])
async def test_what_retention_took_is_passed_over(
    kafka: str, topic_prefix: str, kept_from: int, start: int, read: int
) -> None:
    """Everything from the start on that Kafka still has is read, and a ledger emptied meanwhile ends the reading."""
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix))
    topic = settings.topic("send-ledger")
    create_topics(kafka, {topic: 1})
    delivery = Delivery(producer_conf(settings.kafka), asyncio.get_running_loop())
    for number in range(RECORDS):
        record = ledger_record("opened", number + 1, owner="test")
        await delivery.send(topic, encode(record), "2#0", LEDGER_HEADERS, 0)
    await delivery.close()
    if kept_from:
        admin = AdminClient({"bootstrap.servers": kafka})
        answers = admin.delete_records([TopicPartition(topic, 0, kept_from)])
        await asyncio.gather(*(asyncio.wrap_future(answer) for answer in answers.values()))
    found: list[int] = []

    def apply(record: Any, _offset: int, _timestamp_ms: int) -> None:
        found.append(record["generation"])

    reader = LedgerReader(settings)
    end = await asyncio.to_thread(reader.read, 0, start, RECORDS, apply)
    assert (end, len(found)) == (RECORDS, read)
    messages, end = await asyncio.to_thread(reader.messages, topic, 0, start, RECORDS)
    assert [message.offset() for message in messages] == list(range(RECORDS - read, RECORDS))
    assert end == RECORDS
