"""Helpers for tests on a real Kafka: topics, records, and whether a process is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TIMEOUT_S = 60.0


def create_topics(
    bootstrap: str,
    partitions_by_topic: Mapping[str, int],
    *,
    replication: int = 1,
    config: Mapping[str, str] | None = None,
) -> None:
    """Create topics and wait until the brokers have them.

    Args:
        bootstrap: Value for `bootstrap.servers`.
        partitions_by_topic: Number of partitions by topic name.
        replication: Replicas of each partition.
        config: Topic properties, the same for all.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    topics = [NewTopic(name, n, replication, config=dict(config or {})) for name, n in partitions_by_topic.items()]
    for future in admin.create_topics(topics, operation_timeout=TIMEOUT_S).values():
        future.result(TIMEOUT_S)


def produce(bootstrap: str, topic: str, values: Iterable[bytes], *, key: bytes | None = None) -> None:
    """Write records with `acks=all` and wait until the brokers have taken every one."""
    failed: list[str] = []

    def on_delivery(error: object, _message: object) -> None:
        if error is not None:
            failed.append(str(error))

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "log_level": 0})
    for value in values:
        producer.produce(topic, value, key=key, on_delivery=on_delivery)
    left = producer.flush(TIMEOUT_S)
    assert left == 0
    assert failed == []


def read_values(bootstrap: str, topic: str) -> list[bytes]:
    """Read every value that a topic holds now, partition by partition."""
    # The group's name is a formality: nothing is committed, so no group comes to be.
    settings = {"group.id": "reader", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer({"bootstrap.servers": bootstrap, **settings})
    try:
        values: list[bytes] = []
        for partition in sorted(consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
            consumer.assign([TopicPartition(topic, partition, low)])
            give_up_at = time.monotonic() + TIMEOUT_S
            position = low
            while position < high:
                assert time.monotonic() < give_up_at, f"{topic}/{partition} stands at {position} of {high}"
                for message in consumer.consume(1000, timeout=0.5):
                    assert message.error() is None, message.error()
                    values.append(message.value())
                    position = message.offset() + 1
        return values
    finally:
        consumer.close()


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Ask again and again until it is true; fail with `what` after `timeout_s` seconds."""
    give_up_at = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < give_up_at, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Whether this process has ended; one that only waits for its parent to notice has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rsplit(")", 1)[1].split()[0] in {"Z", "X"}


def children_of(pid: int) -> list[int]:
    """Pids of the processes that this one started and that are there now."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
