"""A new owner knows everything that its predecessors did before it does anything, and reads no more than it must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.errors import AssignmentLost, InvariantBroken
from pipeline.sender import scheduling, takeover
from pipeline.sender.replay import Tail
from pipeline.streams.topics import DELAYED
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import ADA, BOB, record
from tests.unit.sender.making import LEDGER, Bench, Make, accepted

LONG_S = 5.0
AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT))


def fails(error: Exception) -> Callable[[], None]:
    """A hook that raises."""

    def fail() -> None:
        raise error

    return fail


# -- which generation acts -------------------------------------------------------------------------------------------
def test_the_first_record_of_an_owner_is_its_opened(bench: Make) -> None:
    """A new owner says `opened` with its generation and name, and writes nothing else."""
    world = bench()
    lane = world.opened(generation=5)
    assert lane.is_open
    assert world.log(LEDGER) == [{**record("opened", 5), "owner": "host/1"}]
    assert lane.ledger.generation == lane.generation == 5


def test_nothing_happens_before_the_marks_are_known(bench: Make) -> None:
    """As long as `account-state` is not read to its end, a mark may be missing: the lane waits."""
    world = bench(follows=False)
    world.mark(0, 1)
    lane = world.lane()
    world.opening(lane)
    world.run_for(LONG_S)
    assert not world.log(LEDGER)
    assert not world.reader.reads
    world.account_follower.start()
    world.run_for(LONG_S)
    assert lane.is_open


@pytest.mark.parametrize(("group", "expected"), [(1, 8), (8, 8), (20, 20)])
def test_generations_never_fall_behind_the_ledger(bench: Make, group: int, expected: int) -> None:
    """A group that was made anew counts from 1: the owner goes on from the ledger's number, and does not repeat it."""
    world = bench()
    world.ledger(record("opened", 7), record("attempt", 7))
    lane = world.opened(group)
    assert lane.generation == expected
    assert lane.ledger.unknown_ids() == ["r-1"], "what the predecessor left open is unknown"
    known = lane.ledger.of("r-1")
    assert known is not None
    assert known.ever_unknown


def test_a_number_that_another_owner_took_is_not_shared(bench: Make) -> None:
    """Whose `opened` comes second in the log takes the next number, and reads once more what was written meanwhile."""
    world = bench()
    world.ledger(record("opened", 1))
    world.reader.hooks["read"] = [lambda: world.ledger(record("opened", 2), record("attempt", 2))]
    lane = world.opened(generation=2)
    assert [entry["generation"] for entry in world.log(LEDGER) if entry["owner"] == "host/1"] == [2, 3]
    assert lane.generation == 3
    assert lane.ledger.unknown_ids() == ["r-1"]


def test_a_ledger_that_is_ahead_ends_the_take_over(bench: Make) -> None:
    """An owner whose number is older than the one in force writes what nobody counts: it must not go on."""
    world = bench()
    world.ledger(record("opened", 1))
    world.reader.hooks["read"] = [lambda: world.ledger(record("opened", 9))]
    lane = world.lane()
    with pytest.raises(InvariantBroken, match="generation 9 acts, ours is 2"):
        world.run(world.takeover.open(lane, 2))
    assert not lane.is_open


# -- what is read ----------------------------------------------------------------------------------------------------
def test_what_predecessors_wrote_before_opened_is_read(bench: Make) -> None:
    """Records between the end that was asked for and our `opened` count: their writer was the owner until then."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1))
    late = [accepted(), record("attempt", 1, "r-2")]
    world.reader.hooks["read"] = [lambda: world.ledger(*late)]
    lane = world.opened()
    known = lane.ledger.of("r-1")
    assert known is not None
    assert known.settled
    assert lane.ledger.unknown_ids() == ["r-2"]


def test_an_answer_that_is_written_after_opened_is_found(bench: Make) -> None:
    """The owner reads on from its own `opened`: a predecessor's answer behind it ends the unknown."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1))
    world.reader.hooks["standings"] = [lambda: world.ledger(accepted())]
    lane = world.opened()
    assert lane.ledger.unknown_ids() == ["r-1"]
    assert lane.tail_offset == 3, "right behind `opened`"
    world.run(Tail(world.reader).catch_up(lane))
    assert lane.ledger.unknown_ids() == []


