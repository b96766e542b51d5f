"""What a new owner inherits: unknown outcomes, opt-outs, an empty bucket, events that may be missing."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.sender.attempt_age import AGE_MIN_S
from pipeline.sender.jobs import Stage
from pipeline.sender.lane import BROKER_SKEW_S, NETWORK_JITTER_S, Lane
from pipeline.sender.ledger_state import LedgerState
from pipeline.sender.replay import Standing
from pipeline.sender.takeover import drop_written_events
from pipeline.throttle.pair import PairBuckets
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import ADA, BOB, record, source
from tests.unit.sender.making import Bench, Make, accepted

LONG_S = 5.0
AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT))


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
    # Who is who is read from the same moment on.
    assert world.began == [(topic, BASE_MS + 140_000) for topic in ("consent-updates", "recipient-aliases")]


def test_opt_outs_are_read_anew_for_an_older_source(bench: Make) -> None:
    """A request that is older than all before it needs what was said since: the reader begins again, earlier."""
    world = bench()
    world.pass_by(500)
    world.opened()
    world.deliver(world.ready(source_ms=BASE_MS + 200_000))
    topics, begins_ms = zip(*world.began[2:], strict=True)
    assert topics == ("consent-updates", "recipient-aliases")
    assert begins_ms[0] is not None
    assert begins_ms[0] == begins_ms[1] <= BASE_MS + 140_000


def test_opt_outs_are_read_though_nobody_waits(bench: Make) -> None:
    """With nothing to send, reading begins 60 s before `opened`, by broker time, whatever this host's clock says."""
    world = bench(skew_s=-300.0)
    world.pass_by(500)
    lane = world.opened()
    assert lane.ledger.opened_ms is not None
    assert world.began[0] == ("consent-updates", lane.ledger.opened_ms - 60_000)


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


def test_an_event_that_was_written_is_not_kept(bench: Make) -> None:
    """Settled, committed, and no copy waits: neither memory nor marks hold on to it."""
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1), accepted(place=("ready-normal", 0, 0)))
    world.ready()
    world.kafka.committed["ready-normal", 0] = 1
    lane = world.opened()
    assert lane.ledger.ids["r-1"].event is None
    assert world.handover.needed(lane) == lane.ledger.next_offset


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
