"""A sender that could send and does not: its metric grows. What has a name of its own stops no clock but its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.sender.lane import Lane
from tests.unit.sender.making import Bench, Make
from tests.unit.sender.sending import RECENT_MS, sends

STUCK_S = 70.0


def _throttled(_world: Bench, lane: Lane) -> None:
    lane.scopes.refused("number", "throttled", 0.0, 1000.0, 1000.0, 0.0)


def _without_kafka(world: Bench, _lane: Lane) -> None:
    world.stream.lease.revoke()


def _stuck(world: Bench, *, also: Callable[[Bench, Lane], None] = lambda _world, _lane: None) -> float | None:
    """Seconds without progress of a sender whose pump does nothing any more, with a message that may go."""
    sends(world)
    lane = world.opened()
    world.run_for(2.0)
    world.scheduling.pump = lambda _lane: None
    world.deliver(world.ready(source_ms=RECENT_MS))
    also(world, lane)
    world.run_for(STUCK_S)
    return world.ctx.metrics.registry.get_sample_value("wapipe_watchdog_seconds_since_progress")


def test_a_message_that_may_go_and_does_not_shows(bench: Make) -> None:
    """The alert on 60 s without progress has something to fire on."""
    stuck_s = _stuck(bench(profile="cloud"))
    assert stuck_s is not None
    assert stuck_s > STUCK_S - 5


@pytest.mark.parametrize("why", [_throttled, _without_kafka])
def test_neither_the_api_nor_kafka_makes_it_look_stuck(bench: Make, why: Callable[[Bench, Lane], None]) -> None:
    """A halted number and a Kafka that is away are waits with names: an outage must not restart the fleet."""
    assert _stuck(bench(profile="cloud"), also=why) == 0
