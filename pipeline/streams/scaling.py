"""More partitions for the recipient topics: what is done in which order, and what moves where. No I/O of its own.

People's records are keyed, so more partitions move them. The order of the steps is what keeps every promise:

1. `pause`   Gates stop, and their group is empty: what is committed has its effects on the tables, nothing else writes.
2. `widen`   The tables' topics get their partitions. Nobody upstream writes to those, so nobody can be too early.
3. `move`    Each record goes to its new partition; once all of a partition are stored there, tombstones follow.
4. `append`  The other topics get theirs, the entrances last: from here on producers spread over them, each when it
             hears of it.
5. `open`    Gates run again. What still stands on an old partition they re-route; what came to a new one directly they
             hold back until nothing earlier is left on its parent (`gate/settling.py`).

Killed anywhere, the same plan is made again from what the journal and the topics say, and goes on: 2 and 4 make what is
missing, 3 may be repeated, as gates have written nothing since. Each step is journalled on `account-state` under the
run's own id. A run that finds another id there has been taken over, and ends: one that was frozen must not copy old
records over what gates have written since.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, Literal, NamedTuple, Protocol

from pipeline.clock import rfc3339
from pipeline.errors import EXIT_TIMED_OUT, PipelineError
from pipeline.records.codec import Headers, header_of
from pipeline.records.layout import MOVED_HEADER, SETTLE_MS, Layout
from pipeline.streams.partition import partition_of
from pipeline.streams.topics import REQUESTS, TOPICS

RECIPIENT_TOPICS: Final = tuple(topic.name for topic in TOPICS if topic.kind == "recipient")
TABLES: Final = ("consent", "recipient-aliases", "service-windows", "tier-recipients", "suppressions")
"""What gates join by person. Suppressions are last: senders write them, too, and hear of the partitions meanwhile."""
APPENDED: Final = tuple(
    sorted((name for name in RECIPIENT_TOPICS if name not in TABLES), key=lambda name: name in REQUESTS)
)
"""Topics whose records stay where they are: events, and entrances, whose records gates re-route."""
MOVED: Final = b"1"

LOOK_EVERY_S: Final = 0.25
OWN_EVERY_S: Final = 2.0
"""How often a run looks whether it is still the one."""

Record = tuple[bytes | None, bytes | None, Headers]
"""Key, value, headers."""
Action = Literal["pause", "widen", "move", "append", "open"]


class Step(NamedTuple):
    """One step; the topics it is about."""

    action: Action
    topics: tuple[str, ...] = ()


class Moved(NamedTuple):
    """A record to be written, on that partition; no value is a tombstone."""

    key: str
    value: bytes | None
    headers: Headers
    partition: int


def present(layout: Layout | None, counts: Mapping[str, int]) -> Layout:
    """The layout that people are in: as it was written down, else the lowest count of the recipient topics."""
    if layout is not None:
        return layout
    return Layout(min(counts[name] for name in RECIPIENT_TOPICS))


def refusal(layout: Layout, counts: Mapping[str, int], target: int, now_ms: int = 0) -> str | None:
    """Why recipients cannot be spread over that many partitions (at this time); None: they can."""
    now = layout.partitions
    if layout.target is not None and layout.target != target:
        return f"{now} → {layout.target} is under way: finish it first with `topics scale --recipients {layout.target}`"
    if target < now:
        return f"partitions cannot be taken away: there are {now}, {target} are fewer"
    if target % now:
        return (
            f"{target} is no multiple of {now}: each partition is split, so that it is known what came before;"
            f" take {now * max(2, target // now)} or {now * (target // now + 1)}"
        )
    until_ms = layout.settling_until_ms
    if target > now and layout.is_open and until_ms is not None and until_ms > now_ms > 0:
        # What a partition's parent is must be known: one step at a time.
        return f"producers may not have heard of the {now} yet: again after {rfc3339(until_ms)}"
    more = [name for name in RECIPIENT_TOPICS if counts[name] > target]
    if more:
        return f"{', '.join(more)}: more than {target} partitions already; partitions cannot be taken away"
    return None


def plan(layout: Layout, counts: Mapping[str, int], target: int) -> list[Step]:
    """What is left to be done, in order; nothing: it is done.

    Args:
        counts: Partitions of each recipient topic, as the broker has them.
    """
    widen = tuple(name for name in TABLES if counts[name] < target)
    append = tuple(name for name in APPENDED if counts[name] < target)
    if layout.is_open and layout.partitions == target and not widen and not append:
        return []
    move = tuple(name for name in TABLES if name not in layout.moved) if layout.partitions < target else ()
    steps = [Step("pause"), Step("widen", widen), Step("move", move), Step("append", append), Step("open")]
    return [step for step in steps if step.topics or step.action in ("pause", "open")]


def opened(layout: Layout, target: int, now_ms: int) -> Layout:
    """The layout once everything is moved: gates may run, and know for how long producers may lag behind."""
    if layout.partitions == target:
        return replace(layout, target=None, step="open", moved=(), run=None)
    return Layout(target, earlier=(*layout.earlier, layout.partitions), settling_until_ms=now_ms + SETTLE_MS)


class Split:
    """What becomes of one partition of a table, record by record in the order of the log.

    Records that are at home elsewhere now are copied as they are, in order, so the newest is the last there, too.
    Skipped is what was not at home here before: what an earlier move left behind must not come over what is newer.

    Attributes:
        copies: Records copied so far.
    """

    def __init__(self, partition: int, before: int, target: int) -> None:
        self._partition, self._before, self._target = partition, before, target
        self._left: dict[str, bool] = {}
        self.copies = 0

    def copy(self, key: bytes | None, value: bytes | None, headers: Headers) -> Moved | None:
        """The copy of a record on its new partition; None: it stays, or is nobody's."""
        try:
            name = (key or b"").decode()
        except UnicodeDecodeError:
            return None
        home = partition_of(name, self._target)
        is_ours = partition_of(name, self._before) == self._partition
        if home == self._partition or not is_ours or header_of(headers, MOVED_HEADER) is not None:
            return None
        self._left[name] = value is not None
        self.copies += 1
        return Moved(name, value, headers, home)

    def tombstones(self) -> Iterator[Moved]:
        """What is left behind, once every copy is stored."""
        for key, is_there in self._left.items():
            if is_there:
                yield Moved(key, None, [(MOVED_HEADER, MOVED)], self._partition)


