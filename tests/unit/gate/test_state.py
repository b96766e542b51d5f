"""What the gate knows of `account-state`."""

from __future__ import annotations

from pipeline.gate.state import AccountFacts
from tests.support.kafka_message import KafkaMessage

KEY = "campaign:spring"


def test_the_newest_value_counts() -> None:
    """A later record of a key replaces the earlier one, a tombstone removes it."""
    facts = AccountFacts()
    facts.apply([KafkaMessage(KEY.encode(), b'{"state": "paused"}')])
    assert facts.get(KEY) == {"state": "paused"}
    facts.apply([KafkaMessage(KEY.encode(), b'{"state": "running"}')])
    assert facts.get(KEY) == {"state": "running"}
    facts.apply([KafkaMessage(KEY.encode(), None)])
    assert facts.get(KEY) is None


def test_an_unreadable_value_changes_nothing() -> None:
    """A record that is no object leaves what was known, and those after it are read."""
    facts = AccountFacts()
    facts.apply([
        KafkaMessage(KEY.encode(), b'{"state": "paused"}'),
        KafkaMessage(KEY.encode(), b"not json"),
        KafkaMessage(b"number:1/quality", b'{"flagged": true}'),
    ])  # fmt: skip
    assert facts.get(KEY) == {"state": "paused"}
    assert facts.get("number:1/quality") == {"flagged": True}
