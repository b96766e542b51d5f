"""Campaigns that are paused or cancelled, and numbers that are paused: who goes, who waits, who ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.sender import campaigns, scheduling
from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from pipeline.sender.stops import Stops
from tests.support.sender_kafka import BASE_MS, Stored
from tests.support.sender_values import ADA, BOB, NUMBER
from tests.unit.sender.making import Bench, Make
from tests.unit.sender.sending import LOST, RECENT_MS, Api, sends, told, written

LONGEST = "delayed-retry-1h"
DAY_MS = BASE_MS + 86_400_000


def says(world: Bench, state: str, campaign: str = "spring") -> None:
    """An operator pauses, resumes or cancels a campaign."""
    value = {"kind": "campaign", "id": campaign, "aspect": "campaign", "state": state, "reason": None}
    world.kafka.write("account-state", {**value, "at": rfc3339(BASE_MS), "by": "ada"}, f"campaign:{campaign}")


def pauses(world: Bench, priorities: list[str] | None, *, paused: bool = True) -> None:
    """An operator pauses or resumes the number."""
    value = {"kind": "number", "id": NUMBER, "aspect": "pause", "paused": paused, "priorities": priorities}
    world.kafka.write("account-state", {**value, "reason": None, "at": "", "by": "ada"}, f"number:{NUMBER}/pause")


def of(world: Bench, request_id: str, offset: int, campaign: str | None = "spring", **fields: Any) -> Stored:
    """A message of a campaign stands in a ready topic."""
    topic = f"ready-{fields.get('priority', 'normal')}"
    return of_topic(world, topic, request_id, offset, campaign, **fields)


def of_topic(
    world: Bench, topic: str, request_id: str, offset: int, campaign: str | None = "spring", **fields: Any
) -> Stored:
    """A message of a campaign stands on a topic of the lane."""
    fields = {"expires_ms": DAY_MS, "valid_until_ms": DAY_MS, **fields}
    stored = world.ready(request_id, offset, topic, source_ms=RECENT_MS, **fields)
    value = stored.json()
    value["request"]["campaign"] = campaign
    world.kafka.log(topic).pop()
    return world.kafka.write(topic, value)


def begins(world: Bench, *states: str) -> tuple[Lane, Api]:
    """A lane that sends, which knows what an operator said about the campaign."""
    api = sends(world)
    for state in states:
        says(world, state)
    lane = world.opened()
    world.run_for(2.0)
    return lane, api


def copies(world: Bench) -> list[Stored]:
    """What stands on the topic of the longest delay."""
    return world.kafka.log(LONGEST)


def test_a_paused_campaign_is_held_and_nobody_else(bench: Make) -> None:
    """Its messages wait durably and are told so; the same person's message of another campaign behind them goes."""
    world = bench(profile="cloud")
    lane, api = begins(world, "paused")
    world.deliver(of(world, "r-1", 1), of(world, "r-2", 2, "summer"), of(world, "r-3", 3, None, recipient=BOB))
    world.run_for(2.0)
    assert sorted(api.posts) == ["r-2:1", "r-3:1"]
    assert told(world, "r-1") == [("deferred", "held_campaign")]
    assert [stored.json()["via_gate"] for stored in copies(world)] == [True]
    assert written(world, lane, ("kind", "request_id"))[0][1] != "r-1"
    assert set(lane.parked) == {"r-1"}
    assert world.stream.windows.position(("ready-normal", 0)) == 3, "no window waits for what is held"


def test_a_resumed_campaign_goes_on_at_once_in_order(bench: Make) -> None:
    """What is in memory goes within two seconds, a person's messages in the order of their sources, by no gate."""
    world = bench(profile="cloud")
    _, api = begins(world, "paused")
    world.deliver(*(of(world, f"r-{n}", n) for n in range(3)))
    world.run_for(2.0)
    assert api.posts == []
    world.deliver(*copies(world))
    says(world, "running")
    world.run_for(2.0)
    assert api.posts == ["r-0:1", "r-1:1", "r-2:1"]
    assert world.log("outbound-requests") == []


