"""A number gets other lanes: what the new ones know, what leaves the ones of before, and what is not fetched."""

from __future__ import annotations

from pipeline.records.lanes import Earlier, Lanes, lanes_key
from pipeline.sender.leaving import Leaving
from pipeline.streams.partition import shard_of
from pipeline.streams.topics import DELAYED
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import ADA, BOB, NUMBER, record
from tests.unit.sender.making import LEDGER, MARKS, Bench, Make, accepted

HOUR_MS = 3_600_000


def on_record(world: Bench, lanes: Lanes) -> None:
    """The command wrote these lanes down."""
    world.kafka.write(MARKS, lanes.record(NUMBER, BASE_MS, "me"), lanes_key(NUMBER))
    world.run_for(1.0)


def settled_on(world: Bench, partition: int, request_id: str, recipient: str) -> None:
    """A lane of before sent a message."""
    for value in (record("attempt", 9), accepted(9)):
        told = {**value, "request_id": request_id, "recipient": recipient}
        world.kafka.write(LEDGER, told, partition=partition)


def test_what_a_lane_of_before_sent_is_known(bench: Make) -> None:
    """The new lane knows what was settled for its own people, with nothing left to tell; its bucket begins empty."""
    world = bench(rate=20.0, burst=50.0)
    people = (ADA, BOB)
    own = [one for one in people if shard_of(one, 2) == 0]
    others = [one for one in people if shard_of(one, 2) != 0]
    for person in people:
        settled_on(world, 5, f"r-{person}", person)
    on_record(world, Lanes((0, 1), earlier=(Earlier((5,), BASE_MS),)))
    lane = world.opened()
    for person in own:
        known = lane.ledger.of(f"r-{person}")
        assert known is not None
        assert known.settled
        assert (known.event, known.place, known.open) == (None, None, {})
    assert not [person for person in others if lane.ledger.of(f"r-{person}")]
    assert lane.bucket.tokens(world.ctx.steady_s()) < lane.limit.burst / 2
    assert world.handover.needed(lane) == lane.ledger.next_offset, "another ledger's offsets keep nothing here"


def test_after_the_dedupe_window_nothing_of_before_is_read(bench: Make) -> None:
    """What cannot come again need not be known."""
    world = bench(dedupe_window_s=60.0)
    settled_on(world, 5, "r-1", ADA)
    on_record(world, Lanes((0, 1), earlier=(Earlier((5,), BASE_MS - HOUR_MS),)))
    assert world.opened().ledger.of("r-1") is None


def moved(world: Bench) -> list[tuple[str, str]]:
    """(request id, lane) of copies on the partitions that the number moves to, as they were written."""
    found = [stored for topic in DELAYED for partition in (3, 4) for stored in world.kafka.log(topic, partition)]
    values = [stored.json() for stored in sorted(found, key=lambda stored: stored.time_ms)]
    return [(value["request"]["request_id"], value["lane"]) for value in values]


def test_who_waits_for_long_goes_ahead_the_last_of_a_chain_first(bench: Make) -> None:
    """A chain behind a scheduled message is written to its next lane, last first, and finished here; others stay."""
    world = bench()
    lane = world.opened()
    first = world.ready(
        "first", 0, "delayed-retry-10m", recipient=ADA, due_ms=BASE_MS + HOUR_MS // 2, reason="scheduled"
    )
    world.deliver(first, world.ready("second", 1, recipient=ADA), world.ready("soon", 2, recipient=BOB))
    world.run_for(0.5)
    leaving = Leaving(world.ctx, world.finish, world.scheduling)
    leaving.look(lane)
    world.run_for(1.0)
    assert moved(world) == [], "nothing is being changed"
    on_record(world, Lanes((0,), target=(3, 4), step="drain"))
    leaving.look(lane)
    world.run_for(1.0)
    key = f"{NUMBER}#{shard_of(ADA, 2)}"
    assert moved(world) == [("second", key), ("first", key)]
    assert sorted(lane.jobs) == ["soon"]
    world.commit()
    assert world.kafka.committed["delayed-retry-10m", 0] == 1
