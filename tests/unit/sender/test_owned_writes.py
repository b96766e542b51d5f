"""Without a valid lease no copy, no event and no acknowledgement: they are left to whoever owns the lane by then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.sender_kafka import BASE_MS, Stored
from tests.support.sender_values import BOB
from tests.unit.sender.making import LEDGER, Bench, Make, accepted
from tests.unit.sender.sending import EVENTS, LOST, THROTTLED, Api, position, sends, taken, told, written

HOUR_MS = 3_600_000
Begin = Callable[[Bench], Stored]


def on(world: Bench, topic: str, what: Callable[[], Any], **fields: Any) -> None:
    """Let something happen in the moment in which such a record lands on a log, once."""
    done: list[bool] = []

    def watch(stored: Stored) -> None:
        is_it = stored.where[0] == topic and all(stored.json().get(name) == value for name, value in fields.items())
        if is_it and not done:
            done.append(True)
            what()

    world.kafka.watchers.append(watch)


def with_lane(bench: Make, *answers: Any) -> tuple[Bench, Api]:
    """A lane that sends."""
    world = bench(profile="cloud")
    api = sends(world, *answers)
    world.opened()
    world.run_for(2.0)
    return world, api


def sent(world: Bench) -> Stored:
    """A message that is sent, whatever the API says."""
    stored = world.ready(source_ms=BASE_MS + 1_000, expires_ms=BASE_MS + 9 * HOUR_MS)
    world.deliver(stored)
    return stored


def copied(world: Bench, **fields: Any) -> Stored:
    """A message that stands on a delayed topic, and is not due before its copy matures."""
    one = {"attempt": 1, "due_ms": BASE_MS + 7_000, "reason": "throttled", **fields}
    stored = world.ready(topic="delayed-retry", source_ms=BASE_MS + 1_000, **one)
    world.deliver(stored)
    return stored


def hopping(world: Bench) -> Stored:
    """A copy that matures before its message is due."""
    return copied(world, due_ms=BASE_MS + 20_000)


def returning(world: Bench) -> Stored:
    """A copy that goes back to the gate when it is due."""
    return copied(world, via_gate=True)


def duplicate(world: Bench) -> Stored:
    """Another request with the id of one that is in memory."""
    lane = next(iter(world.ctx.lanes.values()))
    world.deliver(world.ready(due_ms=BASE_MS + 600_000, topic="delayed-retry", reason="throttled"))
    assert list(lane.jobs) == ["r-1"]
    stored = world.ready("r-1", 5, recipient=BOB)
    world.deliver(stored)
    return stored


def repeated(world: Bench) -> Stored:
    """The record of a request that was settled, and whose event may be missing."""
    stored = world.ready()
    lane = next(iter(world.ctx.lanes.values()))
    world.run(world.finish.write_ledger(lane, accepted(lane.generation)))
    world.deliver(stored)
    return stored


def poison(world: Bench) -> Stored:
    """A record that nobody can read."""
    stored = world.kafka.append(("ready-normal", 0), b"k", b"{}")
    world.deliver(stored)
    return stored


LAST_WRITES: list[tuple[Begin, list[Any], str]] = [
    (sent, [], EVENTS),
    (sent, [THROTTLED], EVENTS),
    (hopping, [], "delayed-retry"),
    (returning, [], "outbound-requests"),
    (duplicate, [], EVENTS),
    (repeated, [], EVENTS),
    (poison, [], "dead-letter"),
]


@pytest.mark.parametrize(
    ("begin", "answers", "topic"), LAST_WRITES,
    ids=["settled", "deferred", "hop", "to-the-gate", "duplicate", "repeat", "poison"],
)  # fmt: skip
def test_nothing_is_acknowledged_without_a_lease(bench: Make, begin: Begin, answers: list[Any], topic: str) -> None:
    """If the lease ends while the last write is on its way, the record is acknowledged only when it is back."""
    world, _ = with_lane(bench, *answers)
    stored = begin(world)
    on(world, topic, world.stream.lease.revoke)
    world.run_for(8.0)
    assert not world.stream.lease.valid, "the last write was made"
    assert (position(world, stored) or 0) <= stored.place
    world.stream.lease.renew(1e9)
    world.run_for(2.0)
    assert position(world, stored) == stored.place + 1


@pytest.mark.parametrize(
    ("answer", "kind", "topic"),
    [(taken(), "settled", EVENTS), (THROTTLED, "returned", "delayed-retry"), (LOST, None, "delayed-retry")],
    ids=["event", "copy-of-a-refusal", "copy-of-an-unknown"],
)
def test_nothing_is_written_without_a_lease(bench: Make, answer: Any, kind: str | None, topic: str) -> None:
    """If the lease ends while an answer's ledger record is on its way, no event and no copy follow until it is back."""
    world, api = with_lane(bench)
    answered: asyncio.Future[Any] = world.loop.create_future()
    api.answers.append(answered)
    sent(world)
    world.run_for(1.0)
    if kind is None:
        world.stream.lease.revoke()
    else:
        on(world, LEDGER, world.stream.lease.revoke, kind=kind)
    answered.set_result(answer)
    world.run_for(1.0)
    assert not world.stream.lease.valid
    assert world.log(topic) == []
    world.stream.lease.renew(1e9)
    world.run_for(1.0)
    assert len(world.log(topic)) == 1


@pytest.mark.parametrize("is_closed", [False, True], ids=["lease-over", "lane-given-up"])
def test_an_answer_is_written_down_whoever_owns_the_lane(bench: Make, is_closed: bool) -> None:
    """What the API answered is the truth: it goes to the ledger even after the lane was lost; the event does not."""
    world, api = with_lane(bench)
    lane = world.ctx.lanes[0]
    answer: asyncio.Future[Any] = world.loop.create_future()
    api.answers.append(answer)
    stored = sent(world)
    world.run_for(1.0)
    world.stream.lease.revoke()
    if is_closed:
        world.handover.close_all()
    answer.set_result(taken())
    world.run_for(2.0)
    assert written(world, lane, ("kind", "basis")) == [("attempt", None), ("settled", "answer")]
    assert told(world) == []
    assert position(world, stored) is None


def test_an_inference_is_not_written_without_a_lease(bench: Make) -> None:
    """What was concluded from checks is the owner's to say: a lane that was given up writes no settlement of it."""
    world, _ = with_lane(bench)
    lane = world.ctx.lanes[0]
    stored = world.ready(source_ms=BASE_MS + 1_000, expires_ms=BASE_MS + 1_500)
    end = world.finish.write_ledger

    async def lost_meanwhile(*args: Any, **how: Any) -> Any:
        world.stream.lease.revoke()
        return await end(*args, **how)

    world.finish.write_ledger = lost_meanwhile  # type: ignore[method-assign]
    world.deliver(stored)
    world.run_for(3.0)
    assert written(world, lane) == []
    world.stream.lease.renew(1e9)
    world.finish.write_ledger = end  # type: ignore[method-assign]
    world.run_for(2.0)
    assert written(world, lane, ("kind", "basis")) == [("settled", "check")]
    assert told(world) == [("expired", "expired")]


def test_a_lane_that_was_given_up_acknowledges_nothing(bench: Make) -> None:
    """After the hand-over a finished record changes no window: it is the next owner's."""
    world, _ = with_lane(bench)
    lane = world.ctx.lanes[0]
    stored = copied(world, due_ms=BASE_MS + 600_000)
    world.handover.close_all()
    world.ctx.acknowledge_job(lane, lane.jobs["r-1"])
    assert position(world, stored) is None
    assert not lane.finished
