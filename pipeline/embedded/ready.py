"""Asks a broker whether it serves clients: a real metadata request, with a bounded wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

REQUEST_TIMEOUT_S = 0.5


def wait_until_ready(address: str, brokers_min: int, timeout_s: float, check: Callable[[], None]) -> bool:
    """Wait until the broker at this address answers a metadata request that shows enough brokers alive.

    Args:
        address: `host:port` of that broker: a fresh client's first request goes to it and to no other.
        brokers_min: How many brokers its answer must name.
        timeout_s: Longest wait.
        check: Called between requests; may raise to give up early.

    Returns:
        Whether it became ready in time.
    """
    give_up_at = time.monotonic() + timeout_s
    # A refused connection is expected here, so librdkafka keeps silent about it and tries again soon.
    client = AdminClient(
        {
            "bootstrap.servers": address,
            "log_level": 0,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
        }
    )
    while time.monotonic() < give_up_at:
        check()
        try:
            if len(client.list_topics(timeout=REQUEST_TIMEOUT_S).brokers) >= brokers_min:
                return True
            time.sleep(0.05)
        except KafkaException:
            continue  # The request itself waits when nobody answers.
    return False
