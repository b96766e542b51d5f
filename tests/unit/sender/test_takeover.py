"""A new owner knows everything that its predecessors did before it does anything, and reads no more than it must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.errors import AssignmentLost, InvariantBroken
from pipeline.sender import takeover
from pipeline.sender.attempt_age import AGE_MIN_S
from pipeline.sender.jobs import Stage
from pipeline.sender.lane import BROKER_SKEW_S, DELAYED_WINDOW_HIGH, NETWORK_JITTER_S, Lane
from pipeline.sender.ledger_state import LedgerState
from pipeline.sender.replay import Standing, Tail
from pipeline.sender.takeover import drop_written_events
from pipeline.streams.topics import DELAYED
from pipeline.throttle.pair import PairBuckets
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import ADA, BOB, record, source
from tests.unit.sender.making import LEDGER, Bench, Make

LONG_S = 5.0
AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT))


def fails(error: Exception) -> Callable[[], None]:
    """A hook that raises."""

    def fail() -> None:
        raise error

    return fail


def accepted(generation: int = 1, request_id: str = "r-1", **fields: Any) -> dict[str, Any]:
    """A settlement by the API's answer, with the event that all owners write."""
    event = {"event_id": f"end-{request_id}", "type": "accepted", "recipient": ADA, "request_id": request_id}
    nothing = {"reason": None, "message_id": None, "api_ms": None, "queue_ms": None}
    return record("settled", generation, request_id, event={**event, **nothing}, **fields)


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
@pytest.mark.parametrize("call", ["begin_and_end", "read", "standings"])
def test_a_take_over_waits_for_kafka(bench: Make, call: str, error: Exception) -> None:
    """As long as Kafka does not answer, the lane is not open; then it goes on where it was."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1), accepted())
    world.reader.hooks[call] = [fails(error)] * 3
    lane = world.lane()
    opening = world.opening(lane)
    world.run_for(1.0)
    assert not lane.is_open
    world.run_for(LONG_S)
    assert opening.done()
    assert list(lane.ledger.ids) == ["r-1"]
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
    """The stream never brings a copy."""
    world.ready(topic="delayed-retry")


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
    copies = [world.ready(f"r-{n}", n, topic=tier) for n in (1, 2)]
    young = world.ready("r-3", 3)
    lane = world.lane()
    opening = world.opening(lane)
    world.run_for(1.0)
    world.deliver(young, copies[0])
    world.run_for(LONG_S)
    assert not lane.is_open
    assert not lane.jobs
    world.deliver(copies[1])
    world.run_for(1.0)
    assert opening.done()
    (chain,) = lane.chains
    assert [job.message.request_id for job in chain.jobs] == ["r-1", "r-2", "r-3"]


def test_copies_that_are_committed_are_not_waited_for(bench: Make) -> None:
    """What the group has committed of the delayed topics does not come again."""
    world = bench()
    world.ready(topic="delayed-retry")
    world.kafka.committed["delayed-retry", 0] = 1
    assert world.opened().is_open


def test_more_copies_than_memory_holds_do_not_hold_a_lane_up(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full window ends the wait: it is emptied only by sending. Then no written event is told from an unwritten."""
    monkeypatch.setattr(takeover, "DELAYED_WINDOW_HIGH", 2)
    assert DELAYED_WINDOW_HIGH > 2
    world = bench()
    world.ledger(accepted(place=("ready-normal", 0, 0)))
    world.kafka.committed["ready-normal", 0] = 1
    copies = [world.ready(f"c-{n}", n, topic="delayed-retry") for n in range(3)]
    lane = world.lane()
    opening = world.opening(lane)
    world.deliver(copies[0])
    world.run_for(LONG_S)
    assert not lane.is_open
    world.deliver(copies[1])
    world.run_for(1.0)
    assert opening.done()
    known = lane.ledger.of("r-1")
    assert known is not None
    assert known.event is not None