def test_what_comes_anew_does_not_overtake_what_was_held(bench: Make) -> None:
    """Copies that are not read yet go first: a new message of the campaign is put behind them."""
    world = bench(profile="cloud")
    _, api = begins(world, "paused")
    held = of_topic(world, LONGEST, "r-1", 1, reason="held_campaign", via_gate=True, due_ms=BASE_MS + 3_660_000)
    says(world, "running")
    world.run_for(1.0)
    world.deliver(of(world, "r-2", 2))
    world.run_for(1.0)
    assert api.posts == []
    world.deliver(held, *copies(world)[1:])
    world.run_for(2.0)
    assert api.posts == ["r-1:1", "r-2:1"]


def test_held_messages_do_not_fill_memory(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than so many are known by their copies alone; read again, they go when the campaign goes on."""
    monkeypatch.setattr(campaigns, "KEPT_MAX", 2)
    world = bench(profile="cloud")
    lane, api = begins(world, "paused")
    world.deliver(*(of(world, f"r-{n}", n, recipient=f"1555011{n:04d}") for n in range(6)))
    world.run_for(3.0)
    assert len(lane.jobs) == 2
    assert len(copies(world)) == 6
    world.deliver(*copies(world))
    says(world, "running")
    world.run_for(3.0)
    assert len(api.posts) == 6


def test_a_paused_campaign_s_message_expires(bench: Make) -> None:
    """Its copy is due at its end, when it goes to the gate, which says `expired`; nothing is posted."""
    world = bench(profile="cloud")
    _, api = begins(world, "paused")
    world.deliver(of(world, "r-1", 1, expires_ms=BASE_MS + 10_000))
    world.run_for(2.0)
    [copy] = [stored for topic in ("delayed-retry", "delayed-retry-1m") for stored in world.kafka.log(topic)]
    assert copy.json()["due_at"] == rfc3339(BASE_MS + 10_000)
    world.deliver(copy)
    world.run_for(12.0)
    for _ in range(3):
        world.deliver(*world.kafka.log("delayed-retry")[1:])
        world.run_for(5.0)
    assert api.posts == []
    assert [value["request_id"] for value in world.log("outbound-requests")] == ["r-1"]


@pytest.mark.parametrize("where", ["ready", "held", "behind", "read-later"])
def test_a_cancelled_campaign_s_messages_end(bench: Make, where: str) -> None:
    """Chosen, held, behind another one, or still on a topic: told as cancelled, settled by check, never posted."""
    world = bench(profile="cloud")
    lane, api = begins(world, "paused")
    if where == "behind":
        pauses(world, None)
        world.run_for(0.5)
        world.deliver(of(world, "r-0", 0, None))
    record = of(world, "r-1", 1)
    if where != "read-later":
        world.deliver(record)
        world.run_for(1.0)
    if where == "held":
        world.deliver(*copies(world))
    says(world, "cancelled")
    world.run_for(2.0)
    if where == "read-later":
        world.deliver(record)
        world.run_for(1.0)
    assert told(world, "r-1")[-1] == ("cancelled", "campaign_cancelled")
    assert ("settled", "check") in written(world, lane, ("kind", "basis"))
    assert "r-1" not in lane.jobs
    assert [post for post in api.posts if post.startswith("r-1")] == []


def test_a_campaign_cancelled_between_choice_and_write_is_not_posted(bench: Make) -> None:
    """The step that writes the request sees it: void, and the end."""
    world = bench(profile="cloud")
    lane, api = begins(world)
    lane.attempt_age.limit_s = 5.0

    async def meanwhile() -> None:
        says(world, "cancelled")
        await asyncio.sleep(1.5)

    api.before = meanwhile
    world.deliver(of(world, "r-1", 1))
    world.run_for(4.0)
    assert (api.refused, api.posts) == (["campaign_cancelled"], [])
    assert written(world, lane) == [("attempt", 1), ("void", 1), ("settled", 1)]
    assert told(world) == [("cancelled", "campaign_cancelled")]


def test_what_may_have_gone_is_never_told_as_cancelled(bench: Make) -> None:
    """A message whose answer was lost ends by evidence or as of unknown outcome, whatever happens to its campaign."""
    world = bench(profile="cloud")
    _, api = begins(world)
    api.answers.append(LOST)
    world.deliver(of(world, "r-1", 1))
    world.run_for(1.0)
    says(world, "cancelled")
    world.run_for(100.0)
    assert api.posts == ["r-1:1"]
    assert told(world, "r-1")[-1] == ("failed", "outcome_unknown")


def test_a_cancelled_crowd_ends_in_turns(bench: Make) -> None:
    """However many wait in memory: within one step of the loop only so many are taken, and all end."""
    world = bench(profile="cloud")
    lane, api = begins(world)
    pauses(world, None)
    world.run_for(1.0)
    world.deliver(*(of(world, f"r-{n}", n, recipient=f"1555011{n:04d}") for n in range(1000)))
    says(world, "cancelled")
    world.run_for(20.0)
    assert api.posts == []
    assert len(lane.jobs) == 0
    assert set(told(world)) == {("cancelled", "campaign_cancelled")}
    assert len(told(world)) == 1000


def test_room_is_made_for_what_goes_on(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While held messages fill the window, their copies are renewed at its end, until the word's time is read."""
    monkeypatch.setattr(scheduling, "DELAYED_WINDOW_HIGH", 1)
    monkeypatch.setattr(scheduling, "DELAYED_WINDOW_LOW", 0)
    world = bench(profile="cloud")
    lane, _ = begins(world, "paused")
    says(world, "paused", "other")
    world.run_for(1.0)
    stored = of_topic(world, LONGEST, "r-1", 1, reason="held_campaign", via_gate=True, due_ms=BASE_MS + 3_660_000)
    world.deliver(stored)
    world.run_for(0.1)
    says(world, "running", "other")
    world.run_for(2.0)
    first, second = copies(world)
    assert second.json()["request"]["request_id"] == "r-1"
    assert second.json()["via_gate"]
    assert lane.jobs == {}
    assert world.stream.windows.position(first.where) == first.place + 1
    world.deliver(second)
    world.run_for(2.0)
    assert len(copies(world)) == 2, "what was written since the word was seen once"


def test_a_paused_number_holds_what_is_named(bench: Make) -> None:
    """Bulk is held and codes go on; with no priority named, nothing goes; on resume all goes, no attempt spent."""
    world = bench(profile="cloud")
    lane, api = begins(world)
    pauses(world, ["bulk"])
    world.run_for(1.0)
    bulk = of(world, "r-1", 1, None, priority="bulk", recipient=BOB)
    world.deliver(bulk, of(world, "r-2", 2, None, priority="urgent"))
    world.run_for(1.0)
    assert api.posts == ["r-2:1"]
    pauses(world, None)
    world.run_for(1.0)
    world.deliver(of(world, "r-3", 3, None, priority="urgent"))
    world.run_for(1.0)
    assert api.posts == ["r-2:1"]
    pauses(world, None, paused=False)
    world.run_for(1.0)
    assert sorted(api.posts) == ["r-1:1", "r-2:1", "r-3:1"]
    assert [job.stage for job in lane.jobs.values()] == []


def test_a_number_paused_between_choice_and_write_is_obeyed(bench: Make) -> None:
    """The step that writes the request sees it: void, and the message goes when the number may."""
    world = bench(profile="cloud")
    lane, api = begins(world)
    lane.attempt_age.limit_s = 5.0

    async def meanwhile() -> None:
        pauses(world, None)
        await asyncio.sleep(1.5)

    api.before = meanwhile
    world.deliver(of(world, "r-1", 1, None, recipient=ADA))
    world.run_for(3.0)
    assert (api.refused, api.posts) == (["operator"], [])
    assert lane.jobs["r-1"].stage is Stage.WAITING
    assert lane.jobs["r-1"].spent == 0
    pauses(world, None, paused=False)
    world.run_for(2.0)
    assert api.posts == ["r-1:2"]


def test_the_newest_word_counts() -> None:
    """A key that is gone, a resume and a second pause: what was said last holds, of numbers as of campaigns."""
    stops = Stops()
    stops.put("number:1/pause", {"paused": True, "priorities": None}, 1)
    assert stops.is_still("1")
    stops.put("number:1/pause", {"paused": True, "priorities": ["bulk"]}, 2)
    assert not stops.is_still("1")
    assert stops.open_of("1", (True, True, True)) == (True, True, False)
    stops.put("number:1/pause", None, 3)
    assert stops.paused("1") == frozenset()
    assert (stops.changes, stops.resumed_ms) == (0, 0)
    stops.put("campaign:c", {"state": "paused"}, 4)
    stops.put("campaign:c", {"state": "paused"}, 5)
    assert (stops.changes, stops.resumed_ms) == (1, 0)
    stops.put("campaign:c", None, 6)
    assert (stops.changes, stops.resumed_ms) == (2, 6)
