"""Reads the layout of recipients (`records/layout.py`) from `account-state`. Blocks for a fraction of a second."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable
from pipeline.records.codec import decode_object
from pipeline.records.layout import KEY, Layout, parse_layout
from pipeline.streams.client import reader_conf

ACCOUNT: Final = "account-state"
BATCH_RECORDS: Final = 1000
POLL_S: Final = 0.2
STALL_TIMEOUT_S: Final = 15.0
_ABSENT: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


def read_layout(settings: Settings, timeout_s: float = STALL_TIMEOUT_S) -> Layout | None:
    """The newest layout; None: nobody ever wrote one (or there is no such topic yet).

    Raises:
        BrokerUnreachable: no broker answered, or nothing came for `timeout_s`.
        ContractError: what stands there is no layout.
    """
    consumer = Consumer(reader_conf(settings.kafka))
    found: bytes | None = None
    try:
        consumer.assign([TopicPartition(settings.topic(ACCOUNT), 0, 0)])
        give_up_s = steady_s() + timeout_s
        while steady_s() < give_up_s:
            for message in consumer.consume(BATCH_RECORDS, timeout=POLL_S):
                error = message.error()
                if error is None:
                    give_up_s = steady_s() + timeout_s
                    found = message.value() if message.key() == KEY.encode() else found
                elif error.code() == KafkaError._PARTITION_EOF or error.code() in _ABSENT:
                    return parse_layout(decode_object(found)) if found is not None else None
                elif not error.retriable():
                    raise BrokerUnreachable(f"{settings.kafka.bootstrap_servers}: {ACCOUNT}: {error.name()}")
    except KafkaException as exc:
        raise BrokerUnreachable(f"{settings.kafka.bootstrap_servers}: {exc.args[0].name()}") from exc
    finally:
        consumer.close()
    raise BrokerUnreachable(
        f"{settings.kafka.bootstrap_servers}: {ACCOUNT} was not read to its end for {timeout_s:.0f} s;"
        " check kafka.bootstrap_servers, or start a broker with `wapipe broker`"
    )
