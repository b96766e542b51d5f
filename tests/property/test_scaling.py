"""Wherever `topics scale` is killed, and however often: every person's records end up where a gate looks for them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records.codec import Headers
from pipeline.records.layout import Layout
from pipeline.streams.partition import partition_of
from pipeline.streams.scaling import RECIPIENT_TOPICS, TABLES, Moved, Record, Run, plan, present, refusal

BEFORE = 3
PEOPLE = [f"1555000{index:04d}" for index in range(12)]
OPERATIONS_MAX = 120
Entry = tuple[str, bytes | None, Headers]


class Killed(Exception):
    """The command was killed."""


@dataclass
class Memory:
    """Tables and journal in memory; the command is killed after so many operations.

    Attributes:
        logs: By table, one list of records per partition.
        is_running: Whether a gate runs; a run must not write while one does.
    """

    rng: random.Random
    logs: dict[str, list[list[Entry]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    known: Layout | None = None
    left: int = OPERATIONS_MAX
    clock_s: float = 0.0
    is_running: bool = True

    def step(self) -> None:
        """One more operation, if it may still be."""
        self.clock_s += 0.1
        if self.left <= 0:
            raise Killed
        self.left -= 1

    def gates(self) -> list[str]:
        """Gates leave once the journal says so."""
        self.step()
        self.is_running = self.known is None or self.known.is_open
        return []

    def extend(self, topics: Iterable[str], partitions: int) -> None:
        """Topics are extended one by one, and a kill may come between."""
        for topic in topics:
            self.step()
            self.counts[topic] = partitions
            if topic in self.logs:
                self.logs[topic] += [[] for _ in range(partitions - len(self.logs[topic]))]

    def records(self, topic: str, partition: int) -> list[Record]:
        """What stands there."""
        self.step()
        return [(key.encode(), value, headers) for key, value, headers in self.logs[topic][partition]]

    def write(self, topic: str, records: Iterable[Moved]) -> None:
        """Store all; if killed meanwhile, the beginning of what each partition was given."""
        assert not self.is_running
        given: dict[int, list[Entry]] = {}
        for record in records:
            given.setdefault(record.partition, []).append((record.key, record.value, record.headers))
        is_killed = self.left <= 0
        for partition, entries in given.items():
            kept = self.rng.randint(0, len(entries)) if is_killed else len(entries)
            self.logs[topic][partition] += entries[:kept]
        self.step()

    def layout(self) -> Layout | None:
        """The journal."""
        return self.known

    def journal(self, layout: Layout, audit: str | None = None) -> None:
        """Write it."""
        self.step()
        self.known = layout

    def now_s(self) -> float:
        """Time goes on by operations."""
        return self.clock_s

    def now_ms(self) -> int:
        """The same."""
        return int(self.clock_s * 1000)

    def sleep(self, seconds: float) -> None:
        """Nothing happens meanwhile."""
        self.clock_s += seconds

    def compact(self, topic: str) -> None:
        """Of some partitions only the newest record of each key is left."""
        for log in self.logs[topic]:
            if self.rng.random() < 0.5:
                newest = {entry[0]: entry for entry in log}
                log[:] = [entry for entry in log if newest[entry[0]] is entry]

    def newest(self, topic: str, partitions: int) -> dict[str, bytes]:
        """What a gate reads of each person: of the partition where the person is at home."""
        found: dict[str, bytes | None] = {}
        for person in PEOPLE:
            for key, value, _ in self.logs[topic][partition_of(person, partitions)]:
                if key == person:
                    found[person] = value
        return {key: value for key, value in found.items() if value is not None}


def seen_before(memory: Memory) -> dict[str, dict[str, bytes]]:
    """Let gates write for a while; what they see then."""
    layout = present(memory.known, memory.counts)
    for topic in TABLES:
        for person in memory.rng.choices(PEOPLE, k=memory.rng.randint(0, 20)):
            value = None if memory.rng.random() < 0.2 else b"%d" % memory.rng.getrandbits(30)
            memory.logs[topic][partition_of(person, layout.partitions)].append((person, value, []))
    return {topic: memory.newest(topic, layout.partitions) for topic in TABLES}


def attempt(memory: Memory, target: int) -> bool:
    """Run the command once; whether it came to its end."""
    layout = present(memory.known, memory.counts)
    assert refusal(layout, memory.counts, target) is None
    steps = plan(layout, memory.counts, target)
    try:
        if steps:
            Run(memory, layout, target, 9.0, lambda *_: None, lambda _: None).take(steps, timeout_s=10)
    except Killed:
        return False
    return True


@settings(max_examples=50)
@given(st.randoms(use_true_random=False), st.lists(st.integers(1, OPERATIONS_MAX), max_size=5), st.integers(2, 3))
def test_a_killed_run_is_finished_by_the_next(rng: random.Random, kills: list[int], times: int) -> None:
    """After any kills, with compaction between them, gates read of everybody what they read before; twice in a row."""
    memory = Memory(rng)
    memory.logs = {topic: [[] for _ in range(BEFORE)] for topic in TABLES}
    memory.counts = dict.fromkeys(RECIPIENT_TOPICS, BEFORE)
    target = BEFORE
    for _ in range(2):
        before, target = seen_before(memory), target * times
        for operations in kills:
            memory.left = operations
            is_done = attempt(memory, target)
            assert is_done is (memory.known is not None and memory.known.is_open and memory.known.partitions == target)
            for topic in TABLES:
                memory.compact(topic)
            if is_done:
                break
        memory.left = 10 * OPERATIONS_MAX
        assert attempt(memory, target)
        assert {topic: memory.newest(topic, target) for topic in TABLES} == before
        assert set(memory.counts.values()) == {target}
        assert memory.known is not None
        assert memory.known.is_open
        for topic in TABLES:
            for partition, log in enumerate(memory.logs[topic]):
                last = {key: value for key, value, _ in log}
                assert all(partition_of(key, target) == partition for key, value in last.items() if value is not None)
