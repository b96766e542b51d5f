"""Looks at one place of a partition with a consumer of its own. Blocks; to be called in a thread."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from pipeline.config import KafkaSettings
from pipeline.streams.client import reader_conf

PEEK_TIMEOUT_S = 10.0


def first_record(kafka: KafkaSettings, tp: tuple[str, int], offset: int) -> int:
    """Offset of the first record at or behind `offset`; the end of the log if there is none.

    Raises:
        KafkaException: Kafka reported an error.
        TimeoutError: no answer in time.
    """
    consumer = Consumer(reader_conf(kafka))
    try:
        consumer.assign([TopicPartition(*tp, offset)])
        message = consumer.poll(PEEK_TIMEOUT_S)
        if message is None:
            raise TimeoutError(f"{tp[0]}/{tp[1]}: no answer from offset {offset} on")
        return int(message.offset())  # an end-of-partition event has the end as its offset
    finally:
        consumer.close()
