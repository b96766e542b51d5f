"""Who waits for what, and how long."""

from __future__ import annotations

from pipeline.gate.freshness import WAIT_MAX_S, WAIT_S, Freshness, Waiter, WaitingRoom

TP = ("consent-updates", 3)
KEY = ("outbound-requests", "1555")
END = 100


def test_knowledge_is_current_only_after_asking_later() -> None:
    """An end that was asked for before the request came proves nothing about it."""
    fresh = Freshness()
    fresh.begins_at(TP, 5)
    fresh.ends_at(TP, asked_at_s=10.0, end=5)
    assert fresh.is_current(TP, 10.0)
    assert not fresh.is_current(TP, 10.1)
    fresh.ends_at(TP, asked_at_s=11.0, end=7)
    assert not fresh.is_current(TP, 10.1)
    fresh.processed(TP, 6, now_s=12.0)
    assert fresh.is_current(TP, 10.1)


def test_begin_never_overrides_what_was_processed() -> None:
    """The committed offset lags behind; the position of this assignment wins."""
    fresh = Freshness()
    fresh.processed(TP, 9, now_s=1.0)
    fresh.begins_at(TP, 2)
    assert fresh.position(TP) == 10
    fresh.forget()
    assert fresh.position(TP) is None


def test_what_was_heard_is_told_by_the_newest_record_or_the_end() -> None:
    """Behind the end the newest record's time counts; at the end, when that was asked for; before both, nothing."""
    fresh = Freshness()
    assert fresh.heard_ms(TP, now_s=20.0, now_ms=100_000) is None
    fresh.begins_at(TP, 5)
    fresh.ends_at(TP, asked_at_s=10.0, end=7)
    assert fresh.heard_ms(TP, now_s=20.0, now_ms=100_000) is None
    fresh.processed(TP, 5, now_s=15.0)
    fresh.reached_at(TP, 40_000)
    assert fresh.heard_ms(TP, now_s=20.0, now_ms=100_000) == 40_000
    fresh.processed(TP, 6, now_s=15.0)
    fresh.reached_at(TP, 41_000)
    assert fresh.heard_ms(TP, now_s=20.0, now_ms=100_000) == 90_000
    fresh.forget()
    assert fresh.heard_ms(TP, now_s=20.0, now_ms=100_000) is None


def test_waiter_goes_when_its_end_is_reached() -> None:
    """The head of a chain is released when the partition was read up to the end seen after it came."""
    room = WaitingRoom(Freshness())
    room.enter(KEY, Waiter("a", 10.0, 10.0), TP, 10.0)
    assert room.asking() == [TP]
    room.answered(TP, asked_at_s=9.0, end=0)
    assert room.asking() == [TP]
    room.answered(TP, asked_at_s=10.5, end=4)
    assert room.asking() == []
    assert room.release(10.6) == []
    room._freshness.processed(TP, 3, 10.7)
    assert room.release(10.7) == [KEY]
    head = room.head(KEY)
    assert head is not None
    assert head.settled == {TP}


def test_later_ends_do_not_hold_back_who_came_before() -> None:
    """A partition that keeps growing keeps nobody waiting for ever."""
    room = WaitingRoom(Freshness())
    room.enter(KEY, Waiter("a", 10.0, 10.0), TP, 10.0)
    room.answered(TP, asked_at_s=10.5, end=4)
    room.answered(TP, asked_at_s=11.0, end=400)
    room._freshness.processed(TP, 3, 11.0)
    assert room.release(11.0) == [KEY]


def test_wait_is_bounded_and_prolonged_only_by_progress() -> None:
    """A wait ends so long after the partition last moved, and after a while whatever moves."""
    room, moved_s = WaitingRoom(Freshness()), 10.0 + WAIT_S - 0.5
    room.enter(KEY, Waiter("a", 10.0, 10.0), TP, 10.0)
    room.answered(TP, 10.0, END)
    assert room.release(10.0 + WAIT_S - 0.1) == []
    room._freshness.processed(TP, 0, moved_s)
    assert room.release(10.0 + WAIT_S) == []
    assert room.release(moved_s + WAIT_S) == [KEY]
    room.leave(KEY)
    room.enter(KEY, Waiter("b", 50.0, 50.0), TP, 50.0)
    room.answered(TP, 50.0, END)
    room._freshness.processed(TP, 1, 50.0 + WAIT_MAX_S - 0.1)
    assert room.release(50.0 + WAIT_MAX_S) == [KEY]


def test_an_end_that_is_not_told_is_waited_for() -> None:
    """As long as Kafka does not say where the partition ends, nobody is refused, however long that takes."""
    room = WaitingRoom(Freshness())
    room.enter(KEY, Waiter("a", 10.0, 10.0), TP, 10.0)
    assert room.release(10.0 + 100 * WAIT_MAX_S) == []
    room.answered(TP, 9.0, END)  # asked before the request came: says nothing about what stood there then
    assert room.release(10.0 + 100 * WAIT_MAX_S) == []
    room.answered(TP, 11.0, END)
    room._freshness.processed(TP, END - 1, 12.0)
    assert room.release(12.0) == [KEY]


def test_later_requests_of_a_person_queue_behind() -> None:
    """Order per person holds while the first waits; other persons and entrances are not held up."""
    room = WaitingRoom(Freshness())
    assert not room.queue_behind(KEY, "early", 1.0, 1.0)
    room.enter(KEY, Waiter("a", 1.0, 1.0), TP, 1.0)
    assert room.queue_behind(KEY, "b", 2.0, 2.0)
    assert not room.queue_behind(("outbound-requests-urgent", "1555"), "c", 2.0, 2.0)
    room.answered(TP, 1.0, 0)
    room._freshness.begins_at(TP, 0)
    assert room.release(2.0) == [KEY]
    assert [room.head(KEY).work] == ["a"]  # type: ignore[union-attr]
    room.leave(KEY)
    assert [room.head(KEY).work] == ["b"]  # type: ignore[union-attr]
    room.leave(KEY)
    assert room.head(KEY) is None
    assert len(room) == 0


def test_head_may_wait_a_second_time_for_another_topic() -> None:
    """First the window, then the consent: the chain stays, and nobody overtakes."""
    room, other = WaitingRoom(Freshness()), ("inbound-events", 3)
    waiter = Waiter("a", 1.0, 1.0)
    room.enter(KEY, waiter, other, 1.0)
    room.queue_behind(KEY, "b", 2.0, 2.0)
    room.answered(other, 1.0, 0)
    room._freshness.begins_at(other, 0)
    assert room.release(9.0) == [KEY]
    room.enter(KEY, waiter, TP, 9.0)
    room.answered(TP, 9.0, END)
    assert room.release(9.0 + WAIT_S - 0.1) == []
    assert room.release(9.0 + WAIT_S, may_give_up=False) == []
    assert room.release(9.0 + WAIT_S) == [KEY]
    assert waiter.settled == {TP, other}
    room.clear()
    assert len(room) == 0