class ScalingStopped(PipelineError):
    """A run could not go on; what it has done stays, and the next one goes on from there.

    Operator action: do what the message says, then run the same command again.
    """

    exit_code = EXIT_TIMED_OUT


class Cluster(Protocol):
    """What a run needs of Kafka and of time. Every call blocks until it is done."""

    def gates(self) -> list[str]:
        """Who is in the gates' group."""

    def extend(self, topics: Iterable[str], partitions: int) -> None:
        """Give topics so many partitions, and wait until they show."""

    def records(self, topic: str, partition: int) -> Iterable[Record]:
        """Everything that stands on a partition by now, in order."""

    def write(self, topic: str, records: Iterable[Moved]) -> None:
        """Write records as they come; returns once all of them are stored."""

    def layout(self) -> Layout | None:
        """What the journal says."""

    def journal(self, layout: Layout, audit: str | None = None) -> None:
        """Write a layout to the journal, and what it means to the audit."""

    def now_s(self) -> float:
        """A clock that never steps."""

    def now_ms(self) -> int:
        """This host's date, ms."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Run:
    """One run of the command.

    Args:
        layout: As it was found.
        target: Partitions to be had in the end.
        session_s: Of the gates' group: what another process had in hand is stored by then, or never will be.
        tell: Called with what was done: step, sentence.
        advance: Told how many records of the tables were read by now.

    Attributes:
        copied: Records that were copied to another partition.
    """

    def __init__(
        self, cluster: Cluster, layout: Layout, target: int, session_s: float,
        tell: Callable[[str, str], None], advance: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._cluster, self._tell, self._advance = cluster, tell, advance
        self._target, self._session_s = target, session_s
        self._began_s = cluster.now_s()
        self._has_taken_over = layout.run is not None
        self._is_reversible = layout.step != "move"
        step: Literal["pause", "move"] = "pause" if self._is_reversible else "move"
        self._layout = replace(layout, target=target, run=uuid.uuid4().hex, step=step)
        self._own_s = float("-inf")
        self._read = 0
        self.copied = 0

    def take(self, steps: Iterable[Step], timeout_s: float) -> None:
        """Take the steps of a plan.

        Args:
            timeout_s: How long gates may take to stop.

        Raises:
            ScalingStopped: gates did not stop, or another run took over.
        """
        self._cluster.journal(self._layout, "begins")
        for step in steps:
            if step.action == "pause":
                self._pause(timeout_s)
            elif step.action == "move":
                self._move(step)
            elif step.action == "open":
                self._open()
            else:
                self._cluster.extend(step.topics, self._target)
                self._tell(step.action, f"{', '.join(step.topics)}: {self._target} partitions")

    def _pause(self, timeout_s: float) -> None:
        began_s = self._cluster.now_s()
        while members := self._cluster.gates():
            if self._cluster.now_s() - began_s > timeout_s:
                if self._is_reversible:
                    self._cluster.journal(replace(self._layout, target=None, step="open", run=None), "gave up")
                raise ScalingStopped(
                    f"gates did not stop within {timeout_s:.0f} s: {', '.join(members)}; stop them (a gate of an older"
                    " release does not do so by itself), then run this again"
                )
            self._cluster.sleep(LOOK_EVERY_S)
        self._tell("pause", f"no gate runs, after {self._cluster.now_s() - began_s:.1f} s; senders go on")
        self._layout = replace(self._layout, step="move")
        self._cluster.journal(self._layout)

    def _move(self, step: Step) -> None:
        if self._has_taken_over:
            self._cluster.sleep(max(0.0, self._began_s + self._session_s - self._cluster.now_s()))
        for topic in step.topics:
            began_s, copied = self._cluster.now_s(), self.copied
            for partition in range(self._layout.partitions):
                self._move_partition(topic, partition)
            self._layout = replace(self._layout, moved=(*self._layout.moved, topic))
            self._require_own()
            self._cluster.journal(self._layout)
            took_s = self._cluster.now_s() - began_s
            self._tell("move", f"{topic}: {self.copied - copied} records in {took_s:.1f} s")

    def _move_partition(self, topic: str, partition: int) -> None:
        split = Split(partition, self._layout.partitions, self._target)

        def copies() -> Iterator[Moved]:
            for record in self._cluster.records(topic, partition):
                self._read += 1
                self._advance(self._read)
                moved = split.copy(*record)
                if moved is not None:
                    yield moved

        # The one order that loses nothing, wherever this is killed: first every copy is stored, then nothing is left.
        self._cluster.write(topic, self._guarded(copies()))
        self._cluster.write(topic, self._guarded(split.tombstones()))
        self.copied += split.copies

    def _guarded(self, records: Iterable[Moved]) -> Iterator[Moved]:
        """The same records, as long as this run is the one."""
        for record in records:
            if self._cluster.now_s() - self._own_s > OWN_EVERY_S:
                self._require_own()
            yield record

    def _require_own(self) -> None:
        found = self._cluster.layout()
        if found is None or found.run != self._layout.run:
            raise ScalingStopped("another run of this command has taken over: this one ends")
        self._own_s = self._cluster.now_s()

    def _open(self) -> None:
        self._require_own()
        self._cluster.journal(opened(self._layout, self._target, self._cluster.now_ms()), "done")
        self._tell("open", "gates go on by themselves within seconds; start those that were stopped by hand")
