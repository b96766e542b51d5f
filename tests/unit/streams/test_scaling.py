"""More partitions for recipients: what is refused, what is left to do, who moves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from pipeline.errors import ContractError
from pipeline.records.codec import check
from pipeline.records.layout import MOVED_HEADER, SETTLE_MS, Layout, LayoutState, parse_layout
from pipeline.streams.partition import partition_of
from pipeline.streams.scaling import (
    APPENDED,
    RECIPIENT_TOPICS,
    TABLES,
    Moved,
    Record,
    Run,
    ScalingStopped,
    Split,
    opened,
    plan,
    present,
    refusal,
)

COUNTS = dict.fromkeys(RECIPIENT_TOPICS, 12)
NOW = Layout(12)
UNDER_WAY = Layout(12, target=24, step="move", moved=("consent",), run="one")
ADA = "15550109999"


@pytest.mark.parametrize(
    ("layout", "target", "why"),
    [
        (NOW, 6, "cannot be taken away: there are 12, 6 are fewer"),
        (NOW, 1, "cannot be taken away"),
        (NOW, 18, "no multiple of 12: .* take 24 or 24"),
        (NOW, 30, "take 24 or 36"),
        (UNDER_WAY, 48, "12 → 24 is under way: finish it first with `topics scale --recipients 24`"),
    ],
)
def test_what_cannot_be_is_refused(layout: Layout, target: int, why: str) -> None:
    """Fewer partitions, a count that does not split each of them, and another one while one is under way."""
    found = refusal(layout, COUNTS, target)
    assert found is not None
    assert re.search(why, found)


def test_one_step_at_a_time() -> None:
    """Before all producers have heard of the partitions there are, no more are added."""
    done = opened(UNDER_WAY, 24, 1000)
    said = refusal(done, dict.fromkeys(RECIPIENT_TOPICS, 24), 48, 2000)
    assert said == "producers may not have heard of the 24 yet: again after 1970-01-01T00:10:01.000Z"
    assert refusal(done, dict.fromkeys(RECIPIENT_TOPICS, 24), 24, 2000) is None
    assert refusal(done, dict.fromkeys(RECIPIENT_TOPICS, 24), 48, 1000 + SETTLE_MS) is None


def test_partitions_that_are_there_already_are_not_taken_away() -> None:
    """A topic that was given more than is asked for stops the command before it does anything."""
    said = refusal(NOW, {**COUNTS, "dead-letter": 48}, 24)
    assert said is not None
    assert said.startswith("dead-letter: more than 24")


def test_the_whole_plan() -> None:
    """Tables are widened and moved while nothing upstream can see it; entrances come last."""
    steps = plan(NOW, COUNTS, 24)
    assert [step.action for step in steps] == ["pause", "widen", "move", "append", "open"]
    assert steps[1].topics == steps[2].topics == TABLES
    assert steps[3].topics == APPENDED
    assert APPENDED[-2:] == ("outbound-requests", "outbound-requests-urgent")


def test_only_what_is_left_is_planned() -> None:
    """After a kill: gates are looked for again, tables that are moved and topics that are made are left alone."""
    counts = {**COUNTS, **dict.fromkeys(TABLES, 24)}
    steps = plan(UNDER_WAY, counts, 24)
    assert [step.action for step in steps] == ["pause", "move", "append", "open"]
    assert steps[1].topics == TABLES[1:]


def test_partitions_added_by_hand_are_moved_to() -> None:
    """After a bare alter nothing is to be made, but everybody is to be moved."""
    steps = plan(NOW, dict.fromkeys(RECIPIENT_TOPICS, 24), 24)
    assert [step.action for step in steps] == ["pause", "move", "open"]


def test_nothing_is_planned_twice() -> None:
    """Once it is done the same command does nothing."""
    done = opened(UNDER_WAY, 24, 1000)
    assert plan(done, dict.fromkeys(RECIPIENT_TOPICS, 24), 24) == []
    assert done == Layout(24, earlier=(12,), settling_until_ms=1000 + SETTLE_MS)
    assert done.counts == (12, 24)


def test_the_layout_is_the_lowest_count_where_nobody_wrote_one_down() -> None:
    """Some topics were extended by hand: people are where the fewest partitions are."""
    assert present(None, {**COUNTS, "inbound-events": 24}) == NOW
    assert present(UNDER_WAY, COUNTS) is UNDER_WAY


def test_a_layout_comes_back_from_its_record() -> None:
    """What the journal says is read as it was written; anything else is refused."""
    for layout in (NOW, UNDER_WAY, opened(UNDER_WAY, 24, 1000)):
        record = layout.record(5000, "ada")
        assert check(LayoutState, record).by == "ada"
        assert parse_layout(record) == layout
    assert parse_layout(None) is None
    with pytest.raises(ContractError):
        parse_layout({**NOW.record(0, "ada"), "step": "soon"})


def test_a_split_copies_who_leaves_and_leaves_a_tombstone() -> None:
    """Records of those who move are copied as they are, in order; a tombstone follows unless the last one was one."""
    home = partition_of(ADA, 2)
    mover = next(one for one in map(str, range(100)) if partition_of(one, 2) == home and partition_of(one, 4) != home)
    gone = next(
        one for one in map(str, range(100))
        if partition_of(one, 2) == home and partition_of(one, 4) != home and one != mover
    )  # fmt: skip
    stays = next(one for one in map(str, range(100)) if partition_of(one, 4) == home)
    split, headers = Split(home, 2, 4), [("schema", b"consent/1")]
    there = partition_of(mover, 4)
    assert split.copy(mover.encode(), b"1", headers) == Moved(mover, b"1", headers, there)
    assert split.copy(mover.encode(), b"2", headers) == Moved(mover, b"2", headers, there)
    assert split.copy(stays.encode(), b"1", headers) is None
    assert split.copy(gone.encode(), b"1", headers) is not None
    assert split.copy(gone.encode(), None, headers) == Moved(gone, None, headers, there)
    assert split.copy(None, b"1", headers) is split.copy(b"\xff", b"1", headers) is None
    assert list(split.tombstones()) == [Moved(mover, None, [(MOVED_HEADER, b"1")], home)]
    assert split.copies == 4


def test_what_an_earlier_move_left_behind_stays_there() -> None:
    """Old records of people who moved before must not come over newer ones, nor may their tombstones."""
    stale = next(one for one in map(str, range(100)) if partition_of(one, 2) == 0 and partition_of(one, 4) == 2)
    split = Split(0, 4, 8)
    assert split.copy(stale.encode(), b"old", []) is None
    back = next(one for one in map(str, range(100)) if partition_of(one, 4) == 0 and partition_of(one, 8) == 4)
    assert split.copy(back.encode(), None, [(MOVED_HEADER, b"1")]) is None
    assert list(split.tombstones()) == []


class Standing:
    """A cluster whose gates do not stop."""

    def __init__(self) -> None:
        self.written: list[Layout] = []
        self.clock_s = 0.0

    def gates(self) -> list[str]:
        """One stays."""
        return ["gate@/10.0.0.1"]

    def extend(self, topics: Iterable[str], partitions: int) -> None:
        """Must not happen."""
        raise AssertionError

    def records(self, topic: str, partition: int) -> Iterable[Record]:
        """Must not happen."""
        raise AssertionError

    def write(self, topic: str, records: Iterable[Moved]) -> None:
        """Take what comes."""
        list(records)

    def layout(self) -> Layout | None:
        """The newest."""
        return self.written[-1]

    def journal(self, layout: Layout, audit: str | None = None) -> None:
        """Keep it."""
        self.written.append(layout)

    def now_s(self) -> float:
        """By sleeping."""
        return self.clock_s

    def now_ms(self) -> int:
        """The same."""
        return int(self.clock_s * 1000)

    def sleep(self, seconds: float) -> None:
        """Go on."""
        self.clock_s += seconds


def test_gates_that_do_not_stop_are_named_and_go_on() -> None:
    """The command gives up, says who is in the way, and leaves the pipeline as it was."""
    cluster = Standing()
    run = Run(cluster, NOW, 24, 9.0, lambda *_: None, lambda _: None)
    with pytest.raises(ScalingStopped, match=r"did not stop within 5 s: gate@/10\.0\.0\.1; stop them") as caught:
        run.take(plan(NOW, COUNTS, 24), timeout_s=5)
    assert caught.value.exit_code == 75
    assert cluster.written[-1] == NOW


def test_gates_stay_stopped_once_tables_are_being_moved() -> None:
    """A later run that cannot go on must not let gates judge by half of the tables."""
    cluster = Standing()
    with pytest.raises(ScalingStopped):
        Run(cluster, UNDER_WAY, 24, 9.0, lambda *_: None, lambda _: None).take(plan(UNDER_WAY, COUNTS, 24), timeout_s=5)
    assert all(layout.step == "move" for layout in cluster.written)


def test_a_run_that_was_taken_over_writes_nothing_more() -> None:
    """A frozen command that wakes up finds another one's id in the journal, and ends before it opens anything."""
    cluster = Standing()
    run = Run(cluster, UNDER_WAY, 24, 9.0, lambda *_: None, lambda _: None)
    opening = plan(replace(UNDER_WAY, moved=TABLES), dict.fromkeys(RECIPIENT_TOPICS, 24), 24)[-1:]
    original = cluster.journal

    def overtaken(layout: Layout, audit: str | None = None) -> None:
        original(layout, audit)
        original(replace(layout, run="another"))

    cluster.journal = overtaken  # type: ignore[method-assign]  # somebody else writes right after us
    with pytest.raises(ScalingStopped, match="another run of this command has taken over"):
        run.take(opening, timeout_s=5)
    assert not cluster.written[-1].is_open
