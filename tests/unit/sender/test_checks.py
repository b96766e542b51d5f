"""What forbids sending is asked twice: before an attempt is written, and in the step that writes the request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.sender import dispatch, flight
from pipeline.sender.lane import Lane
from pipeline.throttle.pair import PairBuckets
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import ADA, NUMBER
from tests.unit.sender.making import Bench, Make
from tests.unit.sender.sending import RECENT_MS, Api, opt_out, sends, told, written

WEBHOOK = f"number:{NUMBER}/webhook"
Step = Callable[[Bench, Lane], None]


def ready_to_send(world: Bench, *, age_s: float = 0.5) -> tuple[Lane, Api]:
    """A lane that has tokens and knows the opt-outs; an attempt may get so old."""
    api = sends(world)
    lane = world.opened()
    lane.attempt_age.limit_s = age_s
    world.run_for(2.0)
    return lane, api


def flag(name: str) -> tuple[Step, Step]:
    """A flag of the lane goes up, and down."""
    return (lambda _, lane: setattr(lane, name, True)), (lambda _, lane: setattr(lane, name, False))


def unverified(world: Bench, _lane: Lane) -> None:
    """The number's webhook is not known to work any more."""
    world.kafka.write("account-state", {"aspect": "webhook", "verified": False}, WEBHOOK)
    world.run_for(1.0)


def verified(world: Bench, _lane: Lane) -> None:
    """It does."""
    world.kafka.write("account-state", {"aspect": "webhook", "verified": True}, WEBHOOK)


def halted(_world: Bench, lane: Lane) -> None:
    """The API refuses the number."""
    lane.scopes.refused("number", "throttled", 0.0, 2.0, 4.0, 0.0)


BEFORE: dict[str, tuple[Step, Step]] = {
    "lease": (lambda world, _: world.stream.lease.revoke(), lambda world, _: world.stream.lease.renew(1e9)),
    "draining": flag("draining"),
    "closed": flag("closed"),
    "kafka": flag("kafka_away"),
    "webhook": (unverified, verified),
    "halt": (halted, lambda world, _: world.run_for(2.0)),
    "opt-outs": (lambda world, _: world.run_for(7.0), lambda world, _: world.run_for(20.0)),
}


@pytest.mark.parametrize("why", BEFORE)
def test_what_forbids_sending_forbids_the_attempt(bench: Make, why: str) -> None:
    """Lease, drain, halt and the like stop the pump: nobody loops between attempt and void, no token is burnt."""
    world = bench(profile="cloud", stalls=((3.0, 20.0),) if why == "opt-outs" else ())
    lane, api = ready_to_send(world)
    world.deliver(world.ready(source_ms=RECENT_MS))
    begins, ends = BEFORE[why]
    job = lane.jobs["r-1"]
    assert job.chain is not None
    lane.chains.take(job.priority)
    begins(world, lane)
    lane.offer(job.chain, world.now_s)
    tokens = lane.bucket.tokens(world.now_s)
    world.scheduling.wake(lane)
    world.run_for(2.0)
    assert written(world, lane) == []
    assert lane.bucket.tokens(world.now_s) >= tokens
    ends(world, lane)
    world.scheduling.wake(lane)
    world.run_for(3.0)
    assert written(world, lane) == [("attempt", 1), ("settled", 1)]
    assert api.posts == ["r-1:1"]


def test_a_lane_that_is_not_open_writes_no_attempt(bench: Make) -> None:
    """Whatever wakes it: before its history is read, a lane sends nothing."""
    world = bench(profile="cloud")
    lane, _ = ready_to_send(world)
    lane.is_open = False
    world.deliver(world.ready())
    assert list(lane.jobs) == []
    world.intake.open(lane)
    world.scheduling.wake(lane)
    world.run_for(2.0)
    assert written(world, lane) == []
    lane.is_open = True
    world.scheduling.wake(lane)
    world.run_for(1.0)
    assert written(world, lane) == [("attempt", 1), ("settled", 1)]


# -- at the write ------------------------------------------------------------------------------------------------------
def fill_nothing(world: Bench, lane: Lane) -> None:
    """Others spend all tokens."""
    while lane.bucket.has(world.now_s):
        lane.bucket.take(world.now_s)


def pair_full(world: Bench, lane: Lane) -> None:
    """Another chain to this person was faster."""
    assert lane.pairs is not None
    lane.pairs.take(ADA, world.now_s)


AT_WRITE: dict[str, tuple[Step, float, list[tuple[str, int]]]] = {
    "draining": (lambda _, lane: setattr(lane, "draining", True), 0.0, [("attempt", 1), ("void", 1)]),
    "lease": (lambda world, _: world.stream.lease.revoke(), 0.0, [("attempt", 1)]),
    "stale": (lambda *_: None, 0.6, [("attempt", 1), ("void", 1), ("attempt", 2), ("settled", 2)]),
    "halt": (halted, 0.0, [("attempt", 1), ("void", 1)]),
    "token": (fill_nothing, 0.0, [("attempt", 1), ("void", 1), ("attempt", 2), ("settled", 2)]),
    "pair": (pair_full, 0.0, [("attempt", 1), ("void", 1)]),
}


@pytest.mark.parametrize("why", AT_WRITE)
def test_the_last_check_keeps_a_request_from_leaving(bench: Make, why: str) -> None:
    """What changed since the choice is seen in the step that writes: void, no POST, and the number not used again."""
    world = bench(profile="cloud")
    lane, api = ready_to_send(world)
    lane.pairs = PairBuckets(6.0, 1)
    changes, passes_s, expected = AT_WRITE[why]

    async def meanwhile() -> None:
        changes(world, lane)
        await asyncio.sleep(passes_s)

    api.before = meanwhile
    world.deliver(world.ready())
    world.run_for(1.5)
    assert api.refused == [why]
    assert api.posts == [f"r-1:{number}" for kind, number in expected if kind == "settled"]
    assert written(world, lane) == expected


