"""One id is one message: the same record again finishes what is missing, another record with its id is a duplicate."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from pipeline.sender.posting import digest_of
from tests.support.sender_kafka import BASE_MS, Stored
from tests.support.sender_values import BOB, job, message, record, source
from tests.unit.sender.making import Bench, Make, accepted, settle
from tests.unit.sender.sending import EVENTS, position, sends, taken, told

WINDOW_S = 60
TICKS_S = 62.0
"""Long enough for a look at what may be forgotten."""


def other_body(request_id: str = "r-1", offset: int = 9, **change: Any) -> dict[str, Any]:
    """Another request with a used id, and something in it that differs."""
    value = message(request_id, offset).record
    return {**value, "request": {**value["request"], **change}}


def write(world: Bench, value: dict[str, Any], topic: str = "ready-normal") -> Stored:
    """Such a record comes."""
    stored = world.kafka.write(topic, value)
    world.deliver(stored)
    world.run_for(0.1)
    return stored


# -- which requests are the same --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        ({"metadata": {"x": "y"}}, True),
        ({"message": {"text": {"body": "hello"}, "type": "text"}}, True),
        ({"message": {"type": "text", "text": {"body": "bye"}}}, False),
        ({"to": BOB}, False),
        ({"category": "service"}, False),
    ],
    ids=["same", "metadata", "order of keys", "text", "recipient", "category"],
)
def test_a_digest_tells_what_is_sent_to_whom(change: dict[str, Any], is_same: bool) -> None:
    """Recipient, category and message, in whatever order they were written; nothing else."""
    one, other = job(), job()
    other.message.record["request"].update(change)
    assert (digest_of(one) == digest_of(other)) is is_same


def in_memory(world: Bench) -> Lane:
    """The id belongs to a message that waits."""
    lane = world.opened()
    world.deliver(world.ready(topic="delayed-retry", due_ms=BASE_MS + 900_000, reason="throttled"))
    return lane


def claimed(world: Bench) -> Lane:
    """A predecessor tried the message; its record will come."""
    world.ledger(record("opened", 1), record("attempt", 1, digest=digest_of(job())), record("returned", 1))
    return world.opened()


def settled(world: Bench) -> Lane:
    """The message is done."""
    attempt = record("attempt", 1, digest=digest_of(job()))
    world.ledger(record("opened", 1), attempt, accepted(digest=digest_of(job())))
    return world.opened()


@pytest.mark.parametrize(
    ("change", "reason"),
    [({}, "duplicate"), ({"message": {"type": "text", "text": {"body": "bye"}}}, "request_id_conflict")],
    ids=["same body", "other body"],
)
@pytest.mark.parametrize("owner", [in_memory, claimed, settled])
def test_another_record_with_a_used_id_is_told_and_never_sent(
    bench: Make, owner: Any, change: dict[str, Any], reason: str
) -> None:
    """From the first attempt (or its place in memory) on an id is its first source's: the other is a duplicate."""
    world = bench()
    lane = owner(world)
    before = list(lane.jobs)
    stored = write(world, other_body(**change))
    [event] = world.log(EVENTS)
    assert (event["type"], event["reason"], event["source"]["offset"]) == ("duplicate", reason, 9)
    assert position(world, stored) == 1
    assert list(lane.jobs) == before


def test_the_first_source_has_the_id_though_another_was_settled_with_it(bench: Make) -> None:
    """The claim is the first attempt's: the record that it was made for is no duplicate when it comes again."""
    world = bench()
    claims = [record("attempt", 1, source=source(4)), accepted(source=source(9))]
    world.ledger(record("opened", 1), *claims)
    world.opened()
    write(world, other_body(offset=4))
    write(world, other_body(offset=9))
    assert [event["type"] for event in world.log(EVENTS)] == ["accepted", "duplicate"]


def test_of_two_records_that_wait_for_a_lane_the_first_source_has_the_id(bench: Make) -> None:
    """In whatever order topics are read while a lane is taken over: the earlier request counts."""
    world = bench()
    lane = world.lane()
    world.opening(lane)
    later = world.ready("r-1", 9, topic="ready-urgent")
    world.deliver(later, world.ready("r-1", 0))
    world.run_for(1.0)
    assert lane.jobs["r-1"].message.source[2] == 0
    assert [(event["type"], event["source"]["offset"]) for event in world.log(EVENTS)] == [("duplicate", 9)]


# -- the same record again ---------------------------------------------------------------------------------------------
def test_the_same_record_again_changes_nothing_in_memory(bench: Make) -> None:
    """The gate's own crash writes a record twice: one message, no event, both finished with it."""
    world = bench(profile="cloud")
    answer = world.loop.create_future()
    sends(world, answer)
    lane = world.opened()
    world.run_for(2.0)
    world.deliver(world.ready(source_ms=BASE_MS + 100))
    world.run_for(0.5)
    again = world.ready(topic="ready-urgent", source_ms=BASE_MS + 100)  # the gate was configured anew meanwhile
    world.deliver(again)
    world.run_for(0.5)
    assert (list(lane.jobs), told(world), position(world, again)) == (["r-1"], [], None)
    answer.set_result(taken())
    world.run_for(0.5)
    assert told(world) == [("accepted", None)]
    assert position(world, again) == 1


