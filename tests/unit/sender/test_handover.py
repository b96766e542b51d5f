"""Who gives a lane up ends what it began, and tells the next owner from where the ledger is needed."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.sender.handover import DRAIN_S, MARK_TIMEOUT_S
from pipeline.sender.lane import Lane
from tests.support.sender_values import ADA, LANE, job, record
from tests.unit.sender.making import MARKS, Bench, Make, settle

EVENT = {"event_id": "end-r-1", "type": "accepted", "recipient": ADA}


# -- draining --------------------------------------------------------------------------------------------------------
def busy(world: Bench, lane: Lane, seconds: float) -> None:
    """Something is on its way."""
    world.ctx.spawn(lane, asyncio.sleep(seconds))


def test_draining_waits_for_what_is_on_its_way(bench: Make) -> None:
    """Nothing new may start, and all that was begun in any lane is let end."""
    world = bench()
    lanes = [world.opened(), world.lane(1)]
    lanes[1].is_open = True
    busy(world, lanes[0], 1.0)
    busy(world, lanes[1], 2.0)
    began_s = world.now_s
    world.run(world.handover.drain())
    assert all(lane.draining for lane in lanes)
    assert not any(lane.tasks for lane in lanes)
    assert world.now_s - began_s == pytest.approx(2.0, abs=0.1)


def test_draining_has_one_deadline(bench: Make) -> None:
    """However many lanes do not come to an end, the group does not wait longer for this member."""
    world = bench()
    lanes = [world.opened(), world.lane(1), world.lane(2)]
    for lane in lanes:
        lane.is_open = True
        busy(world, lane, 1000.0)
    began_s = world.now_s
    world.run(world.handover.drain())
    assert world.now_s - began_s == pytest.approx(DRAIN_S, abs=0.1)
    assert all(lane.tasks for lane in lanes), "they are left, not stopped: an answer may still come"


@pytest.mark.parametrize(("others", "seconds"), [(0, 0.0), (1, 2.0)], ids=["nothing else", "an answer still comes"])
def test_draining_does_not_wait_for_a_lease_that_is_lost(bench: Make, others: int, seconds: float) -> None:
    """Only the next assignment brings it back: who waits for it keeps nobody else, and the group, waiting."""
    world = bench()
    lane = world.opened()
    world.stream.lease.revoke()
    world.ctx.spawn(lane, world.ctx.ours(lane))
    world.run_for(0.1)
    for _ in range(others):
        busy(world, lane, seconds)
    began_s = world.now_s
    world.run(world.handover.drain())
    assert world.now_s - began_s == pytest.approx(seconds, abs=0.1)
    assert len(lane.tasks) == 1
    world.handover.close_all()
    world.run_for(1.0)
    assert not lane.tasks, "the lane is closed: what waited ends"


def test_draining_does_not_wait_for_a_take_over(bench: Make) -> None:
    """A lane that is not open yet has nothing on its way."""
    world = bench(follows=False)
    lane = world.lane()
    world.ctx.spawn(lane, world.takeover.open(lane, 2))
    world.run_for(1.0)
    began_s = world.now_s
    world.run(world.handover.drain())
    assert world.now_s - began_s < 0.1
    assert lane.draining


# -- closing ---------------------------------------------------------------------------------------------------------
def test_after_the_hand_over_nothing_is_done_for_a_lane(bench: Make) -> None:
    """The mark first, then no wake-up, no acknowledgement, no attempt: whatever the lease says."""
    world = bench()
    lane = world.opened()
    stored = world.ready()
    world.deliver(stored)
    world.run_for(1.0)
    assert world.pumped == [["r-1"]]
    world.scheduling.look_at(lane, world.now_s + 10.0)
    timer = lane.timer
    assert timer is not None
    world.ctx.metrics.show_stops(lane.number, ("webhook",))
    world.run(world.handover.hand_over())
    assert [mark["id"] for mark in world.log(MARKS)] == [LANE]
    assert lane.closed
    assert timer.cancelled()
    assert not world.ctx.lanes
    assert not world.ctx.may_act(lane)
    world.ctx.acknowledge_job(lane, lane.jobs["r-1"])
    world.run_for(20.0)
    assert world.stream.windows.position(stored.where) is None
    assert world.pumped == [["r-1"]]
    stops = world.ctx.metrics.number_stopped.labels(lane.number, "webhook")
    assert stops._value.get() == 0


def test_what_is_not_owned_gets_no_mark(bench: Make) -> None:
    """A lane that is not open, is lost, or may be lost, is left to its mark of before."""
    world = bench()
    lane = world.opened()
    lane.is_open = False
    world.run(world.handover.mark_all())
    lane.is_open = True
    world.stream.lease.revoke()
    world.run(world.handover.mark_all())
    world.stream.lease.renew(1e9)
    lane.closed = True
    world.run(world.handover.mark_all())
    assert not world.log(MARKS)


def test_a_mark_that_cannot_be_written_holds_nobody_up(bench: Make) -> None:
    """An old mark only makes the next owner read more: the lane is handed over all the same."""
    world = bench(outages=((10.0, 1000.0),))
    lane = world.opened()
    world.run_for(11.0)
    began_s = world.now_s
    world.run(world.handover.hand_over())
    assert world.now_s - began_s <= MARK_TIMEOUT_S + 0.1
    assert lane.closed


# -- what is kept of a lane that comes back ----------------------------------------------------------------------------
def test_a_lane_that_comes_back_is_read_on(bench: Make) -> None:
    """After a hand-over in good order only what was written since is read; all that was known is known."""
    world = bench()
    lane = world.opened()
    settle(world, lane, "r-1", "ready-normal")
    known = lane.ledger
    world.run(world.handover.drain())
    world.run(world.handover.hand_over())
    world.ledger(record("opened", 3), record("attempt", 3, "r-9"))
    world.handover.forget_others([lane.partition])
    back = world.opened(4)
    assert back.ledger is known
    assert back.ledger.unknown_ids() == ["r-9"]
    assert back.ledger.ids["r-1"].settled


def test_what_is_kept_of_other_lanes_is_forgotten(bench: Make) -> None:
    """Nothing is kept of a lane that goes to somebody else."""
    world = bench()
    world.opened()
    world.run(world.handover.hand_over())
    assert world.ctx.kept
    world.handover.forget_others([])
    assert not world.ctx.kept


@pytest.mark.parametrize("why", ["a write on its way", "an unknown outcome"])
def test_nothing_is_kept_if_the_memory_may_differ_from_the_log(bench: Make, why: str) -> None:
    """The fate of a write is open, or others' records lie in between: the next assignment reads the ledger."""
    world = bench()
    lane = world.opened()
    if why == "an unknown outcome":
        lane.unknown["r-1"] = job("r-1")
    else:
        busy(world, lane, 1000.0)
    world.handover.close_all()
    assert not world.ctx.kept


def test_nothing_is_kept_without_a_lease(bench: Make) -> None:
    """A late answer of an expelled owner lands behind the next owner's records: its memory would pass over those."""
    world = bench()
    lane = world.opened()
    world.writes(lane, "attempt", "r-1")
    world.stream.lease.revoke()
    world.ledger(record("opened", 3), record("attempt", 3, "r-9"))
    world.run(world.finish.write_ledger(lane, record("settled", 2, "r-1", event=EVENT), owned=False))
    world.run(world.handover.drain())
    world.run(world.handover.hand_over())
    world.stream.lease.renew(1e9)
    back = world.opened(4)
    assert back.ledger.unknown_ids() == ["r-9"]
