"""Processes: how many of each role, on how many lanes and partitions, with how much memory and disk each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pipeline.sizing.costs import Costs
from pipeline.sizing.demand import STATUSES, Demand

MIB: Final = 1024 * 1024
PROCESSES_MIN: Final = 2
"""One to go on while the other is replaced."""
PARTITIONS_STEP: Final = 12
"""Recipient partitions come in dozens: gates have to be a divisor of them, and a dozen has the most."""
GATE_TABLES: Final = 4
DEDUPE_S: Final = 900
READY_WINDOW: Final = 2000
"""Messages that a lane reads ahead of a backlog."""
PEOPLE_MAX: Final = 500_000
"""Bound of each list of people that a sender keeps: who opted out, who cannot be reached."""
KEPT_S: Final = 2 * 3600
"""How long an opt-out stays on that list, whatever is unsent."""


@dataclass(frozen=True, slots=True)
class Role:
    """Processes of one kind.

    Attributes:
        processes: How many.
        load: Part of one core that each takes at the peak: a process has one thread that works.
        memory_mib: Of each, at the peak.
        disk_bytes: Of each; what it can rebuild.
    """

    name: str
    processes: int
    load: float
    memory_mib: float
    disk_bytes: float = 0.0

    @property
    def cores(self) -> float:
        """Cores of all of them at the peak."""
        return self.processes * self.load


@dataclass(frozen=True, slots=True)
class Fleet:
    """All processes, and the partitions that they share.

    Attributes:
        lanes_per_number: Shards: a number that is faster than one process needs several.
        recipient_partitions: Of each recipient topic; gates are a divisor of it.
    """

    gate: Role
    sender: Role
    ingress: Role
    lanes_per_number: int
    lanes: int
    recipient_partitions: int

    @property
    def roles(self) -> tuple[Role, Role, Role]:
        """In the order of a message's way."""
        return self.gate, self.sender, self.ingress

    @property
    def processes(self) -> int:
        """Of all roles."""
        return sum(role.processes for role in self.roles)


def fleet_for(demand: Demand, costs: Costs) -> Fleet:
    """The smallest fleet that takes the peak with each process at `demand.load` at most."""
    gates, partitions = _gates(demand, costs)
    return Fleet(
        gate=_gate(demand, costs, gates, partitions),
        sender=(sender := _senders(demand, costs))[0],
        ingress=_ingress(demand, costs),
        lanes_per_number=sender[1],
        lanes=sender[1] * demand.numbers,
        recipient_partitions=partitions,
    )


def _gates(demand: Demand, costs: Costs) -> tuple[int, int]:
    needed = max(PROCESSES_MIN, math.ceil(demand.peak_per_s / costs.curves["gate"].rate_at(demand.load)))
    partitions = math.ceil(needed / PARTITIONS_STEP) * PARTITIONS_STEP
    return next(count for count in range(needed, partitions + 1) if partitions % count == 0), partitions


def _gate(demand: Demand, costs: Costs, gates: int, partitions: int) -> Role:
    people = demand.recipients / gates
    cached = partitions / gates * GATE_TABLES * costs.figure("gate_partition_cache_bytes")
    tables = min(people * costs.figure("gate_consent_memory_bytes"), cached)
    return Role(
        "gate",
        gates,
        costs.curves["gate"].cores(demand.peak_per_s / gates),
        costs.figure("gate_base_mib") + tables / MIB,
        people * costs.assumed("gate_consent_disk_bytes"),
    )


def _senders(demand: Demand, costs: Costs) -> tuple[Role, int]:
    one = costs.curves["sender"].rate_at(demand.load)
    shards = math.ceil(demand.rate_per_s / one)
    lane_rate = demand.rate_per_s / shards
    lanes = shards * demand.numbers
    lanes_each = max(1, int(one / lane_rate + 1e-9))
    processes = min(max(PROCESSES_MIN, math.ceil(lanes / lanes_each)), max(PROCESSES_MIN, lanes))
    busiest = math.ceil(lanes / processes)
    remembered = min(busiest * lane_rate * DEDUPE_S, demand.within_s(DEDUPE_S))
    memory = (
        remembered * costs.figure("sender_id_bytes")
        + busiest * READY_WINDOW * costs.figure("sender_job_bytes")
        + min(opted_out(demand), PEOPLE_MAX) * costs.figure("sender_opt_out_bytes")
        + min(unreachable(demand), PEOPLE_MAX) * costs.figure("sender_opt_out_bytes")
    )
    load = costs.curves["sender"].cores(busiest * lane_rate)
    return Role("sender", processes, load, costs.figure("sender_base_mib") + memory / MIB), shards


def _ingress(demand: Demand, costs: Costs) -> Role:
    one = costs.curves["ingress"].rate_at(demand.load)
    processes = max(PROCESSES_MIN, math.ceil(demand.webhooks_per_s / one))
    load = costs.curves["ingress"].cores(demand.webhooks_per_s / processes)
    return Role("ingress", processes, load, costs.figure("ingress_mib"))


def opted_out(demand: Demand) -> float:
    """People whose opt-out a sender keeps at the busiest time."""
    return demand.within_s(KEPT_S) * demand.opt_out_share


def unreachable(demand: Demand) -> float:
    """People on `suppressions` at any time."""
    return demand.recipients * demand.unreachable_share


def webhooks_per_message(demand: Demand) -> float:
    """Updates that come back for one message."""
    return STATUSES + demand.inbound_share