def test_an_inference_that_is_written_after_opened_changes_nothing(bench: Make) -> None:
    """What a predecessor inferred after it lost the lane may be wrong by now."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1))
    world.reader.hooks["standings"] = [lambda: world.ledger(accepted(basis="policy"))]
    lane = world.opened()
    world.run(Tail(world.reader).catch_up(lane))
    assert lane.ledger.unknown_ids() == ["r-1"]


def test_history_begins_at_a_mark_that_is_older_than_the_window(bench: Make) -> None:
    """What the mark says is needed is read, however long ago it was written."""
    world = bench(dedupe_window_s=60)
    world.ledger(record("opened", 1), record("attempt", 1))
    world.mark(1, 1)
    world.pass_by(1000)
    world.ledger(record("attempt", 1, "r-9"))
    lane = world.opened()
    assert sorted(lane.ledger.unknown_ids()) == ["r-1", "r-9"]
    assert world.reader.reads[0] == (1, 3), "and nothing before it"


@pytest.mark.parametrize("marked", [False, True])
def test_history_begins_at_the_window_if_a_mark_is_younger(bench: Make, marked: bool) -> None:
    """Ids that were settled within the dedupe window are known though nothing of them is needed any more."""
    world = bench(dedupe_window_s=60, profile="v1")
    world.ledger(record("opened", 1), accepted(request_id="r-old"))
    world.pass_by(100)
    world.ledger(accepted(request_id="r-1"))
    world.pass_by(50)
    world.ledger(accepted(request_id="r-2"))
    if marked:
        world.mark(4, 1)
    lane = world.opened()
    assert sorted(lane.ledger.ids) == ["r-1", "r-2"]
    assert world.reader.reads[0] == (2, 4)


def test_a_mark_tells_the_generation_in_force_where_reading_begins(bench: Make) -> None:
    """A late attempt of an older generation stays void, although its newer `opened` is not read any more."""
    world = bench()
    world.ledger(record("opened", 1), record("opened", 2), record("attempt", 1), record("attempt", 2, "r-2"))
    world.mark(2, 2)
    world.pass_by(2000)
    world.ledger(record("attempt", 2, "r-3"))
    assert world.opened(3).ledger.unknown_ids() == ["r-2", "r-3"]


@pytest.mark.parametrize(("profile", "reads"), [("cloud", (0, 2)), ("v1", (1, 2))])
def test_a_pair_limit_needs_a_longer_history(bench: Make, profile: str, reads: tuple[int, int]) -> None:
    """With a pair limit at least the attempts of the last 270 s are read, whatever the dedupe window."""
    world = bench(dedupe_window_s=60, profile=profile)
    world.ledger(accepted())
    world.pass_by(269)
    world.ledger(accepted(request_id="r-2"))
    world.opened()
    assert world.reader.reads[0] == reads


# -- Kafka away, lane lost -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [AWAY, TimeoutError("no records")])
@pytest.mark.parametrize("call", ["begin_and_end", "read", "standings", "messages"])
def test_a_take_over_waits_for_kafka(bench: Make, call: str, error: Exception) -> None:
    """As long as Kafka does not answer, the lane is not open; then it goes on where it was."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1), accepted())
    world.ready("r-2", 1, topic="delayed-retry")
    world.reader.hooks[call] = [fails(error)] * 3
    lane = world.lane()
    opening = world.opening(lane)
    world.run_for(1.0)
    assert not lane.is_open
    world.run_for(LONG_S)
    assert opening.done()
    assert list(lane.ledger.ids) == ["r-1"]
    assert list(lane.jobs) == ["r-2"]
    assert lane.is_open


def test_a_second_reading_begins_from_nothing(bench: Make) -> None:
    """History that broke off is folded anew: no attempt counts twice."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1))
    whole, told = world.reader.read, iter([AWAY])

    def breaks_off(partition: int, start: int, end: int, apply: Any) -> int:
        after = whole(partition, start, end, apply)
        for error in told:
            raise error
        return after

    world.reader.read = breaks_off  # type: ignore[method-assign]
    lane = world.opened()
    assert lane.ledger.recent_pairs(BASE_MS) == {ADA: [BASE_MS]}


def kafka_away(world: Bench) -> None:
    """Kafka never answers."""
    world.reader.hooks["begin_and_end"] = [fails(AWAY)] * 1000


def copy_missing(world: Bench) -> None:
    """A copy cannot be read."""
    world.ready(topic="delayed-retry")
    world.reader.hooks["messages"] = [fails(AWAY)] * 1000


def unknown_missing(world: Bench) -> None:
    """The stream never brings a message of unknown outcome."""
    world.ledger(record("opened", 1), record("attempt", 1))
    world.ready()


@pytest.mark.parametrize("waits", [kafka_away, copy_missing, unknown_missing])
def test_a_lane_that_is_lost_is_not_opened(bench: Make, waits: Callable[[Bench], None]) -> None:
    """Whatever a take-over waits for, it ends when the lane goes to somebody else."""
    world = bench()
    waits(world)
    lane = world.lane()
    opening = world.opening(lane)
    world.run_for(LONG_S)
    assert not opening.done()
    world.handover.close_all()
    world.run_for(LONG_S)
    assert isinstance(opening.exception(), AssignmentLost)
    assert not lane.is_open


def test_nobody_opens_a_lane_without_a_lease(bench: Make) -> None:
    """While it is not certain that the lane is ours, no `opened` is written: it would silence the real owner."""
    world = bench()
    lane = world.lane()
    world.reader.hooks["begin_and_end"] = [world.stream.lease.revoke]
    world.opening(lane)
    world.run_for(LONG_S)
    assert not world.log(LEDGER)
    world.stream.lease.renew(1e9)
    world.run_for(LONG_S)
    assert lane.is_open


# -- nothing is sent before ------------------------------------------------------------------------------------------
def test_nothing_goes_before_history_is_read(bench: Make) -> None:
    """A record that comes while the ledger is read waits; what is settled already is told again, and never sent."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1), accepted())
    done, fresh = world.ready(), world.ready("r-2", 1, recipient=BOB)
    lane = world.lane()
    world.reader.hooks["read"] = [lambda: world.deliver(done, fresh)]

    def nothing_yet() -> None:
        assert not lane.jobs
        assert not world.pumped
        assert [early.message.request_id for early in lane.early] == ["r-1", "r-2"]

    world.reader.hooks["standings"] = [nothing_yet]
    world.run(world.takeover.open(lane, 2))
    world.run_for(1.0)
    assert world.pumped == [["r-2"]]
    assert [event["event_id"] for event in world.log("outbound-events")] == ["end-r-1"]
    assert world.stream.windows.position(("ready-normal", 0)) == 1, "what is settled is acknowledged, and only that"


