"""What waits stands on a delayed topic: the newest copy counts, and the message stays the one it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.records.returning import Returning, read_returning
from pipeline.sender.context import Context
from pipeline.sender.jobs import Job, Stage
from pipeline.sender.lane import Lane
from pipeline.sender.posting import Posting
from pipeline.streams.delivery import Receipt
from pipeline.streams.topics import DELAYED
from pipeline.whatsapp.client import Answer
from tests.support.sender_kafka import BASE_MS, Stored
from tests.support.sender_values import job, message, record, source
from tests.unit.sender.making import Bench, Make
from tests.unit.sender.sending import DAY, LOST, TRANSIENT, position, sends, told

HOUR_MS = 3_600_000
LATER: dict[str, Any] = {"due_ms": BASE_MS + 600_000, "reason": "throttled"}
BUSY = Answer(500, {"Retry-After": "100"}, TRANSIENT.body)
COUNTS = {"attempt": 4, "spent": 2, "hops": 3}


def copied(world: Bench, **fields: Any) -> Stored:
    """A copy of the message r-1."""
    stored = world.ready(topic="delayed-retry", **{**LATER, **fields})
    world.deliver(stored)
    return stored


def counts(one: Job) -> dict[str, int]:
    """What a message has been through."""
    return {"attempt": one.attempt, "spent": one.spent, "hops": one.hops}


def tried(world: Bench, **fields: Any) -> None:
    """A copy of the message r-1 comes that tells what it has been through."""
    value = {**message().record, "due_at": rfc3339(BASE_MS + 600_000), "reason": "throttled", **fields}
    world.deliver(world.kafka.write("delayed-retry", value))


# -- from a copy -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_known", [False, True], ids=["new", "in memory"])
def test_a_copy_brings_its_counts_along(bench: Make, is_known: bool) -> None:
    """Attempt number, attempts spent and hops go on where the copy's writer was."""
    world = bench()
    lane = world.opened()
    if is_known:
        world.deliver(world.ready())
    tried(world, **COUNTS)
    assert counts(lane.jobs["r-1"]) == COUNTS


@pytest.mark.parametrize(("ledger", "expected"), [(6, 6), (3, 4)])
def test_numbers_go_on_from_the_higher_of_copy_and_ledger(bench: Make, ledger: int, expected: int) -> None:
    """Attempt numbers are never used twice, whichever of the two knows of more."""
    world = bench()
    before = [record("attempt", 1, attempt=ledger), record("returned", 1, attempt=ledger, spent=ledger)]
    world.ledger(record("opened", 1), *before)
    lane = world.opened()
    tried(world, **{**COUNTS, "spent": 4})
    assert (lane.jobs["r-1"].attempt, lane.jobs["r-1"].spent) == (expected, expected)


@pytest.mark.parametrize("is_known", [False, True], ids=["new", "in memory"])
def test_a_copy_tells_of_an_unknown_outcome(bench: Make, is_known: bool) -> None:
    """The flag makes it one of unknown outcome, though the ledger that tells of it may be read no more."""
    world = bench()
    lane = world.opened()
    if is_known:
        world.deliver(world.ready())
    tried(world, attempt=1, unknown=True)
    assert lane.jobs["r-1"].stage is Stage.UNKNOWN
    assert list(lane.unknown) == ["r-1"]


def test_the_newest_copy_counts(bench: Make) -> None:
    """By broker time, across tiers: older ones are dropped as they come, the newest stands for the message."""
    world = bench()
    lane = world.opened()
    older = world.ready(topic="delayed-retry-1m", **LATER)
    world.pass_by(1.0)
    newest = copied(world)
    world.deliver(older)
    assert lane.jobs["r-1"].places == [(*newest.where, newest.place)]
    assert (position(world, older), position(world, newest)) == (1, None)
    world.pass_by(1.0)
    younger = copied(world)
    assert lane.jobs["r-1"].places == [(*younger.where, younger.place)]
    assert position(world, newest) == 1


def test_a_copy_stands_for_its_source(bench: Make) -> None:
    """The source of a copied message comes again: it is acknowledged, and the copy is kept."""
    world = bench()
    lane = world.opened()
    copy = copied(world)
    again = world.ready()
    world.deliver(again)
    assert position(world, again) == 1
    assert lane.jobs["r-1"].places == [(*copy.where, copy.place)]


