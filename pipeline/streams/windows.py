"""Which records of a partition are finished, and how far a commit may go: only over the gapless finished beginning.

Pure; touched only on the event loop. One `AckWindow` per assigned partition, made anew with each assignment.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class TopicPartition(NamedTuple):
    """A partition, equal and hashing like Faust's TP."""

    topic: str
    partition: int


class AckWindow:
    """Offsets of one partition from the first unfinished one on, in the order of delivery.

    Attributes:
        expected: Where reading begins; None: not known.
        gap_at: The first record, if it came from behind that; None: no gap, or one that is proven to be empty.
        position: Offset up to which everything is finished; None: nothing is.
        last_opened: Newest record delivered.
    """

    __slots__ = ("_finished", "_pending", "expected", "gap_at", "last_opened", "position")

    def __init__(self, expected: int | None = None) -> None:
        self._pending: deque[int] = deque()
        self._finished: set[int] = set()
        self.expected = expected
        self.gap_at: int | None = None
        self.position: int | None = None
        self.last_opened: int | None = None

    def __len__(self) -> int:
        """Records delivered, and not yet covered by the position."""
        return len(self._pending)

    def open(self, offset: int) -> bool:
        """A record was delivered.

        Returns:
            False if it is not newer than the last one delivered: it is here already.
        """
        if self.last_opened is not None and offset <= self.last_opened:
            return False
        if self.last_opened is None and self.expected is not None and offset > self.expected:
            self.gap_at = offset
        self.last_opened = offset
        self._pending.append(offset)
        return True

    def done(self, offset: int) -> None:
        """A record is finished: everything that it caused is on Kafka. Unknown offsets change nothing."""
        pending, finished = self._pending, self._finished
        if not pending or not pending[0] <= offset <= pending[-1]:
            return
        finished.add(offset)
        while pending and pending[0] in finished:
            first = pending.popleft()
            finished.discard(first)
            self.position = first + 1

    @property
    def first_unfinished(self) -> int | None:
        """Lowest offset that a commit must not pass, or None."""
        return self._pending[0] if self._pending else None


class Windows:
    """The windows of all assigned partitions of a process."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, int], AckWindow] = {}
        self._expected: dict[tuple[str, int], int] = {}
        self.finished = 0

    def open(self, tp: tuple[str, int], offset: int) -> bool:
        """A record was delivered; False if it was delivered before in this assignment."""
        window = self._windows.get(tp)
        if window is None:
            window = self._windows[tp] = AckWindow(self._expected.get(tp))
        return window.open(offset)

    def expect(self, tp: tuple[str, int], offset: int) -> None:
        """Reading of a partition begins at this offset; before its first record is delivered."""
        self._expected[tp] = offset

    def gaps(self) -> list[tuple[tuple[str, int], int, int]]:
        """Partitions whose first record came from behind the place where reading began: (partition, place, record)."""
        return [
            (tp, window.expected or 0, window.gap_at)
            for tp, window in self._windows.items()
            if window.gap_at is not None
        ]

    def close_gap(self, tp: tuple[str, int]) -> None:
        """The gap is proven to hold no record."""
        window = self._windows.get(tp)
        if window is not None:
            window.gap_at = None

    def partitions(self) -> list[tuple[str, int]]:
        """Partitions that have a window."""
        return list(self._windows)

    def committable(self) -> list[tuple[str, int]]:
        """Partitions whose position may be committed."""
        return [tp for tp, window in self._windows.items() if window.gap_at is None]

    def done(self, tp: tuple[str, int], offset: int) -> None:
        """A record is finished. After its partition was taken away this changes nothing."""
        window = self._windows.get(tp)
        if window is not None:
            self.finished += 1
            window.done(offset)

    def of(self, tp: tuple[str, int]) -> AckWindow | None:
        """The window of a partition, or None if nothing of it was delivered in this assignment."""
        return self._windows.get(tp)

    def next_of(self, tp: tuple[str, int]) -> int:
        """Offset behind the newest record delivered, or where reading begins; 0 before that is known."""
        window = self._windows.get(tp)
        if window is None or window.last_opened is None:
            return self._expected.get(tp, 0)
        return window.last_opened + 1

    def position(self, tp: tuple[str, int]) -> int | None:
        """Offset up to which everything is finished, or None if nothing is."""
        window = self._windows.get(tp)
        return window.position if window is not None else None

    def unfinished(self) -> int:
        """Records delivered and not finished, over all partitions."""
        return sum(len(window) for window in self._windows.values())

    def forget_all(self) -> None:
        """The assignment ended: what is finished from now on is not committed by us."""
        self._windows.clear()
        self._expected.clear()
