"""Messages in a lane's memory, in order: a job per message, a chain per (recipient, priority, entrance). Pure.

One message of a chain is in hand at a time; jobs of a chain stand in the order of their sources, whatever topic of
the lane they came from. Touched only on the event loop.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from pipeline.records.ready import ReadyMessage

Place = tuple[str, int, int]
"""Topic (full name), partition and offset of a record that is acknowledged when its job is finished."""


class Stage(IntEnum):
    """Where a job stands."""

    WAITING = 0
    IN_HAND = 1
    SETTLING = 2
    UNKNOWN = 3
    FINISHED = 4


class SourceOrder(NamedTuple):
    """Where a message stands among those to the same person.

    Offsets tell within a partition, whatever a broker's clock does. Two partitions meet only where recipients moved to
    more of them; there broker time tells.
    """

    source_ms: int
    partition: int
    offset: int

    def __lt__(self, other: tuple[int, ...]) -> bool:
        """Whether it goes first."""
        _, partition, offset = other
        return self.offset < offset if self.partition == partition else self[:2] < other[:2]


class Job:
    """One message in memory.

    Attributes:
        places: Records on Kafka that stand for it and are not acknowledged yet.
        home: The record that stood for it last, while there is none in `places`.
        attempt: Number of the last attempt.
        spent: Attempts that count against the maximum.
        due_s: Not sent before, on the steady clock; 0: at once.
        deferred: Whether a durable copy of it stands on a delayed topic.
        holds_recipient: Whether no other message to this person may be in hand now (v1).
        copy_ms: Broker time of the newest copy, 0: none.
        copy_turn: Copies of one message are written one after the other, see `turn`; made when first asked for.
        reason: Why it waits, in the words of the contract; empty: it never did.
        written_s: When its last request was written, steady clock.
        unknown_since_s: When its newest attempt without an outcome was made, steady clock.
        unknown_attempt_ms: Broker time of that attempt.
        trace: W3C trace context of the request, kept on all that is written about it.
        waits_since_ms: When its wait for the next request began, ms since 1970; 0: it waits for none any more.
    """

    __slots__ = (
        "attempt", "chain", "copy_ms", "copy_turn", "deferred", "due_s", "holds_recipient", "home", "hops", "message",
        "order", "places", "priority", "reason", "spent", "stage", "trace", "unknown", "unknown_attempt_ms",
        "unknown_since_s", "waits_since_ms", "written_s",
    )  # fmt: skip

    def __init__(self, message: ReadyMessage, priority: int) -> None:
        self.message = message
        self.priority = priority
        self.order = SourceOrder(message.source_ms, *message.source[1:])
        self.places: list[Place] = []
        self.home: Place | None = None
        self.stage = Stage.WAITING
        self.attempt = message.attempt
        self.spent = message.spent
        self.hops = message.hops
        self.unknown = message.unknown
        self.due_s = 0.0
        self.deferred = False
        self.holds_recipient = False
        self.copy_ms = 0
        self.copy_turn: asyncio.Lock | None = None
        self.reason = ""
        self.trace: bytes | None = None
        self.waits_since_ms = 0
        self.written_s = 0.0
        self.unknown_since_s = 0.0
        self.unknown_attempt_ms = 0
        self.chain: Chain | None = None

    def turn(self) -> asyncio.Lock:
        """Who holds it may write a copy: the newest by broker time counts, so it has to be the last one decided."""
        if self.copy_turn is None:
            self.copy_turn = asyncio.Lock()
        return self.copy_turn

    @property
    def goes_to_gate(self) -> bool:
        """Whether it is judged anew when it is due; an unknown outcome is resolved first."""
        return self.message.via_gate and not self.unknown

    @property
    def rank(self) -> tuple[bool, SourceOrder]:
        """Its place in a chain: one of unknown outcome may have gone already, so nothing goes before it."""
        return not self.unknown, self.order


def _rank(job: Job) -> tuple[bool, SourceOrder]:
    return job.rank


ChainKey = tuple[str, int, str]


class Chain:
    """Jobs that must go one after the other."""

    __slots__ = ("jobs", "key", "queued")

    def __init__(self, key: ChainKey) -> None:
        self.key = key
        self.jobs: list[Job] = []
        self.queued = False

    @property
    def head(self) -> Job:
        """The job whose turn it is."""
        return self.jobs[0]

    def add(self, job: Job) -> None:
        """Put a job into its place; behind the head if that is, or may have been, in hand already."""
        is_first_fixed = bool(self.jobs) and (self.head.stage is not Stage.WAITING or self.head.unknown)
        insort(self.jobs, job, lo=int(is_first_fixed), key=_rank)
        job.chain = self


class Chains:
    """All chains of a lane, and those whose head may go, by priority."""

    def __init__(self, priorities: int) -> None:
        self._chains: dict[ChainKey, Chain] = {}
        self._ready: tuple[deque[Chain], ...] = tuple(deque() for _ in range(priorities))

    def __len__(self) -> int:
        return len(self._chains)

    def add(self, job: Job) -> Chain:
        """Put a job into its chain."""
        key = (job.message.recipient, job.priority, job.message.source[0])
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = Chain(key)
        chain.add(job)
        return chain

    def remove(self, job: Job) -> Chain | None:
        """Take a finished job out; returns its chain if somebody is left in it."""
        chain = job.chain
        if chain is None:
            return None
        chain.jobs.remove(job)
        job.chain = None
        if not chain.jobs:
            del self._chains[chain.key]
            return None
        return chain

    def offer(self, chain: Chain, *, first: bool = False) -> None:
        """Queue a chain whose head may go; `first`: before all others of its priority."""
        if chain.queued or not chain.jobs or chain.head.stage is not Stage.WAITING:
            return
        chain.queued = True
        queue = self._ready[chain.key[1]]
        if first:
            queue.appendleft(chain)
        else:
            queue.append(chain)

    def take(self, priority: int) -> Chain:
        """Take the chain whose turn it is.

        Raises:
            IndexError: none of that priority waits.
        """
        chain = self._ready[priority].popleft()
        chain.queued = False
        return chain

    @property
    def queued(self) -> bool:
        """Whether any chain is queued."""
        urgent, normal, bulk = self._ready
        return bool(urgent or normal or bulk)

    def waiting(self) -> tuple[bool, bool, bool]:
        """Whether chains of each priority are queued."""
        urgent, normal, bulk = self._ready
        return bool(urgent), bool(normal), bool(bulk)

    def __iter__(self) -> Iterator[Chain]:
        return iter(self._chains.values())