def test_a_copy_that_matures_in_hand_hops_on(bench: Make) -> None:
    """Each time with twice the delay and all that the message has been through; the copy before is acknowledged."""
    world = bench()
    lane = world.opened()
    first = copied(world, attempt=1, due_ms=BASE_MS)
    one = lane.jobs["r-1"]
    one.attempt, one.spent = 5, 2
    tiers = []
    for n in range(1, 7):
        world.pass_by(1.0)
        before = {topic: len(world.kafka.log(topic)) for topic in DELAYED}
        world.run(world.finish.hop(lane, one, one.places[0]))
        [copy] = [stored for topic in DELAYED for stored in world.kafka.log(topic)[before[topic] :]]
        value = copy.json()
        assert (value["attempt"], value["spent"], value["hops"]) == (5, 2, n)
        assert one.places == []
        tiers.append(copy.where[0])
        world.deliver(copy)
    assert tiers == ["delayed-retry"] * 4 + ["delayed-retry-1m"] * 2, "5, 10, 20, 40, 80, 160 s"
    assert position(world, first) == 5


@pytest.mark.parametrize(
    ("answer", "tier", "expected"),
    [(BUSY, "delayed-retry-1m", (1, 1, False)), (LOST, "delayed-retry", (1, 0, True))],
    ids=["refused", "lost"],
)
def test_a_copy_says_what_the_message_has_been_through(
    bench: Make, answer: Any, tier: str, expected: tuple[int, int, bool]
) -> None:
    """Attempts, attempts spent, and whether one of them never got an outcome: the next owner may know no more."""
    world = bench(profile="cloud")
    sends(world, answer)
    lane = world.opened()
    world.run_for(2.0)
    world.deliver(world.ready(source_ms=BASE_MS + 100))
    world.run_for(0.5)
    [value] = world.log(tier)
    assert (value["attempt"], value["spent"], value["unknown"]) == expected
    assert (lane.jobs["r-1"].spent, lane.jobs["r-1"].unknown) == expected[1:]


def test_who_stands_behind_a_copied_message_is_copied_in_turn(bench: Make) -> None:
    """One after the other: no copy stands on a delayed topic while its predecessor is in a ready topic only."""
    world = bench()
    lane = world.opened()
    world.deliver(*(world.ready(f"r-{n}", n) for n in range(4)))
    asked: list[str] = []
    world.scheduling.copy_follower = lambda _, follower: asked.append(follower.message.request_id)
    jobs = list(lane.jobs.values())
    world.scheduling.follow(lane, jobs[0])
    assert asked == []
    for n in range(3):
        jobs[n].copy_ms, jobs[n].deferred = BASE_MS, True
        world.scheduling.follow(lane, jobs[0])
    assert asked == ["r-1", "r-2", "r-3"]


def test_a_lost_answer_leaves_copies_of_the_whole_chain(bench: Make) -> None:
    """No window waits for evidence: the message and all that stand behind it move to a delayed topic, in order."""
    world = bench(profile="cloud")
    sends(world, LOST)
    lane = world.opened()
    world.run_for(2.0)
    records = [world.ready(f"r-{n}", n, source_ms=BASE_MS + 100) for n in range(3)]
    world.deliver(*records)
    world.run_for(1.0)
    copies = world.log("delayed-retry")
    assert [copy["request"]["request_id"] for copy in copies] == ["r-0", "r-1", "r-2"]
    assert [copy["reason"] for copy in copies] == ["transient", "behind_deferred", "behind_deferred"]
    assert position(world, records[0]) == 3
    assert len(lane.jobs) == 3


# -- back through the gate ---------------------------------------------------------------------------------------------
def test_what_goes_back_to_the_gate_stays_what_it_was(bench: Make) -> None:
    """First source, attempt count and flag go along in the headers: else it would become its own duplicate."""
    world = bench()
    lane = world.opened()
    one = job("r-1", 7, replay=True)
    one.attempt, one.spent, one.unknown = 4, 2, True
    world.run(world.finish.back_to_gate(lane, one))
    [stored] = world.kafka.log("outbound-requests")
    assert read_returning(stored.pairs) == Returning(source(7), attempt=4, spent=2, unknown=True, replay=True)


