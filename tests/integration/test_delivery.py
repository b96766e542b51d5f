"""Delivery on a real Kafka: a record counts when the broker has it; what fails is said; the order stays."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.config import KafkaSettings
from pipeline.errors import BrokerUnreachable
from pipeline.records.codec import headers_for
from pipeline.streams.client import producer_conf, reader_conf
from pipeline.streams.delivery import Delivery, Receipt
from pipeline.streams.partition import partition_of
from tests.support.broker import create_topics

WAIT_S = 60.0
PARTITIONS = 12


def settings(bootstrap: str) -> KafkaSettings:
    """How to reach the test broker."""
    return KafkaSettings(bootstrap_servers=bootstrap, session_timeout_s=6, client={"log_level": 0})


@pytest.fixture
async def delivery(kafka: str) -> AsyncIterator[Delivery]:
    """An idempotent producer on this test's loop."""
    made = Delivery(producer_conf(settings(kafka)), asyncio.get_running_loop())
    yield made
    await made.close()


def read_all(bootstrap: str, topic: str, partitions: int, count: int) -> list[Message]:
    """Read a number of records of a topic, in the order of each partition."""
    consumer = Consumer(reader_conf(settings(bootstrap)))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    found: list[Message] = []
    deadline = time.monotonic() + WAIT_S
    try:
        while len(found) < count and time.monotonic() < deadline:
            found += [message for message in consumer.consume(count, 0.5) if message.error() is None]
    finally:
        consumer.close()
    return found


async def test_receipt_says_offset_and_broker_time(kafka: str, topic_prefix: str, delivery: Delivery) -> None:
    """A stored record gives its offset and the time that the broker stamped it with."""
    topic = f"{topic_prefix}r"
    create_topics(kafka, {topic: 1}, config={"message.timestamp.type": "LogAppendTime"})
    first = await asyncio.wait_for(delivery.send(topic, b'{"n":1}', "k", headers_for("request/1")), WAIT_S)
    second = await asyncio.wait_for(delivery.send(topic, b'{"n":2}', b"k", None), WAIT_S)
    messages = await asyncio.to_thread(read_all, kafka, topic, 1, 2)
    assert [(m.offset(), m.timestamp()[1]) for m in messages] == [first, second]
    assert (first.offset, second.offset) == (0, 1)
    assert messages[0].key() == b"k"
    assert messages[0].headers() == [("content-type", b"application/json"), ("schema", b"request/1")]


async def test_missing_topic_fails_the_record(delivery: Delivery, topic_prefix: str, kafka: str) -> None:
    """A topic that there is not is an error of the record's future, in time, and later records still go."""
    with pytest.raises(KafkaException):
        await asyncio.wait_for(delivery.send(f"{topic_prefix}none", b"x"), WAIT_S)
    create_topics(kafka, {f"{topic_prefix}there": 1})
    assert (await asyncio.wait_for(delivery.send(f"{topic_prefix}there", b"x"), WAIT_S)).offset == 0


async def test_too_large_a_record_fails_by_its_future(delivery: Delivery, topic_prefix: str) -> None:
    """A record that librdkafka refuses at once is an error of its future, not of the call."""
    future = delivery.send(f"{topic_prefix}r", b"x" * (7 * 1024 * 1024))
    with pytest.raises(KafkaException) as caught:
        await asyncio.wait_for(future, WAIT_S)
    assert caught.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


async def test_full_queue_fails_by_its_future(kafka: str, topic_prefix: str) -> None:
    """When librdkafka's queue is full the record's future says so, and what was queued still arrives."""
    topic = f"{topic_prefix}r"
    create_topics(kafka, {topic: 1})
    conf = producer_conf(settings(kafka), **{"queue.buffering.max.messages": 1, "linger.ms": 500})
    delivery = Delivery(conf, asyncio.get_running_loop())
    try:
        futures = [delivery.send(topic, b"x") for _ in range(3)]
        results = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), WAIT_S)
    finally:
        await delivery.close()
    assert isinstance(results[0], Receipt)
    refused: Any = results[1]
    assert isinstance(refused, KafkaException)
    assert refused.args[0].code() == KafkaError._QUEUE_FULL


async def test_order_is_kept(kafka: str, topic_prefix: str, delivery: Delivery) -> None:
    """Records sent one after the other without waiting stand in that order, and their futures end in it."""
    topic = f"{topic_prefix}r"
    create_topics(kafka, {topic: 1})
    ended: list[int] = []
    futures = [delivery.send(topic, b"%d" % number) for number in range(5000)]
    for future in futures:
        future.add_done_callback(lambda done: ended.append(done.result().offset))
    receipts = await asyncio.wait_for(asyncio.gather(*futures), WAIT_S)
    assert [receipt.offset for receipt in receipts] == list(range(5000))
    await asyncio.sleep(0)
    assert ended == list(range(5000))
    messages = await asyncio.to_thread(read_all, kafka, topic, 1, 5000)
    assert [message.value() for message in messages] == [b"%d" % number for number in range(5000)]


