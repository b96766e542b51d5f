"""Reads from `account-state` what a role has to know before it runs: the layout of recipients (`records/layout.py`),
and the lanes of numbers (`records/lanes.py`). Blocks for a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable
from pipeline.records.codec import decode_object
from pipeline.records.lanes import Lanes, is_lanes_key, lanes_in_force
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
    return parse_layout(_newest(settings, lambda key: key == KEY, timeout_s).get(KEY))


def read_lanes(settings: Settings, timeout_s: float = STALL_TIMEOUT_S) -> dict[str, Lanes]:
    """The lanes in force of every number of the settings.

    Raises:
        BrokerUnreachable: no broker answered, or nothing came for `timeout_s`.
        ContractError: what stands there are no lanes.
    """
    return lanes_in_force(settings, _newest(settings, is_lanes_key, timeout_s).get)


def _newest(settings: Settings, is_wanted: Callable[[str], bool], timeout_s: float) -> dict[str, dict[str, Any]]:
    """The newest value of each key that is wanted."""
    consumer = Consumer(reader_conf(settings.kafka))
    found: dict[str, bytes | None] = {}
    try:
        consumer.assign([TopicPartition(settings.topic(ACCOUNT), 0, 0)])
        give_up_s = steady_s() + timeout_s
        while steady_s() < give_up_s:
            for message in consumer.consume(BATCH_RECORDS, timeout=POLL_S):
                error = message.error()
                if error is None:
                    give_up_s = steady_s() + timeout_s
                    key = (message.key() or b"").decode(errors="replace")
                    if is_wanted(key):
                        found[key] = message.value()
                elif error.code() == KafkaError._PARTITION_EOF or error.code() in _ABSENT:
                    return {key: decode_object(value) for key, value in found.items() if value is not None}
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
