"""A part of the fleet under a campaign: seeded, and in step with the plan that it was made from."""

from __future__ import annotations

from functools import lru_cache

import pytest

from pipeline.sizing.costs import costs
from pipeline.sizing.demand import Demand
from pipeline.sizing.fleet import fleet_for
from pipeline.sizing.simulation import Failure, Outcome, Scenario, Simulation, scenarios

COSTS = costs()
PAPER = Demand(10_000, 200, 1e9, 5e8)


@lru_cache
def simulated(fails: Failure = "nothing", seed: int = 1) -> Outcome:
    """One number of ten thousand, ten seconds of messages."""
    return Simulation(PAPER, fleet_for(PAPER, COSTS), COSTS, Scenario(1, 2000, fails, seed)).run()


def test_the_same_seed_comes_to_the_same() -> None:
    """A run can be repeated; another seed is another run."""
    simulated.cache_clear()
    first = simulated()
    simulated.cache_clear()
    assert simulated() == first
    assert simulated(seed=2).code_p99_s != first.code_p99_s


def test_a_campaign_waits_for_its_limit_alone() -> None:
    """With the planned fleet the drain time is backlog by rate, within 15 %: WhatsApp's limit is the bottleneck."""
    run = simulated()
    assert run.ideal_s == pytest.approx(9.0)
    assert run.drain_s == pytest.approx(run.ideal_s, rel=0.15)
    loads = {stage.name: stage.load for stage in run.stages}
    assert max(loads, key=lambda name: loads[name]) == "lane"
    assert all(load <= 1 for load in loads.values())


def test_a_sender_that_dies_is_missed_for_its_session_and_its_take_over() -> None:
    """A code waits that long, and the campaign ends later by it; nothing is lost."""
    run = simulated("a sender")
    away_s = COSTS.assumed("session_timeout_s") + COSTS.figure("takeover_s")
    assert run.code_max_s == pytest.approx(away_s, rel=0.2)
    assert away_s * 0.8 <= run.drain_s - simulated().drain_s <= away_s * 1.3
    assert run.silence_s == pytest.approx(away_s, rel=0.2)


def test_a_broker_that_dies_stops_all_for_its_session() -> None:
    """Everything waits for new leaders, codes too."""
    run = simulated("a broker")
    away_s = COSTS.assumed("broker_failover_s")
    assert run.code_max_s == pytest.approx(away_s, rel=0.2)
    assert run.drain_s >= simulated().drain_s + away_s * 0.5


def test_codes_do_not_wait_for_the_campaign() -> None:
    """The worst code of a calm run is far from what the campaign's messages wait."""
    run = simulated()
    lane = next(stage for stage in run.stages if stage.name == "lane")
    assert run.code_p99_s < 0.6
    assert run.code_p99_s < run.drain_s / 3
    assert lane.queue_max > 50


def test_scenarios_are_bounded() -> None:
    """Three runs, not more numbers than there are, and a size that would take too long is refused."""
    small = Demand(2, 80, 1e5, 1e5)
    assert [one.fails for one in scenarios(small, 10, 1)] == ["nothing", "a sender", "a broker"]
    assert scenarios(small, 10, 1)[0].numbers == 2
    with pytest.raises(ValueError, match="fewer"):
        scenarios(Demand(100, 100_000, 1e9, 1e5), 100, 1)
