"""A mark tells the next owner from where the ledger is needed: late enough to be short, and nothing is forgotten."""

from __future__ import annotations

import pytest

from pipeline.clock import rfc3339
from pipeline.sender.evidence import LOOK_BACK_MS
from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from pipeline.streams.topics import DELAYED
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import ADA, BOB, LANE, record
from tests.unit.sender.making import LEDGER, MARKS, Bench, Make, settle

EVENT = {"event_id": "end-r-1", "type": "accepted", "recipient": ADA}


def finish(world: Bench, lane: Lane, request_id: str) -> None:
    """A message in memory is sent, settled, and its event written."""
    one = lane.jobs[request_id]
    world.writes(lane, "attempt", request_id, source=one.message.record["source"])
    world.writes(lane, "settled", request_id, place=one.places[0], event=EVENT)
    lane.ledger.ids[request_id].event = None
    world.ctx.acknowledge_job(lane, one)
    world.scheduling.finished(lane, one)


# -- what a mark says ------------------------------------------------------------------------------------------------
def test_a_mark_has_all_that_a_reader_asks_for(bench: Make) -> None:
    """A mark tells offset, generation, last attempt, who wrote it and when; the account state understands it."""
    world = bench()
    lane = world.opened(4)
    first = world.writes(lane, "attempt")
    attempt_ms = world.kafka.log(LEDGER)[first].time_ms
    world.run(world.handover.mark(lane))
    (stored,) = world.kafka.log(MARKS)
    assert stored.raw_key == f"lane:{LANE}/mark".encode()
    assert stored.json() == {
        "kind": "lane", "id": LANE, "aspect": "mark", "needed": first, "generation": 4, "last_attempt_ms": attempt_ms,
        "partition": 0, "at": rfc3339(stored.time_ms - 1), "by": "host/1",
    }  # fmt: skip
    world.ctx.account.apply([stored])
    assert world.ctx.account.mark(LANE) == (first, 4, attempt_ms)
    assert world.ctx.account.mark(LANE, 0) == (first, 4, attempt_ms)
    assert world.ctx.account.mark(LANE, 7) is None, "that of a lane of before, on another partition"


def test_a_lane_without_news_is_needed_from_its_end(bench: Make) -> None:
    """Where everything is finished and committed, the next owner reads only what comes."""
    world = bench()
    lane = world.opened()
    assert world.handover.needed(lane) == 1
    settle(world, lane)
    world.commit()
    assert world.handover.needed(lane) == 3
    assert not lane.finished, "what is committed is forgotten"


@pytest.mark.parametrize("topic", ["ready-urgent", "ready-normal", "ready-bulk", *DELAYED])
def test_a_record_is_needed_until_its_source_or_copy_is_committed(bench: Make, topic: str) -> None:
    """A settled request whose record comes again must be known to the next owner, or it is sent again."""
    world = bench()
    lane = world.opened()
    first = settle(world, lane, topic=topic)
    settle(world, lane, "r-2")
    assert world.handover.needed(lane) == first
    assert world.handover.needed(lane) == first, "asking changes nothing"
    world.commit()
    assert world.handover.needed(lane) == lane.ledger.next_offset


def test_a_commit_covers_only_what_is_before_it(bench: Make) -> None:
    """A committed offset is the first that comes again: its record is still needed."""
    world = bench()
    lane = world.opened()
    settle(world, lane)
    world.commit()
    first = settle(world, lane, "r-2")
    assert world.stream.committed(("ready-normal", 0)) == 1
    assert world.handover.needed(lane) == first


def test_an_open_unknown_is_needed(bench: Make) -> None:
    """An attempt without an outcome is needed for as long as it has none, however much is settled after it."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1))
    lane = world.opened()
    for n in range(2, 6):
        settle(world, lane, f"r-{n}")
        world.commit()
    assert world.handover.needed(lane) == 1
    settle(world, lane)
    world.commit()
    assert world.handover.needed(lane) == lane.ledger.next_offset


def test_a_message_in_memory_is_needed(bench: Make) -> None:
    """A message that was tried and waits for its next attempt has no open attempt: its count is needed."""
    world = bench()
    lane = world.opened()
    world.deliver(world.ready())
    assert world.handover.needed(lane) == 1, "it was never tried: the ledger knows nothing of it"
    first = world.writes(lane, "attempt")
    world.writes(lane, "returned", spent=1)
    settle(world, lane, "r-2")
    assert world.handover.needed(lane) == first


def test_an_event_that_is_not_written_is_needed(bench: Make) -> None:
    """A settlement whose event is still on its way is read by the next owner, which writes it again."""
    world = bench()
    lane = world.opened()
    first = world.writes(lane, "attempt")
    world.writes(lane, "settled", event=EVENT)
    settle(world, lane, "r-2")
    assert world.handover.needed(lane) == first


def doubtful(world: Bench, lane: Lane, request_id: str = "r-1") -> int:
    """A message lost its answer; returns the offset of its attempt."""
    world.deliver(world.ready(request_id))
    first = world.writes(lane, "attempt", request_id)
    one = lane.jobs[request_id]
    one.stage, one.unknown_attempt_ms = Stage.UNKNOWN, world.kafka.log(LEDGER)[first].time_ms
    lane.unknown[request_id] = one
    return first


@pytest.mark.parametrize(("before_s", "is_needed"), [(50.0, True), (70.0, False)])
def test_message_ids_are_needed_while_evidence_is_looked_for(bench: Make, before_s: float, is_needed: bool) -> None:
    """Statuses from 60 s before a doubtful attempt on are told apart by the settled message ids."""
    assert LOOK_BACK_MS == 60_000
    world = bench(profile="v1")
    lane = world.opened()
    first = settle(world, lane, "r-2", recipient=BOB)
    world.commit()
    world.run_for(before_s)
    attempt = doubtful(world, lane)
    assert world.handover.needed(lane) == (first if is_needed else attempt)


def test_a_mark_tells_the_generation_in_force_at_its_offset(bench: Make) -> None:
    """Not the writer's: the reader begins there, and must know whose attempts count."""
    world = bench()
    world.ledger(record("opened", 3), record("attempt", 3), record("opened", 5), record("attempt", 5, "r-2"))
    lane = world.opened(9)
    world.run(world.handover.mark(lane))
    settle(world, lane, "r-1")
    world.commit()
    world.run(world.handover.mark(lane))
    settle(world, lane, "r-2")
    world.commit()
    world.run(world.handover.mark(lane))
    assert [(mark["needed"], mark["generation"]) for mark in world.log(MARKS)] == [(1, 3), (3, 5), (9, 9)]


