"""Ids of one person that became known after messages were judged: what `recipient-aliases` has said since.

A message brings the other ids of its person along, as the gate knew them when it judged. This list adds what was
learned since the opt-out reader's beginning, which lies before the oldest unsent message. So an opt-out under any id of
a person is obeyed with all gates stopped, and memory is that of hours, not of all people. Applied on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import structlog

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import RecordError
from pipeline.logs import Repeats
from pipeline.records.alias import MAX_IDS, is_alias
from pipeline.records.canonical import is_name
from pipeline.records.codec import decode_object, header_of
from pipeline.records.layout import MOVED_HEADER
from pipeline.records.ready import ReadyMessage
from pipeline.streams.follow import Follower

log = structlog.get_logger(__name__)

TOPIC: Final = "recipient-aliases"
MAX_PEOPLE: Final = 500_000
"""About 200 MB. Beyond, the oldest go: their messages rely on a gate, which translates each opt-out within a moment."""


class AliasList:
    """Neighbours by id, as far as one reading of the topic has shown. Pure."""

    def __init__(self) -> None:
        self._ids: dict[str, tuple[str, ...]] = {}
        self._repeats = Repeats()

    def __len__(self) -> int:
        return len(self._ids)

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take one record in; what cannot be read changes nothing."""
        one = (key or b"").decode(errors="replace")
        if value is None:
            self._ids.pop(one, None)
            return
        try:
            record = decode_object(value)
        except RecordError as exc:
            self._warn("alias_unreadable", error=str(exc))
            return
        if not is_alias(record):
            self._warn("alias_unreadable", error="recipient, at and ids are needed")
            return
        for other in (record["recipient"], *record.get("ids", [])):
            if other != one:
                self._join(one, other)
                self._join(other, one)

    def of(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """These ids and those that lead to or from them, over any number of steps; at most `MAX_IDS` more."""
        if not self._ids:
            return ids
        found = list(ids)
        for one in found:
            if len(found) >= len(ids) + MAX_IDS:
                break
            found += [other for other in self._ids.get(one, ()) if other not in found]
        return tuple(found)

    def _join(self, one: str, other: str) -> None:
        known = self._ids.get(one, ())
        if other not in known:
            self._ids[one] = (*known, other)[-MAX_IDS:]
        if len(self._ids) > MAX_PEOPLE:
            del self._ids[next(iter(self._ids))]
            self._warn("aliases_overflow", people=len(self._ids))

    def _warn(self, event: str, **details: Any) -> None:
        held_back = self._repeats.pass_now(event, steady_s())
        if held_back is not None:
            log.warning(event, suppressed=held_back, **details)


def joined(consents: Mapping[str, Mapping[str, Any]], recipient: str) -> dict[str, Mapping[str, Any]]:
    """Consents by id, those of one account as one: a yes under one name lifts a no under another.

    Another number keeps its own: a yes to it is no yes to this one.
    """
    numbers = {one: consent for one, consent in consents.items() if one != recipient and not is_name(one)}
    names = [consent for one, consent in consents.items() if one not in numbers]
    erased = [consent["erased_at"] for consent in names if consent["erased_at"] is not None]
    entries = [entry for consent in names for entry in consent["entries"]]
    return {**numbers, recipient: {"entries": entries, "erased_at": max(erased, default=None)}}


class Aliases:
    """The list and its reader.

    Args:
        follow: Makes the reader.

    Attributes:
        follower: The reader; None before `read_from`.
    """

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, follow: type[Follower] = Follower) -> None:
        self._settings, self._loop, self._follow = settings, loop, follow
        self._list = AliasList()
        self.follower: Follower | None = None
        self._old: set[asyncio.Task[None]] = set()

    def read_from(self, begin_ms: int) -> None:
        """Begin to read at a broker time, anew."""
        if self.follower is not None:
            task = self._loop.create_task(self.follower.stop())
            self._old.add(task)
            task.add_done_callback(self._old.discard)
        fresh = self._list = AliasList()

        def apply(batch: list[Any]) -> None:
            for message in batch:
                if header_of(message.headers(), MOVED_HEADER) is None:
                    fresh.apply(message.key(), message.value())

        topic = self._settings.topic(TOPIC)
        self.follower = self._follow(self._settings.kafka, topic, apply, self._loop, begin_ms)
        self.follower.start()

    def lag_s(self, now_s: float) -> float:
        """Age of the knowledge in seconds; infinite before the reading has reached the end once."""
        return self.follower.lag_s(now_s) if self.follower is not None else float("inf")

    def of(self, message: ReadyMessage) -> tuple[str, ...]:
        """Every id that the person of a message is known by."""
        return self._list.of((message.recipient, *message.aliases))

    async def stop(self) -> None:
        """End the reading."""
        if self.follower is not None:
            await self.follower.stop()
        for task in list(self._old):
            await task
