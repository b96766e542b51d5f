"""A red number's bulk that is in a lane already goes back to the gate; or its rate is halved; a ban stops all."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.records.ready import parse_ready
from pipeline.sender.lane import Lane
from pipeline.sender.quality import SLOW_PART, Quality
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_values import NUMBER
from tests.unit.sender.making import MARKS, Bench, Make
from tests.unit.sender.sending import Api, sends, told

HOUR_MS = 3_600_000
ACCOUNT = "300000000000001"
LASTS: dict[str, Any] = {
    "source_ms": BASE_MS + 100, "expires_ms": BASE_MS + 72 * HOUR_MS, "valid_until_ms": BASE_MS + 72 * HOUR_MS,
}  # fmt: skip
RESTRICTED = {"restrictions": [{"type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "until": None}]}


def flag(world: Bench, *, flagged: bool) -> None:
    """WhatsApp says whether the number's quality is low."""
    told = {"kind": "number", "id": NUMBER, "aspect": "quality", "flagged": flagged, "at": rfc3339(world.ctx.unix_ms())}
    world.kafka.write(MARKS, told, f"number:{NUMBER}/quality")


def sender(bench: Make, policy: str = "pause-bulk") -> tuple[Bench, Api, Lane]:
    """A sender of a cloud number, at work."""
    world = bench(profile="cloud", rate=10.0, burst=10)
    number = world.ctx.settings.numbers[NUMBER].model_copy(update={"account": ACCOUNT})
    rules = world.ctx.settings.policy.model_copy(update={"on_quality_red": policy})
    world.ctx.settings = world.ctx.settings.model_copy(update={"policy": rules, "numbers": {NUMBER: number}})
    api = sends(world)
    lane = world.opened()
    world.run_for(2.0)
    return world, api, lane


def waiting(world: Bench) -> None:
    """A message of each priority comes out of its ready topic."""
    world.deliver(
        world.ready("bulk", 0, "ready-bulk", priority="bulk", category="marketing", **LASTS),
        world.ready("normal", 1, **LASTS),
        world.ready("urgent", 2, "ready-urgent", priority="urgent", **LASTS),
    )
    world.run_for(2.0)


def test_bulk_in_the_lane_is_held(bench: Make) -> None:
    """`deferred: held_quality` and back through the gate after an hour; urgent and normal go on."""
    world, api, _ = sender(bench)
    flag(world, flagged=True)
    world.run_for(1.0)
    waiting(world)
    assert sorted(api.posts) == ["normal:1", "urgent:1"]
    assert told(world, "bulk") == [("deferred", "held_quality")]
    [copy] = [parse_ready(value) for value in world.log("delayed-retry-1h")]
    assert copy.via_gate
    assert copy.due_ms is not None
    world.deliver(*world.kafka.log("delayed-retry-1h"))
    world.run_for(HOUR_MS / 1000 + 120)
    world.deliver(*world.kafka.log("delayed-retry"))
    world.run_for(120)
    assert [value["request_id"] for value in world.log("outbound-requests")] == ["bulk"]


def test_nothing_is_held_when_the_flag_is_lifted(bench: Make) -> None:
    """What comes then goes at once."""
    world, api, _ = sender(bench)
    flag(world, flagged=True)
    flag(world, flagged=False)
    world.run_for(1.0)
    waiting(world)
    assert len(api.posts) == 3


def test_a_restricted_account_holds_bulk(bench: Make) -> None:
    """It may not begin conversations: campaigns would only be refused."""
    world, api, _ = sender(bench, "slow")
    world.kafka.write(MARKS, RESTRICTED, f"account:{ACCOUNT}/restriction")
    world.run_for(1.0)
    waiting(world)
    assert sorted(api.posts) == ["normal:1", "urgent:1"]


@pytest.mark.parametrize(("policy", "part"), [("pause-bulk", 1.0), ("slow", SLOW_PART), ("none", 1.0)])
def test_slow_halves_the_rate(bench: Make, policy: str, part: float) -> None:
    """Of the whole number, until the flag is lifted; other policies leave the rate as it is."""
    world, _, lane = sender(bench, policy)
    whole = lane.limit.rate_per_s
    for flagged, wanted in ((True, part), (False, 1.0)):
        flag(world, flagged=flagged)
        world.run_for(1.0)
        lane.follow_factor(world.now_s)
        assert lane.bucket.limit.rate_per_s == pytest.approx(whole * wanted)


@pytest.mark.parametrize(("policy", "posts"), [("pause-bulk", 0), ("slow", 0), ("none", 3)])
def test_a_disabled_account_stands_still(bench: Make, policy: str, posts: int) -> None:
    """With the reason `quality`, until it is reinstated; with `none` the API's refusals decide."""
    world, api, _ = sender(bench, policy)
    world.kafka.write(MARKS, {"state": "DISABLE"}, f"account:{ACCOUNT}/ban")
    world.run_for(1.0)
    waiting(world)
    assert len(api.posts) == posts
    stopped = f'wapipe_number_stopped{{number="{NUMBER}",reason="quality"}} {0.0 if posts else 1.0}'
    assert stopped in world.ctx.metrics.exposition().decode()
    world.kafka.write(MARKS, {"state": "REINSTATE"}, f"account:{ACCOUNT}/ban")
    world.run_for(2.0)
    assert len(api.posts) == 3


def test_the_rating_is_a_metric(bench: Make) -> None:
    """3 green, 2 yellow, 1 red, 0 unknown."""
    world, _, lane = sender(bench)
    shown = []
    for quality in ("UNKNOWN", "RED", "YELLOW", "GREEN"):
        value = {"quality": quality, "at": rfc3339(world.ctx.unix_ms())}
        world.kafka.write(MARKS, value, f"number:{NUMBER}/preflight")
        world.run_for(1.0)
        Quality(world.ctx).follow(lane)
        shown.append(world.ctx.metrics.registry.get_sample_value("wapipe_number_quality", {"number": NUMBER}))
    assert shown == [0.0, 1.0, 2.0, 3.0]