async def test_partition_is_the_one_we_compute(kafka: str, topic_prefix: str, delivery: Delivery) -> None:
    """librdkafka's `murmur2_random` puts every key where `partition_of` says, whatever its length."""
    topic = f"{topic_prefix}r"
    create_topics(kafka, {topic: PARTITIONS})
    random_keys = random.Random(7)
    keys = [str(random_keys.randrange(10 ** random_keys.randrange(1, 20))) for _ in range(500)]
    keys += ["US.13491208655302741918", "città", "200000000000001#0", "🚀"]
    await asyncio.wait_for(asyncio.gather(*(delivery.send(topic, b"x", key) for key in keys)), WAIT_S)
    messages = await asyncio.to_thread(read_all, kafka, topic, PARTITIONS, len(keys))
    assert len(messages) == len(keys)
    wrong = []
    for message in messages:
        key = message.key()
        assert isinstance(key, bytes)
        if message.partition() != partition_of(key.decode(), PARTITIONS):
            wrong.append(key)
    assert wrong == []


async def test_partition_may_be_named(kafka: str, topic_prefix: str, delivery: Delivery) -> None:
    """A lane's record goes to the partition that the caller names, whatever its key."""
    topic = f"{topic_prefix}r"
    create_topics(kafka, {topic: 4})
    for partition in (3, 0, 2):
        await asyncio.wait_for(delivery.send(topic, b"x", "1#0", partition=partition), WAIT_S)
    messages = await asyncio.to_thread(read_all, kafka, topic, 4, 3)
    assert sorted(message.partition() or 0 for message in messages) == [0, 2, 3]


async def test_tombstone_has_no_value(kafka: str, topic_prefix: str, delivery: Delivery) -> None:
    """A record without a value is stored as one, so that compaction forgets its key."""
    topic = f"{topic_prefix}r"
    create_topics(kafka, {topic: 1})
    await asyncio.wait_for(delivery.send(topic, None, "k"), WAIT_S)
    [message] = await asyncio.to_thread(read_all, kafka, topic, 1, 1)
    assert message.value() is None


async def test_close_flushes(kafka: str, topic_prefix: str) -> None:
    """Closing waits for what is queued; every future has ended by then and nothing is left over."""
    topic = f"{topic_prefix}r"
    create_topics(kafka, {topic: 1})
    delivery = Delivery(producer_conf(settings(kafka), **{"linger.ms": 300}), asyncio.get_running_loop())
    futures = [delivery.send(topic, b"%d" % number) for number in range(200)]
    assert len(delivery) > 0
    assert await delivery.close() == 0
    assert len(delivery) == 0
    assert [future.result().offset for future in futures] == list(range(200))


async def test_close_says_what_is_left() -> None:
    """Without a broker, closing ends in the time given and says how many records never arrived."""
    conf = producer_conf(settings("127.0.0.1:1"))
    delivery = Delivery(conf, asyncio.get_running_loop())
    future = delivery.send("nowhere", b"x")
    assert await delivery.close(timeout_s=0.2) == 1
    assert not future.done()
    future.cancel()


async def test_cancelled_waiter_disturbs_nobody(kafka: str, topic_prefix: str, delivery: Delivery) -> None:
    """A caller that stops waiting does not stop its record, nor those of others."""
    topic = f"{topic_prefix}r"
    create_topics(kafka, {topic: 1})
    futures = [delivery.send(topic, b"%d" % number) for number in range(3)]
    futures[1].cancel()
    first, third = await asyncio.wait_for(asyncio.gather(futures[0], futures[2]), WAIT_S)
    assert (first.offset, third.offset) == (0, 2)


async def test_warm_up_needs_a_broker(delivery: Delivery, kafka: str, topic_prefix: str) -> None:
    """Warming up fetches what the first record would wait for; without a broker it fails in time."""
    create_topics(kafka, {f"{topic_prefix}r": 1})
    await asyncio.to_thread(delivery.warm_up, [f"{topic_prefix}r"], WAIT_S)
    lonely = Delivery(producer_conf(settings("127.0.0.1:1")), asyncio.get_running_loop())
    with pytest.raises(BrokerUnreachable):
        await asyncio.to_thread(lonely.warm_up, ["r"], 0.5)
    await lonely.close(timeout_s=0.1)