@pytest.mark.parametrize(("left_h", "told_h"), [(72, 72), (10 * 24, 7 * 24 - 1 / 60)])
def test_what_goes_back_to_the_gate_keeps_its_end(bench: Make, left_h: float, told_h: float) -> None:
    """It may have counted from its `not_before`, which is over; never further ahead than the contract allows."""
    world = bench()
    lane = world.opened()
    now_ms = world.ctx.unix_ms()
    one = job("r-1", 7, expires_ms=now_ms + int(left_h * HOUR_MS))
    world.run(world.finish.back_to_gate(lane, one))
    [request] = world.log("outbound-requests")
    assert (request["not_before"], request["expires_at"]) == (None, rfc3339(now_ms + int(told_h * HOUR_MS)))


def test_a_long_wait_goes_through_the_gate(bench: Make) -> None:
    """A message that waits for a day is judged anew when it is due, and comes back under its first source."""
    world = bench(profile="cloud")
    api = sends(world, DAY)
    lane = world.opened()
    world.run_for(2.0)
    ends: dict[str, Any] = {"expires_ms": BASE_MS + 72 * HOUR_MS, "valid_until_ms": BASE_MS + 72 * HOUR_MS}
    world.deliver(world.ready(source_ms=BASE_MS + 100, **ends))
    world.run_for(1.0)
    assert (api.posts, told(world)) == (["r-1:1"], [("deferred", "marketing_limit")])
    [copy] = world.kafka.log("delayed-retry-1h")
    assert copy.json()["via_gate"]
    assert lane.parked == {"r-1"}


def test_an_unknown_outcome_is_resolved_before_it_may_go_back(bench: Make) -> None:
    """However long it has to wait, it stays in its chain, and its copy does not go by the gate."""
    world = bench()
    lane = world.opened()
    world.deliver(world.ready(expires_ms=BASE_MS + 9 * HOUR_MS))
    one = lane.jobs["r-1"]
    one.unknown = True
    sends(world)
    posting = Posting(world.ctx, world.finish, world.scheduling)
    world.run(posting.put_off(lane, one, "throttled", BASE_MS + 5 * HOUR_MS))
    [copy] = world.kafka.log("delayed-retry-1h")
    assert (copy.json()["via_gate"], copy.json()["unknown"]) == (False, True)
    assert not lane.parked
    assert one.chain is not None


@pytest.mark.parametrize(
    ("via_gate", "unknown", "goes"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_who_goes_to_the_gate_when_it_is_due(bench: Make, via_gate: bool, unknown: bool, goes: bool) -> None:
    """A copy that says so, unless an attempt of it never got an outcome."""
    world = bench()
    lane: Lane = world.opened()
    copied(world, via_gate=via_gate, unknown=unknown, attempt=1)
    assert lane.jobs["r-1"].goes_to_gate is goes
    assert ("r-1" in lane.parked) is goes


def test_a_slow_copy_does_not_undo_what_was_decided_after_it(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hop that Kafka is slow to store, a refusal meanwhile: the newest copy on Kafka is that of the refusal."""
    world = bench()
    lane = world.opened()
    matured = copied(world, due_ms=BASE_MS)
    one = lane.jobs["r-1"]
    posting = Posting(world.ctx, world.finish, world.scheduling)
    write, stored = Context.write, asyncio.Event()

    async def slow(ctx: Context, lane: Lane, topic: str, *rest: Any, **more: Any) -> Receipt:
        if topic == "delayed-retry":
            await stored.wait()
        return await write(ctx, lane, topic, *rest, **more)

    monkeypatch.setattr(Context, "write", slow)

    async def both() -> None:
        hop = asyncio.ensure_future(world.finish.hop(lane, one, one.places[0]))
        await asyncio.sleep(0)
        off = asyncio.ensure_future(posting.put_off(lane, one, "marketing_limit", BASE_MS + 30 * HOUR_MS))
        await asyncio.sleep(1.0)
        stored.set()
        await asyncio.gather(hop, off)

    world.run(both())
    copies = [copy for topic in DELAYED for copy in world.kafka.log(topic) if copy.json() != matured.json()]
    assert max(copies, key=lambda copy: copy.timestamp()[1]).json()["reason"] == "marketing_limit"
    assert {copy.json()["reason"] for copy in copies} == {"throttled", "marketing_limit"}
