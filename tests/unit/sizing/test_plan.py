"""Plans: what they must add up to, whatever the figures are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from pipeline.sizing.cluster import bytes_per_message
from pipeline.sizing.costs import costs
from pipeline.sizing.demand import Demand
from pipeline.sizing.plan import Plan, drain_s, plan_for
from pipeline.streams.topics import TOPICS

COSTS = costs()
SMALL = Demand(3, 80, 2e6, 5e5)
FAST = Demand(10, 1000, 5e7, 5e6)


def topic(plan: Plan, name: str) -> float:
    """Disk of a topic."""
    return next(one.disk_bytes for one in plan.cluster.topics if one.name == name)


def test_a_number_at_1000_has_two_lanes() -> None:
    """A number that is faster than one process gets shards, and no lane is planned above a process' load."""
    plan = plan_for(FAST, COSTS)
    assert plan.fleet.lanes_per_number == 2
    assert plan.fleet.lanes == 20
    assert plan.fleet.sender.load <= FAST.load
    assert plan_for(SMALL, COSTS).fleet.lanes_per_number == 1


@pytest.mark.parametrize("demand", [SMALL, FAST, Demand(500, 20, 1e7, 1e8), Demand(1, 1, 1000, 1)])
def test_no_process_is_planned_above_its_load(demand: Demand) -> None:
    """At the peak nothing works more than `load`; there are two of each; gates divide their partitions."""
    fleet = plan_for(demand, COSTS).fleet
    for role in fleet.roles:
        assert role.load <= demand.load + 1e-9, role
        assert role.processes >= 2
    assert fleet.recipient_partitions % fleet.gate.processes == 0
    assert fleet.recipient_partitions % 12 == 0


@pytest.mark.parametrize("demand", [SMALL, FAST])
def test_brokers_are_as_many_as_the_scarcest_thing_asks_for(demand: Demand) -> None:
    """Replicas, network, disk and CPU of each broker are within what one has."""
    plan = plan_for(demand, COSTS)
    cluster = plan.cluster
    assert cluster.replicas / cluster.brokers <= COSTS.assumed("broker_replicas")
    assert cluster.disk_bytes / cluster.brokers <= COSTS.assumed("broker_disk_bytes") * demand.load
    assert cluster.cores / cluster.brokers <= COSTS.assumed("broker_cores") * demand.load
    assert cluster.brokers >= demand.replication
    lanes = sum(one.kind == "lane" for one in TOPICS)
    recipients = sum(one.kind == "recipient" for one in TOPICS)
    wanted = lanes * plan.fleet.lanes + recipients * plan.fleet.recipient_partitions + 2 + 50
    assert cluster.partitions == wanted


def test_disk_follows_messages_retention_and_copies() -> None:
    """Twice the messages, the days or the copies are twice the disk of a topic that keeps by time."""
    base = plan_for(SMALL, COSTS)
    assert topic(plan_for(replace(SMALL, messages_per_day=4e6), COSTS), "outbound-events") == pytest.approx(
        2 * topic(base, "outbound-events")
    )
    halved = plan_for(SMALL, COSTS, {"outbound-events": 15 * 24})
    assert topic(halved, "outbound-events") == pytest.approx(topic(base, "outbound-events") / 2)
    assert topic(halved, "inbound-events") == topic(base, "inbound-events")
    assert topic(plan_for(replace(SMALL, replication=1), COSTS), "consent") == pytest.approx(topic(base, "consent") / 3)


def test_disk_of_a_day_is_the_bytes_of_its_messages() -> None:
    """What stands on the topics that keep by time is bytes per message, once for each day that they keep."""
    demand = replace(SMALL, replication=1, opt_out_share=0, inbound_share=0)
    one_day = dict.fromkeys((one.name for one in TOPICS), 24.0)
    names = [name for name, traffic in COSTS.traffic.topics.items() if traffic.records]
    held = sum(topic(plan_for(demand, COSTS, one_day), name) for name in names)
    assert held == pytest.approx(demand.messages_per_day * bytes_per_message(demand, COSTS))


def test_a_campaign_drains_at_the_rate() -> None:
    """Drain time is backlog by rate, less the burst; twice the numbers are half the time."""
    demand = Demand(1, 80, 1e6, 1e6, campaign=4000)
    assert drain_s(demand) == pytest.approx((4000 - 80) / 80 + 0.1)
    assert drain_s(replace(demand, numbers=2, campaign=8000)) == pytest.approx(drain_s(demand))
    assert drain_s(replace(demand, campaign=10)) == pytest.approx(0.1)


def test_more_of_anything_never_takes_less() -> None:
    """Plans grow with the demand: numbers, rate, people."""
    plans = [plan_for(SMALL.scaled_to(count), COSTS) for count in (1, 3, 10, 50, 200)]
    for less, more in pairwise(plans):
        assert more.cores >= less.cores
        assert more.memory_bytes >= less.memory_bytes
        assert more.cluster.disk_bytes >= less.cluster.disk_bytes
        assert more.cluster.brokers >= less.cluster.brokers
        assert more.fleet.lanes >= less.fleet.lanes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("numbers", 0), ("rate_per_s", -1), ("rate_per_s", float("inf")), ("recipients", 0), ("load", 0), ("load", 1.1),
        ("urgent_share", 2), ("opt_out_share", -0.1), ("messages_per_day", 1e9),
    ],
)  # fmt: skip
def test_an_impossible_demand_is_refused(field: str, value: Any) -> None:
    """Values out of range, and more messages a day than the limits let through, name their field."""
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