def test_no_mark_is_better_than_a_wrong_one(bench: Make) -> None:
    """If nobody remembers who acted at the needed offset, the older mark stays."""
    world = bench()
    world.ledger(record("opened", 3), record("attempt", 3))
    lane = world.opened(4)
    lane.ledger.openings.clear()
    world.run(world.handover.mark(lane))
    assert not world.log(MARKS)


# -- from hand to hand -----------------------------------------------------------------------------------------------
def handed_over(world: Bench, generation: int) -> Lane:
    """The next owner's lane, in a process that never had it, after an orderly hand-over and a commit."""
    world.run(world.handover.drain())
    world.commit()
    world.run(world.handover.hand_over())
    world.stream.windows.forget_all()
    world.ctx.kept.clear()
    world.run_for(1.0)
    return world.opened(generation)


def test_an_unknown_outcome_survives_hand_overs(bench: Make) -> None:
    """However long ago its attempt was made and whoever owned the lane since, an unknown stays known and unknown."""
    world = bench(dedupe_window_s=60)
    world.ledger(record("opened", 1), record("attempt", 1, attempt=3))
    lane = world.opened()
    for generation in range(3, 6):
        for _ in range(3):
            world.pass_by(200.0)
            settle(world, lane, f"r-{world.now_s}")
        lane = handed_over(world, generation)
        assert lane.ledger.unknown_ids() == ["r-1"]
        assert lane.ledger.ids["r-1"].attempts == 3
        assert lane.ledger.ids["r-1"].ever_unknown
    assert world.reader.reads[-2][0] == 1, "read from its attempt on"


def test_a_settled_request_survives_a_hand_over_until_its_record_is_committed(bench: Make) -> None:
    """A settled record behind an unfinished one comes again to the next owner: it is not sent again."""
    world = bench(dedupe_window_s=60)
    lane = world.opened()
    stuck, done = world.ready("r-1"), world.ready("r-2", 1, recipient=BOB)
    world.deliver(stuck, done)
    finish(world, lane, "r-2")
    for n in range(3):
        world.pass_by(200.0)
        settle(world, lane, f"x-{n}")
    lane = handed_over(world, 3)
    world.deliver(stuck, done)
    world.run_for(1.0)
    assert sorted(lane.jobs) == ["r-1"]
    assert {event["event_id"] for event in world.log("outbound-events")} == {"end-r-1"}, "told again, as the same event"


def test_an_orderly_hand_over_makes_no_tokens(bench: Make) -> None:
    """The next owner's bucket goes on where the last attempt left it, though its history holds no attempt."""
    world = bench(rate=0.1, burst=20.0, dedupe_window_s=60, profile="v1")
    lane = world.opened()
    settle(world, lane)
    world.pass_by(61.0)
    lane = handed_over(world, 3)
    world.pass_by(10.0)
    lane = handed_over(world, 4)
    assert "r-1" not in lane.ledger.ids
    assert (lane.ledger.last_attempt_ms or 0) - BASE_MS < 1000
    assert lane.bucket.tokens(world.now_s) == pytest.approx(0.1 * (world.now_s - 0.6), abs=0.2)


def later(world: Bench, lane: Lane) -> None:
    """Others are settled and committed for longer than the dedupe window."""
    for n in range(3):
        world.pass_by(200.0)
        settle(world, lane, f"x-{n}", "ready-urgent")
        world.commit()


def test_a_record_told_again_is_needed_until_it_is_committed(bench: Make) -> None:
    """The second owner, too, remembers a settled request whose record is finished behind an unfinished one."""
    world = bench(dedupe_window_s=60, profile="v1")
    lane = world.opened()
    stuck, done = world.ready("r-1"), world.ready("r-2", 1, recipient=BOB)
    world.deliver(stuck, done)
    finish(world, lane, "r-2")
    lane = handed_over(world, 3)
    world.deliver(stuck, done)
    world.run_for(1.0)
    later(world, lane)
    lane = handed_over(world, 4)
    world.deliver(stuck, done)
    assert sorted(lane.jobs) == ["r-1"], "r-2 is not sent again"


def test_a_source_is_needed_though_its_copy_is_committed(bench: Make) -> None:
    """A message that was copied and sent from its copy is remembered until its source is committed, too."""
    world = bench(dedupe_window_s=60, profile="v1")
    lane = world.opened()
    stuck, done = world.ready("r-1"), world.ready("r-2", 1, recipient=BOB)
    world.deliver(stuck, done)
    world.run(world.finish.defer(lane, lane.jobs["r-2"], "throttled", world.ctx.unix_ms() + 3000))
    world.deliver(*world.kafka.log("delayed-retry"))
    finish(world, lane, "r-2")
    world.commit()
    later(world, lane)
    lane = handed_over(world, 4)
    world.deliver(stuck, done)
    assert sorted(lane.jobs) == ["r-1"], "r-2 is not sent again"
