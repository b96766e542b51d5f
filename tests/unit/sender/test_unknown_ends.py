"""How a message of unknown outcome ends: by its policy, a replay, an opt-out or its expiry, never as "never sent"."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import BOB
from tests.unit.sender.making import LEDGER, Bench, Make
from tests.unit.sender.sending import (
    BASIS,
    LOST,
    RECENT_MS,
    REFUSED,
    WAIT_S,
    Api,
    goes_on,
    inherits,
    opt_out,
    position,
    sends,
    status,
    told,
    until,
    waiting,
    written,
)  # fmt: skip


# -- the policy --------------------------------------------------------------------------------------------------------
def test_dead_letter_ends_it_as_failed(bench: Make) -> None:
    """`failed: outcome_unknown`, settled by policy; `dead-letter` keeps the request; nothing is sent."""
    world, api = bench(profile="cloud", policy="dead-letter"), Api()
    lane, stored = inherits(world, api)
    until(world, 2 * WAIT_S + 2.0)
    assert api.posts == []
    assert written(world, lane, BASIS) == [("settled", 1, "policy")]
    assert told(world)[-1] == ("failed", "outcome_unknown")
    [kept] = world.kafka.log("dead-letter")
    assert kept.json()["request_id"] == "r-1"
    assert position(world, stored) == 1


def replays(world: Bench, lane: Lane, *, by_next_owner: bool) -> Lane:
    """A request failed for want of an outcome; an operator sends it again."""
    assert told(world)[-1][0] == "failed"
    world.deliver(*world.kafka.log("delayed-retry"))
    world.run_for(1.0)
    if by_next_owner:
        world.commit()
        world.run(world.handover.hand_over())
        world.stream.windows.forget_all()
        world.ctx.kept.clear()
        lane = world.opened(3)
    world.deliver(world.ready(source_ms=RECENT_MS, replay=True))
    assert lane.jobs["r-1"].unknown, "it can not end as never sent"
    world.run_for(5.0)
    return lane


def failing(world: Bench, *answers: Any) -> tuple[Lane, Api]:
    """A request whose first answer is lost fails in the end."""
    api = sends(world, LOST, *answers)
    lane = world.opened()
    world.run_for(2.0)
    world.deliver(world.ready(source_ms=RECENT_MS))
    until(world, 2 * WAIT_S + 5.0)
    return lane, api


@pytest.mark.parametrize("by_next_owner", [False, True], ids=["same owner", "next owner"])
def test_an_operators_replay_is_sent_whatever_the_policy(bench: Make, by_next_owner: bool) -> None:
    """Who failed for want of an outcome and is replayed goes out again, and is still one of unknown outcome."""
    world = bench(profile="cloud", policy="dead-letter")
    lane, api = failing(world)
    replays(world, lane, by_next_owner=by_next_owner)
    assert api.posts == ["r-1:1", "r-1:2"]
    assert told(world)[-1] == ("accepted", None)


@pytest.mark.parametrize("by_next_owner", [False, True], ids=["same owner", "next owner"])
def test_a_replay_of_what_was_refused_after_a_lost_answer_is_one_of_unknown_outcome(
    bench: Make, by_next_owner: bool
) -> None:
    """The API refused its second attempt; what became of the first one nobody knows, not even the next owner."""
    world = bench(profile="cloud")
    lane, api = failing(world, REFUSED)
    replays(world, lane, by_next_owner=by_next_owner)
    assert api.posts == ["r-1:1", "r-1:2", "r-1:3"]


def test_a_replay_that_the_ledger_has_forgotten_is_sent(bench: Make) -> None:
    """Long after it was given up nobody waits for evidence any more, whatever the policy."""
    world = bench(profile="cloud", policy="dead-letter")
    api = sends(world)
    lane = world.opened()
    world.run_for(2.0)
    world.deliver(world.ready(source_ms=RECENT_MS, replay=True, unknown=True, attempt=3))
    assert lane.jobs["r-1"].unknown, "it can not end as never sent"
    world.run_for(5.0)
    assert api.posts == ["r-1:4"]
    assert told(world)[-1] == ("accepted", None)


def test_a_replay_of_what_was_taken_all_the_same_is_not_sent(bench: Make) -> None:
    """A status that came too late for the policy proves it: the replay ends as accepted, and that counts."""
    world = bench(profile="cloud", policy="dead-letter")
    lane, api = failing(world)
    status(world, "r-1", "wamid.late")
    replays(world, lane, by_next_owner=False)
    assert api.posts == ["r-1:1"]
    assert written(world, lane, BASIS)[-2:] == [("attempt", 2, None), ("settled", 2, "evidence")]
    assert told(world)[-1] == ("accepted", None)
    assert lane.ledger.ids["r-1"].outcome == "accepted"


# -- ends --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("halted_s", "end_s"), [(1.0, 50), (60.0, 80)], ids=["waits for evidence", "waits for its turn"]
)
@pytest.mark.parametrize("end", ["expires", "judgement over", "opt-out"])
def test_it_never_ends_as_never_sent(bench: Make, end: str, halted_s: float, end_s: int) -> None:
    """Expired or opted out, an id with an attempt of unknown outcome fails as such: it may have been delivered."""
    end_ms = BASE_MS + end_s * 1000
    fields: dict[str, Any] = {"expires_ms": end_ms} if end == "expires" else {}
    if end == "judgement over":
        fields = {"valid_until_ms": end_ms, "valid_cause": "window_closed"}
    world, api = bench(profile="cloud"), Api()
    lane, _ = inherits(world, api, opened_s=40.0, **fields)
    lane.scopes.refused("number", "throttled", 0.0, world.now_s, halted_s, 0.0)
    until(world, end_s - 2.0)
    assert lane.jobs["r-1"].stage is (Stage.WAITING if end_s > 2 * WAIT_S else Stage.UNKNOWN)
    if end == "opt-out":
        opt_out(world)
    until(world, 110.0)
    assert api.posts == []
    assert written(world, lane, BASIS) == [("settled", 1, "policy")]
    assert told(world)[-1] == ("failed", "outcome_unknown")


def test_an_expiry_ends_the_wait(bench: Make) -> None:
    """At its end a request is given up, though evidence might still come."""
    world, api = bench(profile="cloud"), Api()
    lane, _ = inherits(world, api, expires_ms=BASE_MS + 20_000)
    until(world, 19.0)
    assert written(world, lane) == []
    until(world, 22.0)
    assert told(world)[-1] == ("failed", "outcome_unknown")
    assert api.posts == []


def test_an_opt_out_does_not_hide_evidence(bench: Make) -> None:
    """Taken before the person said stop: that is what the event says."""
    world = bench(profile="cloud")
    lane, sender, api = waiting(world)
    world.run(sender.unknowns.tick(lane))
    status(world, "r-1")
    opt_out(world)
    world.run_for(1.0)
    goes_on(world, lane)
    assert api.posts == []
    assert told(world)[-1] == ("accepted", None)


def test_an_opt_out_is_not_told_before_the_statuses_are_read(bench: Make) -> None:
    """The end waits until all statuses were looked at, too."""
    world = bench(profile="cloud")
    lane, sender, api = waiting(world)
    opt_out(world)
    status(world, "r-1")
    goes_on(world, lane)
    assert (api.posts, written(world, lane)) == ([], [])
    world.run(sender.unknowns.tick(lane))
    world.run_for(2.0)
    assert told(world)[-1] == ("accepted", None)


# -- one message in hand per person on v1 ------------------------------------------------------------------------------
@pytest.mark.parametrize(("profile", "at_once"), [("v1", 1), ("cloud", 2)])
def test_one_message_in_hand_per_person_where_statuses_name_no_request(bench: Make, profile: str, at_once: int) -> None:
    """On v1, whatever the priorities, the second one waits for the first one's answer; where statuses tell, not."""
    world = bench(profile=profile)
    answer = world.loop.create_future()
    api = sends(world, answer)
    world.opened()
    world.run_for(2.0)
    world.deliver(world.ready(source_ms=RECENT_MS))
    world.run_for(1.0)
    world.deliver(world.ready("r-2", 1, topic="ready-urgent", priority="urgent", source_ms=RECENT_MS))
    world.deliver(world.ready("r-3", 2, recipient=BOB, source_ms=RECENT_MS))
    world.run_for(1.0)
    assert len(api.posts) == at_once + 1, "another person's goes"
    answer.set_result(LOST)
    world.run_for(1.0)
    assert len(api.posts) == at_once + 1, "its outcome is unknown: its status may still come"
    until(world, 2.0 + 2 * WAIT_S + 5.0)
    attempts = [entry["request_id"] for entry in world.log(LEDGER) if entry["kind"] == "attempt"]
    assert attempts == (["r-1", "r-3", "r-1", "r-2"] if profile == "v1" else ["r-1", "r-2", "r-3", "r-1"])


def test_a_message_of_unknown_outcome_keeps_its_person_until_it_is_settled(bench: Make) -> None:
    """Also while it waits to be sent again: another one's status could be taken for its evidence (v1)."""
    world = bench(profile="v1")
    lane, sender, _ = waiting(world)
    world.run(sender.unknowns.tick(lane))
    lane.scopes.refused("number", "throttled", 0.0, world.now_s, 100.0, 0.0)
    goes_on(world, lane)
    assert lane.jobs["r-1"].stage is Stage.WAITING
    world.deliver(world.ready("r-2", 1, topic="ready-urgent", priority="urgent", source_ms=RECENT_MS))
    [chain] = [chain for chain in lane.chains if chain.key[1] == 0]
    assert not world.scheduling.hold_recipient(lane, chain)
