"""The gate's two producers: which record goes through which, and what each may give up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.config import KafkaSettings
from pipeline.gate import outlets
from pipeline.gate.outlets import Outlets


class FakeDelivery:
    """Notes its properties and what it is given."""

    made: list[FakeDelivery]

    def __init__(self, conf: dict[str, Any], _loop: object) -> None:
        self.conf, self.topics = conf, list[str]()
        self.made.append(self)

    def produce(self, topic: str, *_record: object) -> None:
        """Note the topic."""
        self.topics.append(topic)


async def test_only_tables_may_leave_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has an order goes through a producer without a time-out, tables one that ends in a session."""
    FakeDelivery.made = []
    monkeypatch.setattr(outlets, "Delivery", FakeDelivery)
    kafka = KafkaSettings(session_timeout_s=10)
    both = Outlets(kafka, asyncio.get_running_loop(), ["consent", "service-windows"])
    for topic in ("ready-normal", "consent", "outbound-events", "service-windows", "dead-letter"):
        both.produce(topic, b"{}", "1555", None, lambda _receipt, _error: None)
    by_timeout = {one.conf["message.timeout.ms"]: one.topics for one in FakeDelivery.made}
    assert by_timeout == {0: ["ready-normal", "outbound-events", "dead-letter"], 9000: ["consent", "service-windows"]}
    assert all(one.conf["enable.idempotence"] for one in FakeDelivery.made)
