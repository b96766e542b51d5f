"""Schedules: the same seed gives the same faults, and only combinations that the promises cover."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from tests.faults.schedule import (
    BROKER_REST_S,
    NAMED,
    OPT_OUTS,
    SESSION_TIMEOUT_S,
    TWO_NUMBERS,
    UNKNOWN_WAIT_S,
    WORKERS,
    make,
)

BROKER_KINDS = {"broker_kill", "broker_freeze", "brokers_away"}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_seed_reproduces_the_schedule(name: str) -> None:
    """A failure can be looked at again with the seed that found it."""
    assert make(name, 7) == make(name, 7)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_faults_come_in_order_while_the_load_goes_on(name: str) -> None:
    """Every fault begins after the start of the load and before its end, on somebody who exists."""
    schedule = make(name, 3)
    times = [fault.at_s for fault in schedule.faults]
    assert times == sorted(times)
    assert all(0 < at_s < schedule.seconds for at_s in times)
    known = {*WORKERS, *schedule.numbers, "0", "1", "2", "429", "503", ""}
    assert {fault.target for fault in schedule.faults} <= known


def test_another_seed_gives_another_schedule() -> None:
    """Random faults are random."""
    assert make("mixed", 1).faults != make("mixed", 2).faults


@pytest.mark.parametrize("seed", range(20))
def test_one_broker_at_most_is_away(seed: int) -> None:
    """The next broker is hurt only when the one before had time to come back into sync."""
    faults = [fault for fault in make("mixed", seed, 600).faults if fault.kind in BROKER_KINDS]
    for before, after in itertools.pairwise(faults):
        assert after.at_s >= before.at_s + before.for_s + BROKER_REST_S


def test_evidence_comes_in_time() -> None:
    """Slow webhooks do not last longer than the wait for evidence: later ones are a case that is named, not covered."""
    slow = [fault for seed in range(20) for fault in make("mixed", seed).faults if fault.kind.startswith("webhooks")]
    assert slow
    assert max(fault.for_s for fault in slow) < UNKNOWN_WAIT_S


def test_short_one_has_every_sort() -> None:
    """What `make test` runs leaves no sort of fault out."""
    kinds = {fault.kind.split("_")[0] for fault in make("short", 7).faults}
    assert kinds >= {"freeze", "add", "kafka", "api", "lose", "spell", "webhooks", "opt"}
    assert kinds & {"kill", "term"}
    assert kinds & {"broker"}


def test_figures_of_the_named_schedules() -> None:
    """Named schedules do what they are for: 30 kills, 20 answers a number, ten freezes, 20 rebalances, 60 s away."""
    assert Counter(fault.kind for fault in make("kills30", 1).faults)["kill"] == 30
    lost = Counter(fault.target for fault in make("lost-answers", 1).faults)
    assert lost == dict.fromkeys(TWO_NUMBERS, 20)
    frozen = [fault.for_s for fault in make("freeze", 1).faults if fault.kind == "freeze"]
    assert frozen == [3 * SESSION_TIMEOUT_S] * 10
    joins = [fault for fault in make("rebalances", 1).faults if fault.kind == "add"]
    assert 2 * len(joins) == 20
    (away,) = make("brokers-away", 1).faults
    assert (away.kind, away.for_s) == ("brokers_away", 60.0)


def test_opt_outs_come_by_every_way_in_a_campaign_of_20000() -> None:
    """The schedule for opt-outs: all ways, three gates and three senders, kills, and 60 s without a gate."""
    schedule = make("opt-outs", 1)
    kinds = Counter(fault.kind for fault in schedule.faults)
    assert set(OPT_OUTS) <= kinds.keys()
    assert min(kinds[kind] for kind in (*OPT_OUTS, "kill")) >= 5
    rate_per_s = sum(one.rate_per_s for one in schedule.numbers.values())
    assert rate_per_s * (schedule.backlog_s + schedule.load * schedule.seconds) >= 20_000
    (away,) = [fault for fault in schedule.faults if fault.kind == "gates_away"]
    assert away.for_s == 60.0
    assert any(fault.kind == "add" and fault.target == "gate-3" for fault in schedule.faults)


def test_scaling_is_killed_each_time() -> None:
    """The schedule for more partitions: killed on the way, with kills of workers and people who opt out."""
    schedule = make("scale", 1)
    kinds = Counter(fault.kind for fault in schedule.faults)
    assert (kinds["scale"], kinds["kill"]) == (1, 2)
    assert kinds["opt_out"] + kinds["opt_out_command"] > 40
    assert schedule.refresh_ms < 1000 * schedule.seconds / 4
