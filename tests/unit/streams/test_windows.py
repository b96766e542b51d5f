"""Acknowledgement windows: what a commit may cover."""

from __future__ import annotations

from pipeline.streams.windows import AckWindow, TopicPartition, Windows

TP = ("t", 0)


def test_nothing_finished_is_nothing_to_commit() -> None:
    """Without a finished record there is no position, so that nothing is committed."""
    windows = Windows()
    assert windows.open(TP, 7)
    assert windows.position(TP) is None
    assert windows.position(("other", 0)) is None


def test_a_gap_holds_the_position() -> None:
    """Records finished out of order are covered only when those before them are."""
    window = AckWindow()
    for offset in (3, 4, 5):
        window.open(offset)
    window.done(4)
    window.done(5)
    assert (window.position, window.first_unfinished, len(window)) == (None, 3, 3)
    window.done(3)
    assert (window.position, window.first_unfinished, len(window)) == (6, None, 0)


def test_missing_offsets_are_no_gap() -> None:
    """Offsets that no record has (control records, compaction) do not hold the position up."""
    window = AckWindow()
    window.open(3)
    window.open(10)
    window.done(3)
    assert window.position == 4
    window.done(10)
    assert window.position == 11


def test_a_record_is_delivered_once() -> None:
    """A record that is delivered again in the same assignment is told to be here already."""
    windows = Windows()
    assert windows.open(TP, 3)
    assert not windows.open(TP, 3)
    assert not windows.open(TP, 2)
    assert windows.open(TP, 4)
    assert windows.unfinished() == 2


def test_finishing_what_is_not_delivered_yet_is_not_remembered() -> None:
    """A task of an older assignment finishes a record ahead of delivery: delivered here, it must be finished here."""
    window = AckWindow()
    window.open(0)
    window.done(1)
    window.open(1)
    window.done(0)
    assert (window.position, window.first_unfinished) == (1, 1)


def test_finishing_twice_or_a_stranger_changes_nothing() -> None:
    """Late and unknown acknowledgements are harmless."""
    window = AckWindow()
    window.open(5)
    window.done(2)
    window.done(5)
    window.done(5)
    window.done(99)
    assert window.position == 6


def test_after_a_revoke_nothing_of_the_old_assignment_counts() -> None:
    """What is finished after its partition was taken away is not committed by us."""
    windows = Windows()
    windows.open(TP, 3)
    windows.forget_all()
    windows.done(TP, 3)
    assert windows.position(TP) is None
    assert windows.partitions() == []
    assert windows.open(TP, 3)


def test_it_counts_what_is_going_on() -> None:
    """Watchdogs see how much is unfinished and whether anything finishes."""
    windows = Windows()
    windows.open(TP, 1)
    windows.open(("u", 1), 1)
    windows.done(TP, 1)
    assert (windows.unfinished(), windows.finished) == (1, 1)
    assert sorted(windows.partitions()) == [("t", 0), ("u", 1)]
    window = windows.of(TP)
    assert window is not None
    assert window.last_opened == 1


def test_a_partition_equals_a_plain_pair() -> None:
    """Keys of windows may come from Faust or from us."""
    assert TopicPartition("t", 0) == ("t", 0)
    assert hash(TopicPartition("t", 0)) == hash(("t", 0))
