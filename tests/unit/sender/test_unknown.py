"""A message whose outcome nobody knows waits for evidence: statuses, a late answer in its ledger, then the policy."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.sender.jobs import Stage
from pipeline.sender.unknown import FRESH_ENOUGH_S, informed
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import BOB, record
from tests.unit.sender.making import Make, accepted
from tests.unit.sender.sending import (
    BASIS,
    EVENTS,
    LOST,
    RECENT_MS,
    TRANSIENT,
    WAIT_S,
    Api,
    Sender,
    goes_on,
    inherits,
    position,
    sends,
    status,
    told,
    until,
    waiting,
    written,
)  # fmt: skip

AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT))


# -- evidence ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("profile", "names"), [("cloud", "r-1"), ("v1", None)])
def test_a_status_settles_an_inherited_unknown(bench: Make, profile: str, names: str | None) -> None:
    """Found: accepted by evidence, under the message id of the status, which is known from then on; no POST."""
    world, api = bench(profile=profile), Api()
    lane, stored = inherits(world, api)
    status(world, names, "wamid.7")
    world.run_for(3.0)
    assert api.posts == []
    assert written(world, lane, BASIS) == [("settled", 1, "evidence")]
    [event] = [event for event in world.log(EVENTS) if event["terminal"]]
    assert (event["type"], event["message_id"]) == ("accepted", "wamid.7")
    assert "wamid.7" in lane.ledger.message_ids, "it proves nothing of another message"
    assert position(world, stored) == 1


@pytest.mark.parametrize("skew_s", [0.0, 300.0])
def test_statuses_are_read_from_before_the_attempt(bench: Make, skew_s: float) -> None:
    """From 60 s before the attempt's broker time, whatever this host's clock says."""
    world = bench(profile="cloud", skew_s=skew_s)
    world.pass_by(100.0)
    inherits(world, Api())
    assert ("inbound-events", BASE_MS + 100_000 - 60_000) in world.began


def test_any_attempt_of_a_message_may_be_proven(bench: Make) -> None:
    """Of several attempts without an outcome the newest sets the wait; a status of an older one is proof as well."""
    world, api = bench(profile="v1"), Api()
    world.ledger(record("opened", 1), record("attempt", 1))
    world.pass_by(40.0)
    world.ledger(record("attempt", 1, attempt=2))
    status(world, None, stamp_ms=BASE_MS + 1_000)
    stored = world.ready(source_ms=RECENT_MS)
    Sender(world, api)
    world.opening(world.lane())
    world.deliver(stored)
    world.run_for(4.0)
    assert api.posts == []
    assert told(world)[-1] == ("accepted", None)


@pytest.mark.parametrize(
    ("lag_s", "reading_s", "expected"),
    [
        (0.0, 0.0, True),
        (FRESH_ENOUGH_S, 0.0, False),
        (float("inf"), 2 * WAIT_S - 0.1, False),
        (float("inf"), 2 * WAIT_S, True),
    ],
    ids=["all-read", "behind", "never-read", "too-long"],
)
def test_who_has_not_looked_does_not_conclude(lag_s: float, reading_s: float, expected: bool) -> None:
    """ "No evidence" counts once all statuses were looked at, or if they cannot be read for twice the wait."""
    assert informed(lag_s=lag_s, reading_s=reading_s, wait_s=WAIT_S) is expected


# -- its own ledger ----------------------------------------------------------------------------------------------------
def test_a_late_answer_of_a_predecessor_ends_it(bench: Make) -> None:
    """The owner reads its ledger on: an answer that a predecessor writes late is told, as the same event; no POST."""
    world, api = bench(profile="cloud"), Api()
    lane, stored = inherits(world, api)
    world.run_for(5.0)
    world.ledger(accepted())
    world.run_for(2.0)
    assert (api.posts, written(world, lane)) == ([], [])
    assert [event["event_id"] for event in world.log(EVENTS) if event["type"] == "accepted"] == ["end-r-1"]
    assert position(world, stored) == 1


@pytest.mark.parametrize(("policy", "by"), [("dead-letter", "policy"), ("resend", "evidence")])
def test_the_event_is_that_of_the_first_settlement(bench: Make, policy: str, by: str) -> None:
    """An answer before the owner's own settlement in the log is the truth: it is read, and its event written."""
    world, api = bench(profile="cloud", policy=policy), Api()
    lane, _ = inherits(world, api)
    settle = world.finish.record_settled

    async def too_late(*args: Any, **how: Any) -> None:
        world.ledger(accepted())
        await settle(*args, **how)

    world.finish.record_settled = too_late  # type: ignore[method-assign]
    if by == "evidence":
        status(world, "r-1", "wamid.other")
    until(world, 2 * WAIT_S + 5.0)
    assert written(world, lane, BASIS) == [("settled", 1, by)]
    assert [event["event_id"] for event in world.log(EVENTS) if event["type"] in ("accepted", "failed")] == ["end-r-1"]


def test_nothing_is_sent_again_before_the_statuses_are_read(bench: Make) -> None:
    """Whoever has not read them to their end does not know that there is no evidence."""
    world = bench(profile="cloud")
    lane, sender, api = waiting(world)
    world.run(sender.unknowns.tick(lane))
    sender.evidence.release()
    goes_on(world, lane)
    assert api.posts == []
    sender.evidence.require(BASE_MS)
    world.run(sender.unknowns.tick(lane))
    world.run_for(0.8)
    world.run(sender.unknowns.tick(lane))
    world.run_for(2.0)
    assert api.posts == ["r-1:2"]


