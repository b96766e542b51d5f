"""After recipients were spread over more partitions: what was asked for earlier is judged earlier.

Producers hear of new partitions one after the other, within minutes. One that has heard writes to a new partition q
what it wrote to its parent (q mod the count of before) until then, whatever its hash. So a request that was read from q
waits until everything on the parent was re-routed that stood there by then, and until what came of that to q was taken:
it goes first. Consent updates and inbound events of the parent are waited for as well, as a judgement rests on them.
All that q holds back meanwhile goes through this in rounds, of about a second: a gate commits so often.

Pure bookkeeping on the event loop, but for `run`, one task of the gate, which asks Kafka.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog
from confluent_kafka import KafkaException

from pipeline.clock import steady_s, unix_ms
from pipeline.errors import ContractError
from pipeline.gate.asking import Ask
from pipeline.gate.freshness import Partition
from pipeline.gate.item import Item
from pipeline.logs import Repeats
from pipeline.records.codec import header_of
from pipeline.records.returning import REROUTED_HEADER, read_returning

log = structlog.get_logger(__name__)

ALSO_READ: Final = ("consent-updates", "inbound-events")
ASK_EVERY_S: Final = 0.1
STILL_S: Final = 2.0
"""A place that did not move for so long may be an end that no record has: it is looked at."""

First = Callable[[Partition, int], int]
"""Offset of the first record at or behind an offset; the end of the log if there is none. Blocks."""


@dataclass(slots=True)
class Round:
    """What one new partition waits for.

    Attributes:
        asked_ms: When it began, by this host's clock.
        direct: Requests that wait, of those that came directly: so many of the oldest.
        rerouted: The same of those that were re-routed.
        parents: Ends of the parents as they were then, by partition; what was committed up to there is dropped.
        parent: Of the parent of the topic itself: that end.
        end: Where the new partition itself ended once the parents were done; None: they are not.
    """

    asked_ms: int
    direct: int
    rerouted: int
    parents: dict[Partition, int]
    parent: tuple[int, int]
    end: int | None = None


@dataclass(slots=True)
class Queue:
    """What one new partition holds back."""

    topic: str
    direct: deque[Item] = field(default_factory=deque)
    rerouted: deque[Item] = field(default_factory=deque)
    round: Round | None = None


class Settling:
    """See the module.

    Args:
        before: Partitions of before.
        until_ms: Until when producers may not have heard; by this host's clock.
        topic: Full name of a topic by its short one.
        ask: Where partitions end, and what the gates' group has committed.
        first: Looks whether anything stands behind an offset.
        is_paused: Whether a partition is not fetched because too much of it is in hand.
        released: Called when something may be judged.
    """

    def __init__(
        self, before: int, until_ms: int, topic: Callable[[str], str], ask: Ask, first: First,
        is_paused: Callable[[Partition], bool], released: Callable[[], None],
    ) -> None:  # fmt: skip
        self.before = before
        self._until_ms = until_ms
        self._topic, self._ask, self._first = topic, ask, first
        self._is_paused, self._on_released = is_paused, released
        self._queues: dict[Partition, Queue] = {}
        self._settled: set[Partition] = set()
        self._taken: dict[Partition, int] = {}
        self._moved: dict[Partition, tuple[int, float]] = {}
        self._epoch = 0
        self._wanted = asyncio.Event()
        self._repeats = Repeats()
        self.released: deque[Item] = deque()

    def __len__(self) -> int:
        """Requests that are held back, or released and not judged yet."""
        held = sum(len(queue.direct) + len(queue.rerouted) for queue in self._queues.values())
        return held + len(self.released)

    def hold(self, item: Item) -> bool:
        """Hold a request back; False: it may be judged at once."""
        tp = item.tp
        queue = self._queues.get(tp)
        if tp[1] < self.before or (tp in self._settled and queue is None):
            return False
        if queue is None:
            queue = self._queues[tp] = Queue(item.topic)
        is_rerouted = header_of(item.headers, REROUTED_HEADER) is not None
        (queue.rerouted if is_rerouted else queue.direct).append(item)
        self._taken[tp] = item.offset + 1
        self._wanted.set()
        return True

    def drop(self) -> None:
        """The partitions go away: what is held back comes again elsewhere."""
        self._epoch += 1
        self._queues.clear()
        self._settled.clear()
        self._taken.clear()
        self._moved.clear()
        self.released.clear()

    # -- rounds ------------------------------------------------------------------------------------------------------
    def held(self, tp: Partition) -> tuple[int, int]:
        """How many requests wait that came to a partition directly, and how many that were re-routed to it."""
        queue = self._queues[tp]
        return len(queue.direct), len(queue.rerouted)

    def begin(self, tp: Partition, asked_ms: int, held: tuple[int, int], ends: dict[Partition, int]) -> None:
        """Begin a round for what a partition held back at that time: seen after it, its parents ended there."""
        parent = self.parents_of(tp)[0]
        self._queues[tp].round = Round(asked_ms, *held, dict(ends), (parent[1], ends[parent]))

    def committed(self, tp: Partition, places: dict[Partition, int]) -> bool:
        """Note what was committed of a partition's parents; True: all that its round waits for is re-routed."""
        queue = self._queues[tp]
        assert queue.round is not None  # noqa: S101  asked for rounds that are under way only
        queue.round.parents = {p: end for p, end in queue.round.parents.items() if places.get(p, -1) < end}
        return not queue.round.parents

    def is_taken(self, tp: Partition, end: int) -> bool:
        """Whether everything below that offset was taken from a new partition."""
        return self._taken.get(tp, -1) >= end

    def release(self, tp: Partition, now_s: float) -> None:
        """A round is over: what it was for may be judged, what was re-routed first."""
        queue = self._queues[tp]
        over = queue.round
        assert over is not None  # noqa: S101  called at the end of a round
        moved = 0
        while queue.rerouted and (moved < over.rerouted or _came_before(queue.rerouted[0], queue.topic, over.parent)):
            self._let_go(queue.rerouted.popleft(), over, now_s)
            moved += 1
        for _ in range(over.direct):
            self._let_go(queue.direct.popleft(), over, now_s)
        queue.round = None
        if over.asked_ms >= self._until_ms:
            # All producers have heard, and what they wrote to the parent before that is here.
            self._settled.add(tp)
        if not queue.direct and not queue.rerouted:
            del self._queues[tp]
        self._on_released()

    def parents_of(self, tp: Partition) -> list[Partition]:
        """The parent of a new partition, that of its own topic first."""
        own, parent = self._queues[tp].topic, tp[1] % self.before
        return [(self._topic(name), parent) for name in (own, *ALSO_READ)]

    def _let_go(self, item: Item, over: Round, now_s: float) -> None:
        self.released.append(item._replace(read_at_s=now_s, known_ms=over.asked_ms))

    # -- asking Kafka ------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Work rounds off as long as anything is held back, until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._look()
            except (KafkaException, TimeoutError) as exc:
                if self._repeats.pass_now("ask", steady_s()) is not None:
                    log.warning("settling_waits_for_kafka", error=str(exc))
            if not self._queues:
                self._wanted.clear()
            await asyncio.sleep(ASK_EVERY_S)

    async def _look(self) -> None:
        epoch = self._epoch
        for step in (self._begin_rounds, self._follow_parents, self._follow_own):
            await step()
            if epoch != self._epoch:
                return

    async def _begin_rounds(self) -> None:
        fresh = [tp for tp, queue in self._queues.items() if queue.round is None]
        if not fresh:
            return
        epoch, asked_ms = self._epoch, unix_ms()
        held = {tp: self.held(tp) for tp in fresh}
        parents = {tp: self.parents_of(tp) for tp in fresh}
        # The entrance first: whatever was granted before a request of it stands below the other ends, too.
        ends = await self._ends({parents[tp][0] for tp in fresh})
        ends |= await self._ends({parent for tp in fresh for parent in parents[tp][1:]})
        if epoch == self._epoch:
            for tp in fresh:
                self.begin(tp, asked_ms, held[tp], {parent: ends[parent] for parent in parents[tp]})

    async def _follow_parents(self) -> None:
        rounds = {tp: q.round for tp, q in self._queues.items() if q.round is not None and q.round.end is None}
        wanted = {parent: end for one in rounds.values() for parent, end in one.parents.items()}
        if not rounds:
            return
        epoch = self._epoch
        answer = await asyncio.to_thread(self._ask, list(wanted), list(wanted)) if wanted else {}
        places = {tp: begin for tp, (_, begin) in answer.items() if begin is not None}
        for parent, end in wanted.items():
            places[parent] = await self._place(parent, places.get(parent, 0), end)
        if epoch != self._epoch:
            return
        done = [tp for tp in rounds if self.committed(tp, places)]
        ends = await self._ends(set(done))
        if epoch == self._epoch:
            for tp in done:
                rounds[tp].end = ends[tp]

    async def _follow_own(self) -> None:
        for tp, queue in list(self._queues.items()):
            if queue.round is None or queue.round.end is None:
                continue
            epoch, end = self._epoch, queue.round.end
            taken = await self._place(tp, self._taken.get(tp, 0), end)
            if epoch != self._epoch:
                return
            if taken < end and self._is_paused(tp):
                # What it waits for stands behind more than may be held in memory.
                log.error("order_not_kept", topic=tp[0], partition=tp[1], held=len(queue.direct))
                taken = end
            if taken >= end:
                self.release(tp, steady_s())

    async def _ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        asked = list(partitions)
        answer = await asyncio.to_thread(self._ask, asked, []) if asked else {}
        return {tp: end for tp, (end, _) in answer.items()}

    async def _place(self, tp: Partition, place: int, end: int) -> int:
        """A place on the way to an end; the end itself if nothing but gaps is left before it."""
        before, since_s = self._moved.get(tp, (-1, 0.0))
        now_s = steady_s()
        if place != before:
            self._moved[tp] = (place, now_s)
        elif place < end and now_s - since_s >= STILL_S:
            self._moved[tp] = (place, now_s)
            return max(place, min(end, await asyncio.to_thread(self._first, tp, place)))
        return place


def _came_before(item: Item, topic: str, parent: tuple[int, int]) -> bool:
    """Whether a re-routed request stood on the parent, below that end."""
    try:
        source = read_returning(item.headers).source
    except ContractError:
        return False  # it is refused when its turn comes
    return source is not None and source["topic"] == topic and source["partition"] == parent[0] and (
        source["offset"] < parent[1]
    )  # fmt: skip