def test_a_lane_that_was_given_up_posts_no_more(bench: Make) -> None:
    """Not even what had its attempt acknowledged: whatever the lease says, another owner may act by now."""
    world = bench(profile="cloud")
    lane, api = ready_to_send(world)

    async def meanwhile() -> None:
        world.handover.close_all()

    api.before = meanwhile
    world.deliver(world.ready())
    world.run_for(2.0)
    assert (api.refused, api.posts) == (["draining"], [])
    assert written(world, lane) == [("attempt", 1)]


@pytest.mark.parametrize(
    ("why", "changes", "fields", "end"),
    [
        ("expired", None, {"expires_ms": BASE_MS + 3_000}, ("expired", "expired")),
        ("expired", None, {"valid_until_ms": BASE_MS + 3_000, "valid_cause": "window_closed"},
         ("rejected", "window_closed")),
        ("opt_out", opt_out, {}, ("rejected", "consent_withdrawn")),
    ],
    ids=["expired", "judgement-over", "opt-out"],
)  # fmt: skip
def test_what_must_not_go_any_more_ends_unsent(
    bench: Make, why: str, changes: Callable[[Bench], None] | None, fields: dict[str, Any], end: tuple[str, str]
) -> None:
    """An expiry or opt-out between attempt and write is obeyed, told, and settled by check."""
    world = bench(profile="cloud")
    lane, api = ready_to_send(world, age_s=5.0)

    async def meanwhile() -> None:
        if changes is not None:
            changes(world)
        await asyncio.sleep(1.5)

    api.before = meanwhile
    world.deliver(world.ready(**fields))
    world.run_for(4.0)
    assert (api.refused, api.posts) == ([why], [])
    assert written(world, lane, ("kind", "basis")) == [("attempt", None), ("void", None), ("settled", "check")]
    assert told(world) == [end]


def test_stale_opt_outs_are_seen_at_the_write(bench: Make) -> None:
    """Knowledge that grew old since the choice forbids the write; the message goes when it is fresh again."""
    world = bench(profile="cloud", stalls=((2.0, 12.0),))
    _, api = ready_to_send(world, age_s=10.0)

    async def meanwhile() -> None:
        await asyncio.sleep(6.0)

    api.before = meanwhile
    world.deliver(world.ready(source_ms=RECENT_MS))
    world.run_for(9.0)
    assert (api.refused, api.posts) == (["opt_outs_stale"], [])
    world.run_for(6.0)
    assert api.posts == ["r-1:2"]


def test_an_attempt_is_acknowledged_before_its_request_is_written(bench: Make) -> None:
    """While Kafka has not taken the attempt, nothing is posted; if it never does, a void says so."""
    world = bench(profile="cloud", outages=((3.0, 20.0),))
    lane, api = ready_to_send(world)
    world.run_for(0.9995)
    world.deliver(world.ready(source_ms=RECENT_MS))
    world.run_for(15.0)
    assert list(lane.jobs) == ["r-1"]
    assert api.posts == []
    world.run_for(20.0)
    assert api.posts == ["r-1:2"]
    assert written(world, lane) == [("void", 1), ("attempt", 2), ("settled", 2)]


# -- tokens ------------------------------------------------------------------------------------------------------------
def crowd(world: Bench, count: int) -> None:
    """Messages to as many people."""
    for n in range(count):
        world.deliver(world.ready(f"r-{n}", n, recipient=f"1555011{n:04d}", source_ms=RECENT_MS))


def test_no_more_messages_are_on_their_way_than_there_are_tokens(bench: Make) -> None:
    """Who was chosen has a token to come, taken in the step that writes: none is spoken for twice, and none ages."""
    world = bench(profile="v1", rate=2.0, burst=4.2)
    lane, api = ready_to_send(world)
    assert lane.bucket.tokens(world.now_s) == pytest.approx(4.0)
    crowd(world, 10)
    world.run_for(0.1)
    assert len(api.posts) == 4
    world.run_for(10.0)
    assert len(api.posts) == 10
    assert [kind for kind, _ in written(world, lane)].count("attempt") == 10


def test_messages_on_their_way_are_bounded(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens there are: between choice and write there are so few that attempts do not grow old."""
    monkeypatch.setattr(dispatch, "ON_WAY_MAX", 3)
    monkeypatch.setattr(flight, "ON_WAY_MAX", 3)
    world = bench(profile="v1", rate=50.0, burst=150.0)
    lane, api = ready_to_send(world)
    crowd(world, 10)
    world.scheduling.pump(lane)
    assert lane.on_way == 3
    world.run_for(2.0)
    assert len(api.posts) == 10


def test_a_person_is_written_to_as_often_as_the_pair_limit_allows(bench: Make) -> None:
    """Each request takes from the person's bucket, too: the next one waits, and is told so."""
    world = bench(profile="cloud")
    lane, api = ready_to_send(world)
    lane.pairs = PairBuckets(6.0, 1)
    world.deliver(*(world.ready(f"r-{n}", n, source_ms=RECENT_MS) for n in range(2)))
    world.run_for(4.0)
    assert api.posts == ["r-0:1"]
    assert told(world, "r-1") == [("deferred", "pair_limited")]
    world.run_for(4.0)
    assert api.posts == ["r-0:1", "r-1:1"]
