"""Messages from people count against the throughput of a Cloud number, as those to them do (Meta, throughput).

With `count_inbound` a sender follows `inbound-events` from its start on and charges the lanes of such numbers. What the
webhooks report late is charged late: the bucket then owes it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import orjson

from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.sender.context import Context
from pipeline.streams.follow import Follower

IS_MESSAGE = b'"type":"message"'
"""Three of four events are statuses: told apart without reading them. A body that contains this is read, no more."""


class InboundCount:
    """Charges lanes for what comes in.

    Args:
        loop: Of the lanes.
    """

    def __init__(self, settings: Settings, ctx: Context, loop: asyncio.AbstractEventLoop) -> None:
        self._ctx = ctx
        self._numbers = frozenset(name for name, number in settings.numbers.items() if number.count_inbound)
        self._follower: Follower | None = None
        if self._numbers:
            topic = settings.topic("inbound-events")
            self._follower = Follower(settings.kafka, topic, self.apply, loop, from_ms=unix_ms())

    def start(self) -> None:
        """Begin to count, if a number asks for it."""
        if self._follower is not None:
            self._follower.start()

    async def stop(self) -> None:
        """Count no more."""
        if self._follower is not None:
            await self._follower.stop()

    def apply(self, batch: list[Any]) -> None:
        """Charge for the messages among these events."""
        came = Counter(number for message in batch if (number := _number_of(message.value())) in self._numbers)
        now_s = self._ctx.steady_s()
        for lane in self._ctx.lanes.values():
            if lane.number in came:
                lane.bucket.charge(came[lane.number] / len(lane.settings.partitions or [0]), now_s)


def _number_of(value: bytes | None) -> str | None:
    """Number that a person wrote to; None: the event is no message."""
    if value is None or IS_MESSAGE not in value:
        return None
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(event, dict) or event.get("type") != "message":
        return None
    number = event.get("number")
    return number if isinstance(number, str) else None