@pytest.mark.parametrize("tier", DELAYED)
def test_nothing_goes_before_the_delayed_topics_are_read(bench: Make, tier: str) -> None:
    """Who waits in a delayed topic goes before younger messages of the same chain: all of them are read first."""
    world = bench()
    for number in (1, 2):
        world.ready(f"r-{number}", number, topic=tier)
    young = world.ready("r-3", 3)
    world.reader.hooks["messages"] = [fails(AWAY)] * 4
    lane = world.lane()
    opening = world.opening(lane)
    world.run_for(1.0)
    world.deliver(young)
    assert not lane.is_open
    assert not lane.jobs
    world.run_for(LONG_S)
    assert opening.done()
    (chain,) = lane.chains
    assert [job.message.request_id for job in chain.jobs] == ["r-1", "r-2", "r-3"]


def test_the_stream_goes_on_behind_what_the_take_over_read(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a delayed topic nothing is fetched until the take-over has read it, however many steps that takes; then what
    comes later. A record that is brought twice is one, and the commit passes none of them.
    """
    monkeypatch.setattr(takeover, "READ_RECORDS", 2)
    monkeypatch.setattr(takeover, "TAKE_RECORDS", 1)
    tp = ("delayed-retry", 0)
    world = bench()
    world.kafka.committed[tp] = 1
    copies = [world.ready(f"r-{n}", n, topic=tp[0]) for n in range(6)]
    paused: list[set[tuple[str, int]]] = []
    world.reader.hooks["messages"] = [lambda: paused.append(set(world.stream.paused))] * 3
    lane = world.opened()
    assert paused == [{(topic, 0) for topic in DELAYED}] * 3
    assert world.positions[tp] == 6
    assert not world.stream.paused
    world.deliver(*copies[1:], world.ready("r-6", 6, topic=tp[0]))
    assert [job.places for job in lane.jobs.values()] == [[(*tp, offset)] for offset in range(1, 7)]
    assert world.stream.windows.position(tp) is None


@pytest.mark.parametrize(("call", "copies"), [("messages", 1), ("standings", 1), ("standings", 0)])
def test_a_take_over_brings_nothing_to_the_next_lane_of_its_partition(bench: Make, call: str, copies: int) -> None:
    """Copies that come back from Kafka after the lane was lost are not taken in, nor does its stream go on: the next
    lane reads them again from where the group has committed; a window that began behind that would lose those before.
    """
    world = bench()
    for _ in range(copies):
        world.ready(topic="delayed-retry")
    lane = world.lane()

    def lost() -> None:
        world.handover.close_all()
        world.lane()

    world.reader.hooks[call] = [lost]
    opening = world.opening(lane)
    world.run_for(LONG_S)
    assert isinstance(opening.exception(), AssignmentLost)
    assert not world.stream.windows.partitions()
    assert ("delayed-retry", 0) in world.stream.paused


def test_copies_that_are_committed_are_not_read(bench: Make) -> None:
    """What the group has committed of the delayed topics is done."""
    world = bench()
    world.ready(topic="delayed-retry")
    world.kafka.committed["delayed-retry", 0] = 1
    lane = world.opened()
    assert lane.is_open
    assert not lane.jobs


def test_more_copies_than_memory_holds_do_not_hold_a_lane_up(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full window ends the reading: it is emptied only by sending, and the stream goes on there. Then no written
    event is told from an unwritten.
    """
    monkeypatch.setattr(takeover, "DELAYED_WINDOW_HIGH", 2)
    monkeypatch.setattr(scheduling, "DELAYED_WINDOW_HIGH", 2)
    tp = ("delayed-retry", 0)
    world = bench()
    world.ledger(accepted(place=("ready-normal", 0, 0)))
    world.kafka.committed["ready-normal", 0] = 1
    for number in range(3):
        world.ready(f"c-{number}", number, topic=tp[0])
    lane = world.opened()
    assert list(lane.jobs) == ["c-0", "c-1"]
    assert world.positions[tp] == 2
    assert world.stream.paused == lane.paused == {tp}, "until there is room"
    known = lane.ledger.of("r-1")
    assert known is not None
    assert known.event is not None
