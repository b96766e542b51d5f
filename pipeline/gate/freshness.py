"""Has the gate read far enough to say no? And who waits for it.

A grant that was written before a request must count for it, though both come on different topics. So before the gate
refuses for want of consent (or of a window), it finds out where that topic ends now, reads on to there, and judges
again. An end that is known and not reached is waited for in bounds: the last offset may be a marker of a transaction,
which nobody is given. One that Kafka does not tell is waited for as long as it takes: a slow broker is no reason to
refuse somebody for good. Meanwhile later requests of the same person wait behind, all others go on.

Pure bookkeeping on the event loop; `asking` is used by the task that asks Kafka for ends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

WAIT_S: Final = 10.0
"""A wait for a known end is over this long after the partition was last seen to move …"""
WAIT_MAX_S: Final = 60.0
"""… or this long after it began, whatever moves."""

Partition = tuple[str, int]
ChainKey = tuple[str, str]


class Freshness:
    """How far partitions have been processed, and where they were last seen to end."""

    def __init__(self) -> None:
        self._positions: dict[Partition, int] = {}
        self._ends: dict[Partition, tuple[float, int]] = {}
        self._moved: dict[Partition, float] = {}
        self._reached_ms: dict[Partition, int] = {}

    def processed(self, tp: Partition, offset: int, now_s: float) -> None:
        """A record of that partition has been processed, and all before it."""
        self._positions[tp] = offset + 1
        self._moved[tp] = now_s

    def begins_at(self, tp: Partition, position: int) -> None:
        """Reading of a partition began at that offset; known only if nothing of it was processed yet."""
        self._positions.setdefault(tp, position)

    def ends_at(self, tp: Partition, asked_at_s: float, end: int) -> None:
        """A question asked then was answered: the partition ended at that offset."""
        self._ends[tp] = (asked_at_s, end)

    def reached_at(self, tp: Partition, broker_ms: int) -> None:
        """A record of that broker time has been processed."""
        self._reached_ms[tp] = max(broker_ms, self._reached_ms.get(tp, 0))

    def heard_ms(self, tp: Partition, now_s: float, now_ms: int) -> int | None:
        """Broker time up to which everything on the partition has been processed; None: nobody knows yet.

        By the newest record, or, where the end was reached, by when it was asked for, which this host's clock tells.
        """
        reached_ms = self._reached_ms.get(tp)
        asked_at_s, end = self._ends.get(tp, (now_s, 0))
        if tp in self._ends and self.has_reached(tp, end):
            return max(reached_ms or 0, now_ms - int((now_s - asked_at_s) * 1000))
        return reached_ms

    def asked_at_s(self, tp: Partition) -> float:
        """When the end was asked for last, of the questions that were answered."""
        return self._ends.get(tp, (float("-inf"), 0))[0]

    def position(self, tp: Partition) -> int | None:
        """Offset up to which the partition has been processed, if known."""
        return self._positions.get(tp)

    def has_reached(self, tp: Partition, offset: int) -> bool:
        """Whether everything below that offset has been processed."""
        return self._positions.get(tp, -1) >= offset

    def is_current(self, tp: Partition, since_s: float) -> bool:
        """Whether everything has been processed that stood on the partition at that moment."""
        asked_at_s, end = self._ends.get(tp, (float("-inf"), 0))
        return asked_at_s >= since_s and self.has_reached(tp, end)

    def moved_at(self, tp: Partition) -> float:
        """When the partition was last seen to move, on the steady clock."""
        return self._moved.get(tp, float("-inf"))

    def forget(self) -> None:
        """The partitions are no longer ours."""
        self._positions.clear()
        self._ends.clear()
        self._moved.clear()
        self._reached_ms.clear()


@dataclass(slots=True)
class Waiter:
    """A request that waits until a partition has been read far enough.

    Attributes:
        work: What the gate keeps of the request.
        read_at_s: When it was read.
        since_s: When the present wait began.
        target: Offset that the partition it waits for has to be read up to; None: not known yet.
        settled: Partitions that it has waited for.
    """

    work: Any
    read_at_s: float
    since_s: float
    target: int | None = None
    settled: set[Partition] = field(default_factory=set)


class WaitingRoom:
    """Requests that wait, one chain per person and entrance; only the head of a chain waits for a partition."""

    def __init__(self, freshness: Freshness) -> None:
        self._freshness = freshness
        self._chains: dict[ChainKey, deque[Waiter]] = {}
        self._heads: dict[Partition, deque[tuple[ChainKey, Waiter]]] = {}

    def __len__(self) -> int:
        """Chains that wait."""
        return len(self._chains)

    def queue_behind(self, key: ChainKey, work: Any, read_at_s: float, now_s: float) -> bool:
        """Put a request behind those of the same person; False if nobody waits there."""
        chain = self._chains.get(key)
        if chain is None:
            return False
        chain.append(Waiter(work, read_at_s, now_s))
        return True

    def enter(self, key: ChainKey, waiter: Waiter, tp: Partition, now_s: float) -> None:
        """Let the head of a chain wait for a partition; a chain of its own begins if there is none."""
        waiter.since_s, waiter.target = now_s, None
        chain = self._chains.get(key)
        if chain is None:
            self._chains[key] = deque([waiter])
        self._heads.setdefault(tp, deque()).append((key, waiter))

    def release(self, now_s: float, *, may_give_up: bool = True) -> list[ChainKey]:
        """Chains whose head may be judged again: its partition was read far enough, or it has waited long enough.

        Args:
            may_give_up: Whether waiting long enough for an end that is known counts.
        """
        released: list[ChainKey] = []
        for tp, heads in self._heads.items():
            while heads:
                key, waiter = heads[0]
                reached = waiter.target is not None and self._freshness.has_reached(tp, waiter.target)
                if not reached and not (may_give_up and self._is_over(tp, waiter, now_s)):
                    break
                waiter.settled.add(tp)
                heads.popleft()
                released.append(key)
        return released

    def answered(self, tp: Partition, asked_at_s: float, end: int) -> None:
        """A question asked then was answered: whoever came before it has to wait for no more than this end."""
        self._freshness.ends_at(tp, asked_at_s, end)
        for _, waiter in self._heads.get(tp, ()):
            if waiter.target is None and waiter.read_at_s <= asked_at_s:
                waiter.target = end

    def head(self, key: ChainKey) -> Waiter | None:
        """The request whose turn it is in a chain; None: the chain has ended."""
        chain = self._chains.get(key)
        return chain[0] if chain else None

    def leave(self, key: ChainKey) -> None:
        """The head of a chain has been judged."""
        chain = self._chains[key]
        chain.popleft()
        if not chain:
            del self._chains[key]

    def asking(self) -> list[Partition]:
        """Partitions whose end has to be asked for."""
        return [tp for tp, heads in self._heads.items() if any(waiter.target is None for _, waiter in heads)]

    def clear(self) -> None:
        """The partitions are no longer ours."""
        self._chains.clear()
        self._heads.clear()

    def _is_over(self, tp: Partition, waiter: Waiter, now_s: float) -> bool:
        if waiter.target is None:
            return False
        moved = max(waiter.since_s, self._freshness.moved_at(tp))
        return now_s - moved >= WAIT_S or now_s - waiter.since_s >= WAIT_MAX_S