def test_statuses_are_looked_at_before_each_further_post(bench: Make) -> None:
    """Evidence that came since the policy spoke ends the message: no second POST."""
    world = bench(profile="cloud")
    lane, sender, api = waiting(world)
    world.run(sender.unknowns.tick(lane))
    status(world, "r-1")
    world.run_for(1.0)
    goes_on(world, lane)
    assert api.posts == []
    assert written(world, lane, BASIS) == [("settled", 1, "evidence")]


def test_evidence_ends_it_while_nothing_may_be_sent(bench: Make) -> None:
    """Also when the policy has spoken: what waits for its turn behind a refusal is settled when a status comes."""
    world, api = bench(profile="cloud"), Api()
    lane, _ = inherits(world, api)
    lane.scopes.refused("number", "throttled", 0.0, world.now_s, 1_000.0, 0.0)
    until(world, 2 * WAIT_S + 3.0)
    assert lane.jobs["r-1"].stage is Stage.WAITING
    status(world, "r-1")
    world.run_for(3.0)
    assert not lane.jobs
    assert (api.posts, told(world)[-1]) == ([], ("accepted", None))


def test_the_ledger_is_looked_at_before_each_further_post(bench: Make) -> None:
    """An answer of a predecessor that was read since the policy spoke ends the message: no second POST."""
    world = bench(profile="cloud")
    lane, sender, api = waiting(world)
    world.run(sender.unknowns.tick(lane))
    world.ledger(accepted())
    world.run(sender.unknowns.tick(lane))
    goes_on(world, lane)
    assert api.posts == []
    assert ("accepted", None) in told(world)


def test_while_the_ledger_cannot_be_read_nothing_is_sent_again(bench: Make) -> None:
    """An answer of a predecessor may stand there: a message of unknown outcome waits, others go on."""
    world, api = bench(profile="cloud"), Api()
    lane, _ = inherits(world, api)
    lane.scopes.refused("number", "throttled", 0.0, world.now_s, 2 * WAIT_S + 5.0, 0.0)
    until(world, 2 * WAIT_S + 3.0)
    assert lane.jobs["r-1"].stage is Stage.WAITING, "it is sent again as soon as the number may send"
    reads = world.reader.read
    world.reader.read = fails  # type: ignore[assignment,method-assign]
    world.ledger(accepted())
    world.deliver(world.ready("r-2", 1, recipient=BOB, source_ms=RECENT_MS))
    world.run_for(20.0)
    assert api.posts == ["r-2:1"]
    world.reader.read = reads  # type: ignore[method-assign]
    world.run_for(3.0)
    assert api.posts == ["r-2:1"]
    assert ("accepted", None) in told(world, "r-1")


def fails(*_args: Any) -> int:
    """Kafka does not answer."""
    raise AWAY


# -- the wait ----------------------------------------------------------------------------------------------------------
def test_the_wait_runs_from_the_newest_attempt(bench: Make) -> None:
    """Of several open attempts the newest one sets it, by broker time; not the take-over."""
    world, api = bench(profile="cloud"), Api()
    world.ledger(record("opened", 1), record("attempt", 1))
    world.pass_by(20.0)
    world.ledger(record("attempt", 1, attempt=2))
    world.pass_by(40.0)
    stored = world.ready(source_ms=RECENT_MS)
    Sender(world, api)
    world.opening(world.lane())
    world.deliver(stored)
    until(world, 20.0 + 2 * WAIT_S - 2.0)
    assert api.posts == []
    until(world, 20.0 + 2 * WAIT_S + 2.0)
    assert api.posts == ["r-1:3"]


def test_the_wait_of_a_lost_answer_begins_anew_with_each(bench: Make) -> None:
    """A second request without an answer is waited for as long as the first, by the same rules."""
    world = bench(profile="cloud")
    api = sends(world, LOST, LOST)
    world.opened()
    world.run_for(2.0)
    world.deliver(world.ready(source_ms=RECENT_MS))
    until(world, 2.0 + 2 * WAIT_S - 2.0)
    assert api.posts == ["r-1:1"]
    until(world, 2.0 + 2 * WAIT_S + 2.0)
    assert api.posts == ["r-1:1", "r-1:2"]
    status(world, "r-9")
    until(world, 2.0 + 4 * WAIT_S - 2.0)
    assert api.posts == ["r-1:1", "r-1:2"], "that status was stamped too soon after the second attempt"
    until(world, 2.0 + 4 * WAIT_S + 4.0)
    assert api.posts == ["r-1:1", "r-1:2", "r-1:3"]


def test_statuses_that_flow_without_it_end_the_wait(bench: Make) -> None:
    """A status of that number, stamped later than attempt + wait: ours would have come."""
    world, api = bench(profile="cloud"), Api()
    inherits(world, api)
    until(world, WAIT_S + 1.0)
    status(world, "r-9")
    world.run_for(2.0)
    assert api.posts == ["r-1:2"]


def test_an_owner_knows_an_outcome_nobody_knew_before(bench: Make) -> None:
    """What is sent again and refused is still of unknown outcome: statuses are looked at before the next request."""
    world, api = bench(profile="cloud"), Api(TRANSIENT)
    lane, _ = inherits(world, api)
    until(world, 2 * WAIT_S + 0.7)
    assert api.posts == ["r-1:2"]
    status(world, "r-1")
    world.run_for(5.0)
    assert api.posts == ["r-1:2"]
    assert written(world, lane, BASIS)[-1] == ("settled", 2, "evidence")
