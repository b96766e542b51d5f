"""Takes the markers of erased persons away once they have done their work.

An erase leaves a marker that refuses grants of before. Older grants than `consent-updates` keeps cannot be read any
more, so after that time the marker is only the trace of a person who asked for none: it goes, by a tombstone. One task
per assignment walks through the table's partitions, slowly, once a day; the worker looks at each key again and writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from itertools import islice
from typing import Any, Final, Protocol

from pipeline.clock import parse_rfc3339_ms, steady_s, unix_ms
from pipeline.gate.item import Item
from pipeline.records.codec import decode_object
from pipeline.records.consent_rule import is_consent

CONSENT: Final = "consent"
FIRST_S: Final = 600.0
EVERY_S: Final = 86_400.0
PIECE_KEYS: Final = 500
PIECE_S: Final = 0.5
"""A thousand keys a second: a million people in a quarter of an hour, for a thousandth of the processor."""
_EMPTY: Final = b'"entries":[]'

Entries = Callable[[int, bytes], Iterator[tuple[bytes, bytes]]]
"""Keys and values of a partition of the table, in the order of keys, from a key on."""


class Target(Protocol):
    """Who writes the tombstones."""

    async def merge_again(self, items: list[Item]) -> None:
        """Look at these keys again; ends when that is done, or when the partitions went away."""


def is_spent(value: dict[str, Any] | None, now_ms: int, retention_ms: int) -> bool:
    """Whether a person's consent is nothing but the marker of an erase that no update of before can reach any more."""
    if value is None or value["entries"] or value["erased_at"] is None:
        return False
    return parse_rfc3339_ms(value["erased_at"]) + retention_ms < now_ms


class ErasedSweep:
    """Walks through the table.

    Args:
        topic: Full name of the table's topic.
        retention_ms: Of `consent-updates`.
        spawn: Starts a task by name; sees to it that a bug in it ends the process.
    """

    def __init__(
        self,
        topic: str,
        retention_ms: int,
        entries: Entries,
        target: Target,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        self._topic, self._retention_ms, self._entries = topic, retention_ms, entries
        self._target, self._spawn = target, spawn
        self._partitions: list[int] = []
        self._task: asyncio.Task[None] | None = None

    def assigned(self, partitions: Iterable[int]) -> None:
        """Partitions were assigned; nothing happens before `recovered`."""
        self._partitions = list(partitions)

    def recovered(self) -> None:
        """The table has caught up: begin, after a while."""
        if self._task is None and self._partitions:
            self._task = self._spawn(self._run(), "gate-erased")

    async def stop(self) -> None:
        """The partitions go away; a recovery of theirs that ends later begins nothing."""
        self._partitions = []
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def walk(self, now_ms: int) -> None:
        """Go through all partitions once."""
        for partition in self._partitions:
            after = b""
            while True:
                piece = list(islice(self._entries(partition, after), PIECE_KEYS))
                spent = [key for key, value in piece if self._is_spent(value, now_ms)]
                if spent:
                    await self._target.merge_again([self._item(partition, key, now_ms) for key in spent])
                if len(piece) < PIECE_KEYS:
                    break
                after = piece[-1][0] + b"\0"
                await asyncio.sleep(PIECE_S)

    async def _run(self) -> None:
        await asyncio.sleep(FIRST_S)
        while True:
            await self.walk(unix_ms())
            await asyncio.sleep(EVERY_S)

    def _is_spent(self, value: bytes, now_ms: int) -> bool:
        if _EMPTY not in value:  # nearly all: not worth being parsed
            return False
        record = decode_object(value)
        return is_consent(record) and is_spent(record, now_ms, self._retention_ms)

    def _item(self, partition: int, key: bytes, now_ms: int) -> Item:
        return Item("remerge", CONSENT, (self._topic, partition), -1, now_ms, key, None, None, steady_s())