# -- unknown outcomes ------------------------------------------------------------------------------------------------
def test_nothing_goes_before_unknown_outcomes_hold_their_chains(bench: Make) -> None:
    """The message of an attempt without an outcome is in memory before the lane opens, and nobody passes it."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1))
    doubtful, behind, other = world.ready(), world.ready("r-2", 1), world.ready("r-3", 2, recipient=BOB)
    lane = world.lane()
    opening = world.opening(lane)
    world.run_for(LONG_S)
    assert not lane.is_open
    world.deliver(doubtful, behind, other)
    world.run_for(1.0)
    assert opening.done()
    assert list(lane.unknown) == ["r-1"]
    assert lane.unknown["r-1"].stage is Stage.UNKNOWN
    assert lane.unknown["r-1"].attempt == 1, "attempt numbers go on"
    assert [chain.head.message.recipient for chain in lane.chains] == [ADA, BOB]
    queued = [chain.head.message.request_id for chain in lane.chains if chain.queued]
    assert queued == ["r-3"], "everything else starts"


def test_an_unknown_outcome_keeps_its_recipient_on_v1(bench: Make) -> None:
    """Where statuses carry no callback data, no other message to that person may be in hand, whatever its priority."""
    world = bench(profile="v1")
    world.ledger(record("opened", 1), record("attempt", 1))
    doubtful, urgent = world.ready(), world.ready("r-2", 1, topic="ready-urgent", priority="urgent")
    lane = world.lane()
    world.opening(lane)
    world.deliver(urgent)
    world.run_for(LONG_S)
    assert not lane.is_open
    world.deliver(doubtful)
    world.run_for(1.0)
    (chain,) = [chain for chain in lane.chains if chain.key[1] == 0]
    assert not world.scheduling.hold_recipient(lane, chain)


def test_an_unknown_outcome_without_a_record_holds_nobody_up(bench: Make) -> None:
    """Whose records are all read, or do not fit into memory, is not waited for."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1), record("attempt", 1, "r-2"))
    first = world.ready("r-1")
    world.ready("r-9", 1, topic="ready-bulk", priority="bulk")
    lane = world.lane()
    world.opening(lane)
    world.deliver(first)
    world.run_for(LONG_S)
    assert not lane.is_open, "r-2 may still come"
    lane.paused.add(("ready-bulk", 0))
    world.run_for(1.0)
    assert lane.is_open


# -- opt-outs --------------------------------------------------------------------------------------------------------
def test_opt_outs_are_read_from_before_the_oldest_source(bench: Make) -> None:
    """The reader begins 60 s before the broker time of the oldest request: no gate's clock, nor when it was copied."""
    world = bench()
    world.pass_by(500)
    young = world.ready("r-2", 1, source_ms=BASE_MS + 300_000, judged_ms=BASE_MS + 100_000)
    old = world.ready("r-1", 0, source_ms=BASE_MS + 200_000, judged_ms=BASE_MS + 400_000)
    lane = world.lane()
    world.reader.hooks["read"] = [lambda: world.deliver(young, old)]
    world.run(world.takeover.open(lane, 2))
    assert world.began == [("consent-updates", BASE_MS + 140_000)]


def test_opt_outs_are_read_though_nobody_waits(bench: Make) -> None:
    """With nothing to send, reading begins 60 s before `opened`, by broker time, whatever this host's clock says."""
    world = bench(skew_s=-300.0)
    world.pass_by(500)
    lane = world.opened()
    assert lane.ledger.opened_ms is not None
    assert world.began == [("consent-updates", lane.ledger.opened_ms - 60_000)]


# -- the bucket ------------------------------------------------------------------------------------------------------
def tokens(world: Bench, lane: Lane) -> float:
    """What the lane may send now."""
    return lane.bucket.tokens(world.now_s)


def test_a_lane_that_never_sent_has_a_full_bucket(bench: Make) -> None:
    """No attempt known: the whole burst, which is the API's less what jitter may bunch together."""
    world = bench(rate=20.0, burst=50.0)
    world.ledger(record("opened", 1), record("opened", 2), record("attempt", 1))
    lane = world.opened(3)
    assert tokens(world, lane) == pytest.approx(50.0 - 20.0 * NETWORK_JITTER_S)


@pytest.mark.parametrize("skew_s", [0.0, -300.0, 300.0])
@pytest.mark.parametrize(
    ("rested_s", "age_ms", "expected"),
    [(0.3, None, 0.0), (1.6, None, 20.0), (1.6, 900, 12.0), (60.0, None, 48.0)],
    ids=["just-sent", "rested", "allowed-to-be-old", "long-rest"],
)
def test_the_bucket_was_empty_at_the_last_attempt(
    bench: Make, rested_s: float, age_ms: int | None, expected: float, skew_s: float
) -> None:
    """It refilled since by broker time, less what clocks may differ and what the request may have waited."""
    world = bench(rate=20.0, burst=50.0, skew_s=skew_s)
    world.ledger(record("opened", 1), record("attempt", 1, age_ms=age_ms), accepted())
    world.run_for(rested_s)
    lane = world.opened()
    assert tokens(world, lane) == pytest.approx(expected, abs=0.2)


