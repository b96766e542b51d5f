"""The gate's producers: which record goes through which, and what each may give up."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import KafkaSettings, Settings
from pipeline.gate import app


class FakeDelivery:
    """Notes its properties and what it is given."""

    made: list[FakeDelivery]

    def __init__(self, conf: dict[str, Any], *_further: object, on_fatal: object = None) -> None:
        self.conf, self.topics = conf, list[str]()
        self.made.append(self)

    def produce(self, topic: str, *_record: object) -> None:
        """Note the topic."""
        self.topics.append(topic)


async def test_only_tables_may_leave_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has an order goes through a producer without a time-out, tables one that ends in a session."""
    FakeDelivery.made = []
    monkeypatch.setattr(app, "Delivery", FakeDelivery)
    made = app.outlets(Settings(kafka=KafkaSettings(session_timeout_s=10)), lambda _error: None)
    for topic in ("ready-normal", "consent", "outbound-events", "service-windows", "dead-letter"):
        made.produce(topic, b"{}", "1555", None, lambda _receipt, _error: None)
    by_topics = {tuple(one.topics): one.conf["message.timeout.ms"] for one in FakeDelivery.made}
    assert by_topics == {
        ("ready-normal", "dead-letter"): 0, ("outbound-events",): 0, ("consent", "service-windows"): 9000,
    }  # fmt: skip
    assert all(one.conf["enable.idempotence"] for one in FakeDelivery.made)
