"""The plan for a demand: what it takes, how long a campaign drains, what is met first on the way there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.sizing.cluster import Cluster, cluster_for
from pipeline.sizing.costs import Costs
from pipeline.sizing.demand import Demand
from pipeline.sizing.fleet import MIB, Fleet, fleet_for
from pipeline.sizing.limits import Break, Limit, breaks, limits_of


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a plan says.

    Attributes:
        limits: What cannot be bought, the most used first.
        breaks: Limits that the demand is beyond, with the count of numbers at which each is met, the first one first.
        drain_s: How long the campaign takes with every number at its limit.
        connections: TLS connections to the API that are busy at the peak.
    """

    demand: Demand
    fleet: Fleet
    cluster: Cluster
    limits: tuple[Limit, ...]
    breaks: tuple[Break, ...]
    drain_s: float
    connections: int

    @property
    def cores(self) -> float:
        """Of all roles and brokers at the peak."""
        return sum(role.cores for role in self.fleet.roles) + self.cluster.cores

    @property
    def memory_bytes(self) -> float:
        """Of all roles; brokers' page cache comes on top."""
        return sum(role.processes * role.memory_mib for role in self.fleet.roles) * MIB

    @property
    def local_disk_bytes(self) -> float:
        """Of all roles: what they can rebuild."""
        return sum(role.processes * role.disk_bytes for role in self.fleet.roles)


def totals(plan: Plan) -> dict[str, float]:
    """Sums that follow from a plan, for JSON."""
    return {
        "brokers": plan.cluster.brokers,
        "cores": plan.cores,
        "memory_bytes": plan.memory_bytes,
        "disk_bytes": plan.cluster.disk_bytes,
        "local_disk_bytes": plan.local_disk_bytes,
        "webhooks_per_s": plan.demand.webhooks_per_s,
    }


def plan_for(demand: Demand, costs: Costs, retention_h: Mapping[str, float] | None = None) -> Plan:
    """Plan for a demand.

    Args:
        retention_h: As the setting `kafka.retention_h`; None: the defaults.
    """
    kept = retention_h or {}
    fleet = fleet_for(demand, costs)
    cluster = cluster_for(demand, fleet, costs, kept)
    return Plan(
        demand=demand,
        fleet=fleet,
        cluster=cluster,
        limits=tuple(limits_of(demand, fleet, cluster, costs)),
        breaks=tuple(breaks(demand, costs, kept)),
        drain_s=drain_s(demand),
        connections=round(demand.peak_per_s * demand.latency_ms / 1000),
    )


def drain_s(demand: Demand) -> float:
    """How long a campaign drains that is spread evenly over the numbers: their bursts at once, the rest at the rate."""
    burst = demand.peak_per_s  # of the Cloud API: as many as a second's
    return max(0.0, demand.campaign_messages - burst) / demand.peak_per_s + demand.latency_ms / 1000