def test_the_bucket_fills_from_opened_on(bench: Make) -> None:
    """The time between `opened` and the first message fills it as any other."""
    world = bench(rate=20.0, burst=50.0)
    world.ledger(record("opened", 1), record("attempt", 1), accepted())
    copy = world.ready("r-2", topic="delayed-retry")
    lane = world.lane()
    world.opening(lane)
    world.run_for(2.0)
    world.deliver(copy)
    world.run_for(0.1)
    assert lane.is_open
    opened_ms = lane.ledger.opened_ms or 0
    assert opened_ms - BASE_MS < 600, "no token was left then"
    assert tokens(world, lane) == pytest.approx(20.0 * (2.1 - (opened_ms - BASE_MS) / 1000), abs=0.5)


def test_a_mark_tells_of_the_last_attempt(bench: Make) -> None:
    """After an orderly hand-over the history that is read may hold no attempt: the lane did send all the same."""
    world = bench(rate=20.0, burst=50.0)
    world.ledger(record("opened", 1))
    world.mark(1, 1, last_attempt_ms=BASE_MS)
    world.run_for(0.5)
    assert tokens(world, world.opened()) < 1.0


def test_history_tells_of_a_later_attempt_than_the_mark(bench: Make) -> None:
    """The newest of both counts."""
    world = bench(rate=20.0, burst=50.0)
    world.pass_by(100)
    world.mark(0, 1, last_attempt_ms=BASE_MS)
    world.ledger(record("opened", 1), record("attempt", 1), accepted())
    assert tokens(world, world.opened()) < 1.0


def test_pair_buckets_are_inherited(bench: Make) -> None:
    """What predecessors sent to a person counts from when it may have left at the latest, and for nobody else."""
    world = bench(profile="cloud")
    world.ledger(record("opened", 1), record("attempt", 1), accepted())
    world.pass_by(2.0)
    lane = world.lane()
    lane.pairs = PairBuckets(6.0, 1)
    world.run(world.takeover.open(lane, 2))
    latest_s = AGE_MIN_S + BROKER_SKEW_S
    assert lane.pairs.wait_s(ADA, world.now_s) == pytest.approx(6.0 + latest_s - world.now_s, abs=0.01)
    assert lane.pairs.wait_s(BOB, world.now_s) == 0.0


# -- events ----------------------------------------------------------------------------------------------------------
PLACE = ("ready-normal", 0, 7)


@pytest.mark.parametrize(
    ("place", "committed", "waiting", "kept"),
    [
        (PLACE, 8, (), False),
        (PLACE, 7, (), True),
        (PLACE, 0, (), True),
        (PLACE, 8, ("r-1",), True),
        (PLACE, 8, ("r-2",), False),
        (("gone", 0, 7), 8, (), True),
        (None, 8, (), True),
    ],
    ids=["committed", "next", "uncommitted", "copy-waits", "other-copy", "other-topic", "no-place"],
)
def test_which_events_were_written(
    place: tuple[str, int, int] | None, committed: int, waiting: tuple[str, ...], kept: bool
) -> None:
    """An event is on Kafka for certain only if the settled record is committed and no copy of it waits."""
    state = LedgerState()
    state.apply(accepted(place=place), 0, 0)
    drop_written_events(state, {"ready-normal": Standing(committed, 9)}, waiting)
    assert (state.ids["r-1"].event is not None) is kept


def test_an_event_that_may_be_missing_is_written_with_its_record(bench: Make) -> None:
    """Settled, but uncommitted: the record comes again and the same event is written from the ledger, once."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1), accepted(place=("ready-normal", 0, 0)))
    settled = world.ready()
    lane = world.opened()
    assert not world.log("outbound-events"), "its record will come"
    world.deliver(settled)
    world.run_for(1.0)
    (event,) = world.log("outbound-events")
    assert event["event_id"] == "end-r-1"
    assert lane.ledger.ids["r-1"].event is None
    assert world.stream.windows.position(("ready-normal", 0)) == 1


def test_a_copy_keeps_an_event_that_may_be_missing(bench: Make) -> None:
    """The settled record may be committed because of its copy: as long as that waits, its event is not forgotten."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1), accepted(place=("ready-normal", 0, 0)))
    world.kafka.committed["ready-normal", 0] = 1
    copy = world.ready(topic="delayed-retry")
    lane = world.lane()
    world.opening(lane)
    world.deliver(copy)
    world.run_for(1.0)
    assert lane.is_open
    assert [event["event_id"] for event in world.log("outbound-events")] == ["end-r-1"]


def test_another_request_with_a_settled_id_is_a_duplicate(bench: Make) -> None:
    """Settled ids are known from history: the same id from another source record is told, and not sent."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1), accepted(source=source(0)))
    stranger = world.ready("r-1", 9)
    lane = world.opened()
    world.deliver(stranger)
    world.run_for(1.0)
    assert not lane.jobs
    assert [event["type"] for event in world.log("outbound-events")] == ["duplicate"]
