"""Messages from people that count against a number's throughput."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.config import Settings
from pipeline.sender.inbound_count import InboundCount
from tests.support.kafka_message import KafkaMessage
from tests.support.sender_values import NUMBER
from tests.unit.sender.making import Bench, Make


def event(**fields: Any) -> KafkaMessage:
    """An inbound event."""
    return KafkaMessage(None, orjson.dumps({"type": "message", "number": NUMBER, "body": {}, **fields}))


def counting(world: Bench, *, counts: bool) -> InboundCount:
    """Who counts for this process."""
    numbers = {NUMBER: world.settings.numbers[NUMBER].model_copy(update={"count_inbound": counts})}
    settings: Settings = world.settings.model_copy(update={"numbers": numbers})
    return InboundCount(settings, world.ctx, world.loop)


def test_messages_take_tokens_and_statuses_do_not(bench: Make) -> None:
    """One token each; what is no message, of another number, or no event at all takes none."""
    world = bench(profile="cloud")
    lane = world.opened()
    world.run_for(2.0)
    before = lane.bucket.tokens(world.now_s)
    counting(world, counts=True).apply(
        [
            event(), event(), event(number="2"), event(type="status", body={"text": '"type":"message"'}),
            event(number=["1"]), KafkaMessage(None, b'"type":"message"'), KafkaMessage(None, b'["type":"message"]'),
            KafkaMessage(None, None),
        ]
    )  # fmt: skip
    assert before >= 2.0
    assert before - lane.bucket.tokens(world.now_s) == pytest.approx(2.0)


def test_numbers_that_do_not_ask_for_it_are_not_charged(bench: Make) -> None:
    """It is off unless the settings say so."""
    world = bench(profile="cloud")
    lane = world.opened()
    world.run_for(2.0)
    before = lane.bucket.tokens(world.now_s)
    counting(world, counts=False).apply([event()])
    assert lane.bucket.tokens(world.now_s) == before
