"""Asks Kafka where partitions end, for those who wait until the gate has read that far. One task of the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import KafkaException

from pipeline.clock import steady_s
from pipeline.gate.freshness import Freshness, Partition, WaitingRoom
from pipeline.logs import Repeats

log = structlog.get_logger(__name__)

ASK_EVERY_S: Final = 0.01
ASK_AGAIN_S: Final = 0.25
KNOWN_S: Final = 10.0
"""Senders that begin anew read consent updates from where the gate said that it knows them: not much further back."""

Answer = dict[Partition, tuple[int, int | None]]
Ask = Callable[[list[Partition], list[Partition]], Answer]
"""Ends of partitions and, for those of the second list, where this group begins to read. Blocks."""


class Asker:
    """One question at a time serves everybody who waits by then.

    Args:
        learned: Called when somebody may have something to wait for no longer.
    """

    def __init__(self, ask: Ask, room: WaitingRoom, freshness: Freshness, learned: Callable[[], None]) -> None:
        self._ask = ask
        self._room = room
        self._freshness = freshness
        self._learned = learned
        self._wanted = asyncio.Event()
        self._due: set[Partition] = set()
        self._epoch = 0
        self._repeats = Repeats()

    def want(self) -> None:
        """Somebody waits."""
        self._wanted.set()

    def keep_known(self, tp: Partition, now_s: float) -> None:
        """Ask for a partition's end once in `KNOWN_S` at least, though nobody waits for it."""
        if now_s - self._freshness.asked_at_s(tp) > KNOWN_S:
            self._due.add(tp)
            self._wanted.set()

    def forget(self) -> None:
        """The partitions are no longer ours: an answer on its way tells nothing."""
        self._epoch += 1
        self._due.clear()

    async def run(self) -> None:
        """Ask as long as somebody waits for an end that is not known, or one is due, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            partitions = list({*self._room.asking(), *self._due})
            if partitions:
                await asyncio.sleep(ASK_EVERY_S if await self._once(partitions) else ASK_AGAIN_S)
                self._wanted.set()

    async def _once(self, partitions: list[Partition]) -> bool:
        epoch, asked_at_s = self._epoch, steady_s()
        unknown = [tp for tp in partitions if self._freshness.position(tp) is None]
        try:
            answer = await asyncio.to_thread(self._ask, partitions, unknown)
        except KafkaException as exc:
            held_back = self._repeats.pass_now("ends", asked_at_s)
            if held_back is not None:
                log.warning("ends_unknown", error=str(exc), suppressed=held_back)
            return False
        if epoch == self._epoch:
            self._due.difference_update(answer)
            for tp, (end, begin) in answer.items():
                if begin is not None:
                    self._freshness.begins_at(tp, begin)
                self._room.answered(tp, asked_at_s, end)
            self._learned()
        return True
