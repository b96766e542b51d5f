"""Where the agents put what Faust delivers: one queue per entrance, bounded by pausing partitions.

Touched on the event loop only; nothing here blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, Final, Protocol

from pipeline.clock import steady_s
from pipeline.gate.freshness import Partition
from pipeline.gate.item import Item, Kind
from pipeline.streams.windows import Windows

WINDOW_HIGH: Final = 1000
"""Unfinished records of a partition at which it is not fetched any more …"""
WINDOW_LOW: Final = 500
"""… and at which it is fetched again."""
WINDOW_WIDE: Final = 20_000
"""The same of a partition whose requests wait for earlier ones, which may stand behind them."""
HELD_BYTES_MAX: Final = 64 * 1024 * 1024
ORDER: Final[tuple[Kind, ...]] = ("urgent", "update", "remerge", "inbound", "normal")
"""Who is judged first."""


class App(Protocol):
    """What the gate's worker needs of the Faust app."""

    windows: Windows

    def pause(self, tp: tuple[str, int]) -> None:
        """Fetch no more of a partition."""

    def resume(self, tp: tuple[str, int]) -> None:
        """Fetch it again."""

    def crash(self, reason: BaseException) -> Coroutine[Any, Any, None]:
        """End the process."""


class Intake:
    """The queues, and what they hold.

    Attributes:
        queues: Records that were not judged yet, by entrance.
        is_open: Whether records are taken; a record that is not taken comes again after the next assignment.
        wide_from: Partitions from this number on may have `WINDOW_WIDE` records in hand; None: none.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._paused: set[Partition] = set()
        self._held_bytes = 0
        self.queues: dict[Kind, deque[Item]] = {kind: deque() for kind in ORDER}
        self.is_open = False
        self.wide_from: int | None = None

    def __len__(self) -> int:
        """Records that were not judged yet."""
        return sum(map(len, self.queues.values()))

    def accept(self, kind: Kind, topic: str, message: Any) -> bool:
        """Take a record that Faust delivered; False: it is here already, or the partitions are being handed over."""
        tp = (message.topic, message.partition)
        if not self.is_open or not self._app.windows.open(tp, message.offset):
            return False
        item = Item(
            kind, topic, tp, message.offset, round(message.timestamp * 1000), message.key, message.value,
            message.headers, steady_s(),
        )  # fmt: skip
        self.queues[kind].append(item)
        self._held_bytes += item.size_bytes
        window = self._app.windows.of(tp)
        high = WINDOW_WIDE if self.wide_from is not None and tp[1] >= self.wide_from else WINDOW_HIGH
        is_full = window is not None and len(window) >= high
        if (is_full or self._held_bytes >= HELD_BYTES_MAX) and tp not in self._paused:
            self._paused.add(tp)
            self._app.pause(tp)
        return True

    def is_paused(self, tp: Partition) -> bool:
        """Whether a partition is not fetched, because too much is in hand."""
        return tp in self._paused

    def add_again(self, items: list[Item]) -> None:
        """Take consent updates that are merged a second time; they have no part in any window."""
        self.queues["remerge"].extend(items)
        self._held_bytes += sum(item.size_bytes for item in items)

    def finished(self, items: list[Item], size_bytes: int) -> None:
        """Everything that these records caused is on Kafka: they may be committed."""
        windows = self._app.windows
        for item in items:
            if item.kind != "remerge":
                windows.done(item.tp, item.offset)
        self._held_bytes = max(0, self._held_bytes - size_bytes)
        if self._paused and self._held_bytes <= HELD_BYTES_MAX // 2:
            self._resume()

    def drop(self, kinds: Iterable[Kind] = ORDER) -> None:
        """Forget what was not judged."""
        for kind in kinds:
            self.queues[kind].clear()

    def forget(self) -> None:
        """The partitions are no longer ours."""
        self.is_open = False
        self.drop()
        self._paused.clear()
        self._held_bytes = 0

    def _resume(self) -> None:
        for tp in list(self._paused):
            window = self._app.windows.of(tp)
            if window is None or len(window) <= WINDOW_LOW:
                self._paused.discard(tp)
                self._app.resume(tp)