def test_the_same_record_of_a_settled_request_writes_a_missing_event_once(bench: Make) -> None:
    """What a crash left out is made good; a third copy of the record brings no further event."""
    world = bench()
    lane = settled(world)
    first, second = world.ready(), world.ready()
    for stored in (first, second):
        world.deliver(stored)
        world.run_for(0.1)
    assert [event["event_id"] for event in world.log(EVENTS)] == ["end-r-1"]
    assert not lane.jobs
    assert position(world, second) == 2


# -- replays -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcome", "replay", "is_sent"),
    [("failed", True, True), ("failed", False, False), ("accepted", True, False), ("expired", True, False)],
)
def test_a_replay_lifts_dedupe_for_an_id_that_failed(bench: Make, outcome: str, replay: bool, is_sent: bool) -> None:
    """And for no other: what was accepted is not sent again, whoever asks for it."""
    world = bench()
    world.ledger(record("opened", 1), accepted(outcome=outcome, basis="answer"))
    lane = world.opened()
    write(world, {**other_body(offset=0), "replay": replay})
    assert (list(lane.jobs) == ["r-1"]) is is_sent


@pytest.mark.parametrize("replay", [False, True])
def test_a_replay_may_come_from_another_record(bench: Make, replay: bool) -> None:
    """It takes the id over from the record that failed; without that header it is a duplicate."""
    world = bench()
    world.ledger(record("opened", 1), accepted(outcome="failed"))
    lane = world.opened()
    write(world, {**other_body(offset=9), "replay": replay})
    assert list(lane.jobs) == (["r-1"] if replay else [])
    assert [event["type"] for event in world.log(EVENTS)] == ([] if replay else ["duplicate"])


# -- how long an id is known -------------------------------------------------------------------------------------------
def later(world: Bench, lane: Lane) -> None:
    """Others are sent for longer than the dedupe window, and the clockwork looks at what may be forgotten."""
    for n in range(3):
        world.run_for(WINDOW_S + 1.0)
        settle(world, lane, f"x-{world.now_s}-{n}", "ready-urgent")
        world.commit()
    world.run_for(TICKS_S)


def test_settled_ids_are_forgotten_after_the_window(bench: Make) -> None:
    """Memory holds what was settled within the window, not all that ever was."""
    world = bench(dedupe_window_s=WINDOW_S, profile="v1")
    sends(world)
    lane = world.opened()
    settle(world, lane)
    world.commit()
    world.run_for(TICKS_S - 12.0)
    settle(world, lane, "r-2")
    world.commit()
    world.run(world.handover.mark(lane))  # what is committed is needed no more
    world.run_for(TICKS_S)
    assert "r-1" in lane.ledger.ids, "within the window"
    later(world, lane)
    world.run(world.handover.mark(lane))
    world.run_for(TICKS_S)
    assert not {"r-1", "r-2"} & lane.ledger.ids.keys()


def test_an_id_is_known_while_its_record_may_come_again(bench: Make) -> None:
    """Settled behind an unfinished record it is uncommitted: known beyond the window, and not sent again."""
    world = bench(dedupe_window_s=WINDOW_S, profile="v1")
    sends(world)
    lane = world.opened()
    lane.scopes.refused("number", "throttled", 0.0, world.now_s, 100_000.0, 0.0)
    stuck = world.ready("r-9", 5, recipient=BOB, expires_ms=BASE_MS + 100_000_000)
    world.deliver(stuck)
    settle(world, lane)
    later(world, lane)
    assert lane.ledger.ids["r-1"].settled
    assert lane.jobs["r-9"].stage is Stage.WAITING


def test_message_ids_are_known_while_statuses_are_told_apart_by_them(bench: Make) -> None:
    """On v1 a status proves what no settlement knows: settlements since 60 s before a doubtful attempt stay known."""
    world = bench(dedupe_window_s=WINDOW_S, profile="v1", unknown_wait_s=1_000.0)
    sends(world)
    lane = world.opened()
    settle(world, lane, "r-2", recipient=BOB)
    world.commit()
    world.run_for(10.0)
    attempt = record("attempt", lane.generation, "r-1")
    first = world.run(world.finish.write_ledger(lane, attempt))
    world.deliver(world.ready(source_ms=BASE_MS + 100))
    one = lane.jobs["r-1"]
    one.stage, one.unknown, one.unknown_attempt_ms = Stage.UNKNOWN, True, first.timestamp_ms
    lane.unknown["r-1"] = one
    later(world, lane)
    world.run(world.handover.mark(lane))
    world.run_for(TICKS_S)
    assert "wamid.r-2.1" in lane.ledger.message_ids
