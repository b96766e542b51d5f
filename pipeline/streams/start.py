"""What a role without a Faust app waits for before it begins: Kafka, and the topics as they must be."""

from __future__ import annotations

import asyncio
from typing import Final

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import BrokerRefused, BrokerUnreachable
from pipeline.health import Health
from pipeline.streams import acls, topics

CHECK_STEP_S: Final = 5.0
MIN_CHECK_S: Final = 1.0


async def topics_are_there(settings: Settings, role: str, stop: asyncio.Event, health: Health) -> bool:
    """Wait for Kafka and check the topics; False if the process was asked to stop meanwhile.

    Args:
        role: Who asks, by its name in `acls.NEEDS`.
        health: Told in its condition `kafka` why this takes long; whether it is met, the caller knows.

    Raises:
        BrokerRefused: Kafka answered, and wants another login or certificate, or does not allow this user what the
            role needs: nothing comes right by waiting.
        BrokerUnreachable: it did not answer within `kafka.startup_timeout_s`.
        TopicsWrong: topics are missing or made differently.
    """
    deadline_s = steady_s() + settings.kafka.startup_timeout_s
    while not stop.is_set():
        left_s = max(deadline_s - steady_s(), MIN_CHECK_S)
        try:
            step_s = min(left_s, CHECK_STEP_S)
            await asyncio.to_thread(acls.require, settings, role, step_s)
            await asyncio.to_thread(topics.require, settings, step_s)
        except BrokerUnreachable as exc:
            if isinstance(exc, BrokerRefused) or steady_s() >= deadline_s:
                raise
            health.miss("kafka", str(exc))
        else:
            return True
    return False
