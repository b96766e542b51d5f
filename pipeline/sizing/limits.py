"""What cannot be bought: limits of one partition, one consumer group, one list, one cluster; and which is met first.

Processes, brokers and disks are added as numbers are; each of these stays what it is. So the one whose use comes to
its limit first, as the demand grows with everything else in proportion, is where a bigger system has to be cut in two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from pipeline.sizing.cluster import ENDS_ASKED_PER_S, FETCHES_PER_S, FOLLOWED, Cluster, cluster_for, records_per_s
from pipeline.sizing.costs import Costs
from pipeline.sizing.demand import Demand
from pipeline.sizing.fleet import PEOPLE_MAX, Fleet, fleet_for, opted_out, unreachable
from pipeline.sizing.membership import GATE, SENDER, group_bytes

LANES_MAX: Final = 10_000
"""Partitions that the settings let a lane have: 0 to 9,999."""
RECIPIENT_PARTITIONS_MAX: Final = 10_000
ACCOUNT_STATE: Final = "account-state"


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that there is only so much of.

    Attributes:
        used: What the plan needs of it at the peak.
        most: What there is.
        stops: Whether nothing goes beyond it; else it costs more, as `then` says.
        then: What happens beyond it, and what helps.
    """

    name: str
    used: float
    most: float
    unit: str
    stops: bool
    then: str

    @property
    def utilisation(self) -> float:
        """Used part."""
        return self.used / self.most


@dataclass(frozen=True, slots=True)
class Break:
    """Where a limit is met as numbers are added.

    Attributes:
        numbers: The smallest count of numbers that is too many.
        limit: How it stands there.
    """

    numbers: int
    limit: Limit


def limits_of(demand: Demand, fleet: Fleet, cluster: Cluster, costs: Costs) -> list[Limit]:
    """Every limit, the most used first."""
    found = [
        *_of_settings(fleet),
        *_of_groups(fleet, costs),
        *_of_lists(demand),
        *_of_followers(demand, fleet, cluster, costs),
        *_of_kafka(cluster, costs),
    ]
    return sorted(found, key=lambda limit: -limit.utilisation)


def _of_settings(fleet: Fleet) -> list[Limit]:
    cells = "cut numbers into groups with a topic_prefix or a cluster of their own"
    return [
        Limit("lanes", fleet.lanes, LANES_MAX, "partitions", True, f"settings refuse more; {cells}"),
        Limit(
            "recipient partitions", fleet.recipient_partitions, RECIPIENT_PARTITIONS_MAX, "partitions", True,
            f"settings refuse more, and a gate needs one; {cells}",
        ),
    ]  # fmt: skip


def _of_groups(fleet: Fleet, costs: Costs) -> list[Limit]:
    most = costs.assumed("group_record_bytes")
    then = "no rebalance ends any more; raise message.max.bytes of the brokers, or give them several prefixes"
    return [
        Limit(
            "membership of the senders", group_bytes(SENDER, fleet.sender.processes, fleet.lanes), most, "bytes", True,
            then,
        ),
        Limit(
            "membership of the gates", group_bytes(GATE, fleet.gate.processes, fleet.recipient_partitions), most,
            "bytes", True, then,
        ),
    ]  # fmt: skip


def _of_lists(demand: Demand) -> list[Limit]:
    return [
        Limit(
            "opt-outs a sender keeps", opted_out(demand), PEOPLE_MAX, "people", False,
            "older messages go back to the gate and are judged anew: more work for the gates",
        ),
        Limit(
            "suppressions a sender keeps", unreachable(demand), PEOPLE_MAX, "people", False,
            "the gate alone refuses the others: what was judged before may still go",
        ),
    ]  # fmt: skip


def _of_followers(demand: Demand, fleet: Fleet, cluster: Cluster, costs: Costs) -> list[Limit]:
    updates = records_per_s("consent-updates", demand, fleet, costs)
    leader = next(topic for topic in cluster.topics if topic.name == ACCOUNT_STATE)
    asked = sum(role.processes for role in fleet.roles if role.name in FOLLOWED[ACCOUNT_STATE])
    return [
        Limit(
            "every sender hears every opt-out", updates * costs.figure("opt_out_apply_s"), 1 - demand.load, "cores",
            True, "senders fall behind consent-updates and send nothing; several prefixes",
        ),
        Limit(
            "the broker of account-state: bytes", leader.read_bytes_per_s,
            costs.assumed("broker_network_bytes_per_s") * demand.load, "bytes/s", True,
            "halts and pauses are heard late; one partition has one leader",
        ),
        Limit(
            "the broker of account-state: requests", asked * (ENDS_ASKED_PER_S + FETCHES_PER_S),
            costs.assumed("broker_requests_per_s") * demand.load, "requests/s", True,
            "halts and pauses are heard late; one partition has one leader",
        ),
    ]  # fmt: skip


def _of_kafka(cluster: Cluster, costs: Costs) -> list[Limit]:
    return [
        Limit(
            "followers' requests to each broker", cluster.requests_per_broker, costs.assumed("broker_requests_per_s"),
            "requests/s", True, "each sender asks each broker: more brokers do not help, several prefixes do",
        ),
        Limit(
            "connections to each broker", cluster.connections_per_broker, costs.assumed("broker_connections"),
            "connections", True, "each process has some to each broker: several clusters",
        ),
        Limit(
            "partitions of one cluster", cluster.replicas, costs.assumed("cluster_replicas"), "replicas", False,
            "elections and restarts take minutes; several clusters",
        ),
    ]  # fmt: skip


def breaks(demand: Demand, costs: Costs, retention_h: Mapping[str, float]) -> list[Break]:
    """In which order limits are met on the way from one number to `demand.numbers`: the first one first.

    What a number has (rate, messages a day, recipients) stays as it is.
    """

    @cache
    def limits(numbers: int) -> dict[str, Limit]:
        scaled = demand.scaled_to(numbers)
        fleet = fleet_for(scaled, costs)
        cluster = cluster_for(scaled, fleet, costs, retention_h)
        return {limit.name: limit for limit in limits_of(scaled, fleet, cluster, costs)}

    found = []
    for name, at_end in limits(demand.numbers).items():
        if at_end.utilisation <= 1:
            continue
        low, high = 0, demand.numbers  # met at `high`, not at `low`
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if limits(middle)[name].utilisation > 1 else (middle, high)
        found.append(Break(high, limits(high)[name]))
    return sorted(found, key=lambda one: (one.numbers, -one.limit.utilisation, one.limit.name))


def cells_needed(first: Break | None, numbers: int) -> int:
    """Into how many parts the numbers have to be cut, so that each part stays below its first limit."""
    return 1 if first is None else math.ceil(numbers / max(1, first.numbers - 1))
