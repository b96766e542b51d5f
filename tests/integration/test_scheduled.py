"""Requests with a `not_before`, behind a backlog that no sender's memory holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.clock import rfc3339, unix_ms
from pipeline.sender.lane import READY_WINDOW_HIGH
from tests.support.campaign import Ids, campaign, people
from tests.support.world import NUMBER, World

RATE_PER_S = 300
BACKLOG = READY_WINDOW_HIGH + 1000
DUE_IN_S = 10.0
CROWD, FEW = people(100), people(5, start=900)


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One gate, one fast number, and no sender yet."""
    numbers = {NUMBER: {"profile": "v1", "rate_per_s": RATE_PER_S, "burst": RATE_PER_S}}
    with World(kafka, tmp_path_factory.mktemp("scheduled"), numbers=numbers) as running:
        running.api.control(settings={"enforce": False})
        running.spawn("gate")
        running.ready()
        running.grant([*CROWD, *FEW])
        yield running


def test_a_scheduled_message_does_not_overtake_an_unread_one(world: World) -> None:
    """When it is due, its predecessor still stands in a ready topic behind a backlog: it goes after that one."""
    ids = Ids()
    backlog = campaign(BACKLOG, [NUMBER], CROWD, ids, category="marketing")
    before = campaign(len(FEW), [NUMBER], FEW, ids, category="marketing")
    world.produce([*backlog, *before])
    world.until(lambda: world.count("ready-bulk") == len(backlog) + len(before), "all are judged", 60)
    due_at_ms = unix_ms() + int(DUE_IN_S * 1000)
    after = campaign(len(FEW), [NUMBER], FEW, ids, category="marketing", not_before=rfc3339(due_at_ms))
    world.produce(after)
    world.until(lambda: world.count("delayed-retry") == len(after), "these are put off", 60)
    world.until(lambda: unix_ms() >= due_at_ms, "they are due", DUE_IN_S + 1)
    world.spawn("sender")
    world.until_terminal([*backlog, *before, *after], timeout_s=120)
    posted = {row["text"]: number for number, row in enumerate(world.api.messages())}
    assert len(posted) == len(backlog) + len(before) + len(after)
    for first, second in zip(before, after, strict=True):
        assert posted[first["request_id"]] < posted[second["request_id"]], first["to"]
