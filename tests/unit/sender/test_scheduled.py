"""A message that the gate scheduled comes past those that still stand in a ready topic: it must not overtake them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.sender.jobs import Job
from pipeline.sender.lane import Lane
from pipeline.sender.scheduling import SCHEDULED, UNREAD_MAX_S
from tests.support.sender_values import message
from tests.unit.sender.making import Bench, Make

READY = ("ready-normal", 0)


def scheduled(world: Bench, lane: Lane, offset: int, **fields: Any) -> Job:
    """A message whose `not_before` was ahead is read from a delayed topic."""
    due_at = rfc3339(world.ctx.unix_ms() + 1000)
    value = {**message("r-later", offset).record, "reason": SCHEDULED, "due_at": due_at, **fields}
    world.deliver(world.kafka.write("delayed-retry", value))
    return lane.jobs["r-later"]


def test_it_waits_until_its_predecessors_are_read(bench: Make) -> None:
    """The ready topic holds an earlier request that was not delivered yet."""
    world = bench()
    lane = world.opened()
    earlier = world.ready("r-1", 0)
    job = scheduled(world, lane, 1)
    assert not world.scheduling.knows_predecessors(lane, job)
    world.deliver(earlier)
    assert world.scheduling.knows_predecessors(lane, job)
    assert job.chain is not None
    assert job.chain.head is lane.jobs["r-1"]


def test_a_later_one_that_was_read_proves_that_all_earlier_ones_were(bench: Make) -> None:
    """However much of the topic is unread: the gate writes the requests of a partition in their order."""
    world = bench()
    lane = world.opened()
    job = scheduled(world, lane, 1)
    world.ready("r-9", 9)
    world.deliver(world.ready("r-2", 2))
    world.ready("r-10", 10)
    lane.paused.add(READY)
    assert world.scheduling.knows_predecessors(lane, job)


def test_requests_of_another_partition_prove_nothing(bench: Make) -> None:
    """Each partition of the entrance has offsets of its own."""
    world = bench()
    lane = world.opened()
    job = scheduled(world, lane, 1)
    source = message("r-2", 2).record["source"]
    value = {**message("r-2", 2).record, "source": {**source, "partition": 5}}
    world.deliver(world.kafka.write("ready-normal", value))
    world.ready("r-0", 0)
    assert not world.scheduling.knows_predecessors(lane, job)


def test_a_paused_topic_is_not_read_to_its_end(bench: Make) -> None:
    """What it held when it was fetched last says nothing of what has come since."""
    world = bench()
    lane = world.opened()
    job = scheduled(world, lane, 1)
    lane.paused.add(READY)
    assert not world.scheduling.knows_predecessors(lane, job)
    lane.paused.clear()
    assert world.scheduling.knows_predecessors(lane, job)


@pytest.mark.parametrize("reason", ["throttled", "behind_deferred"])
def test_what_was_deferred_by_a_sender_waits_for_nothing(bench: Make, reason: str) -> None:
    """Its predecessors were read before it: it came by the ready topic itself."""
    world = bench()
    lane = world.opened()
    world.ready("r-1", 0)
    assert world.scheduling.knows_predecessors(lane, scheduled(world, lane, 1, reason=reason))


def test_a_copy_on_its_way_through_the_tiers_is_still_scheduled(bench: Make) -> None:
    """The next owner must know, too, that it came past the ready topic."""
    world = bench()
    lane = world.opened()
    job = scheduled(world, lane, 1)
    world.run(world.finish.hop(lane, job, job.places[0]))
    assert [copy["reason"] for copy in world.log("delayed-retry")] == [SCHEDULED, SCHEDULED]


def test_an_end_that_is_never_reached_holds_it_up_in_the_first_minute_only(bench: Make) -> None:
    """Gaps at the end of a topic never come; an unread backlog would have come by then."""
    world = bench()
    lane = world.opened()
    for number in range(3):
        world.ready(f"r-{number}", number)
    job = scheduled(world, lane, 5)
    world.pass_by(lane.opened_s + UNREAD_MAX_S - world.now_s)
    assert not world.scheduling.knows_predecessors(lane, job)
    world.pass_by(0.001)
    assert world.scheduling.knows_predecessors(lane, job)
    world.stream.windows.open(READY, 1)
    assert not world.scheduling.knows_predecessors(lane, job), "it is being read"
