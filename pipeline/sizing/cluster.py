"""Kafka: partitions, records, bytes in and out, disk, brokers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.sizing.costs import Costs
from pipeline.sizing.demand import DAY_S, Demand
from pipeline.sizing.fleet import Fleet
from pipeline.streams.topics import BY_NAME, DAY_MS

BROKERS_MIN: Final = 3
OFFSETS_PARTITIONS: Final = 50
"""Kafka's own topic of committed offsets."""
MARK_EVERY_S: Final = 30.0
"""Each lane leaves a mark on account-state so often."""
ENDS_ASKED_PER_S: Final = 2.0
"""How often a follower asks for the end of what it follows."""
FETCHES_PER_S: Final = 2.0
"""How often a follower fetches where nothing comes: it waits half a second on the broker."""
FOLLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "account-state": ("gate", "sender", "ingress"),
    "consent-updates": ("sender",),
    "recipient-aliases": ("sender",),
    "suppressions": ("sender",),
    "tier-recipients": ("gate",),
}
"""Topics that every process of these roles reads all of."""
READERS: Final[Mapping[str, int]] = {
    "outbound-requests": 1, "outbound-requests-urgent": 1, "consent-updates": 1, "inbound-events": 2,
    "outbound-events": 1, "consent-events": 1, "ready-urgent": 1, "ready-normal": 1, "ready-bulk": 1,
    "delayed-retry": 1, "delayed-retry-1m": 1, "delayed-retry-10m": 1, "delayed-retry-1h": 1,
}  # fmt: skip
"""How often each record is read by a group: by a role, and events and inbound-events once by your analytics."""


@dataclass(frozen=True, slots=True)
class TopicLoad:
    """One topic at the peak, and on disk.

    Attributes:
        records_per_s: Written at the peak.
        bytes_per_s: Written at the peak, by producers, compressed.
        read_bytes_per_s: Read at the peak by all who read, replicas left out.
        disk_bytes: With all copies, once the retention is full.
    """

    name: str
    partitions: int
    records_per_s: float
    bytes_per_s: float
    read_bytes_per_s: float
    disk_bytes: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """Brokers, and what they carry.

    Attributes:
        replicas: Partitions with their copies, over all brokers.
        brokers_by: How many brokers each reason asks for; the largest counts.
        cores: Of all brokers at the peak.
        requests_per_broker: Fetches and questions for end offsets per second and broker, of followers alone.
        connections_per_broker: Connections that clients hold to each broker.
    """

    topics: tuple[TopicLoad, ...]
    partitions: int
    replicas: int
    brokers_by: Mapping[str, int]
    cores: float
    requests_per_broker: float
    connections_per_broker: float

    @property
    def brokers(self) -> int:
        """How many there have to be."""
        return max(self.brokers_by.values())

    @property
    def records_per_s(self) -> float:
        """Written at the peak."""
        return sum(topic.records_per_s for topic in self.topics)

    @property
    def bytes_per_s(self) -> float:
        """Written by producers at the peak."""
        return sum(topic.bytes_per_s for topic in self.topics)

    @property
    def read_bytes_per_s(self) -> float:
        """Read at the peak, replicas left out."""
        return sum(topic.read_bytes_per_s for topic in self.topics)

    @property
    def disk_bytes(self) -> float:
        """On all brokers."""
        return sum(topic.disk_bytes for topic in self.topics)


def cluster_for(demand: Demand, fleet: Fleet, costs: Costs, retention_h: Mapping[str, float]) -> Cluster:
    """What Kafka has to carry.

    Args:
        retention_h: Retention of topics that differ from their defaults, hours, as `kafka.retention_h`.
    """
    topics = tuple(_load(name, demand, fleet, costs, retention_h.get(name)) for name in BY_NAME)
    partitions = sum(topic.partitions for topic in topics) + OFFSETS_PARTITIONS
    replicas = partitions * demand.replication
    working = demand.peak_per_s * costs.figure("broker_cpu_s") * demand.replication
    written = sum(topic.bytes_per_s for topic in topics) * demand.replication
    read = sum(topic.read_bytes_per_s for topic in topics)
    disk = sum(topic.disk_bytes for topic in topics)
    network = costs.assumed("broker_network_bytes_per_s") * demand.load
    idle = costs.figure("broker_idle_cores")
    by = {
        "copies": demand.replication,
        "partitions": math.ceil(replicas / costs.assumed("broker_replicas")),
        "network in": math.ceil(written / network),
        # a leader sends what is read, and what its followers copy
        "network out": math.ceil((read + written * (1 - 1 / demand.replication)) / network),
        "disk writes": math.ceil(written / (costs.assumed("broker_disk_bytes_per_s") * demand.load)),
        "disk space": math.ceil(disk / (costs.assumed("broker_disk_bytes") * demand.load)),
        "CPU": math.ceil(working / (costs.assumed("broker_cores") * demand.load - idle)),
    }
    asked = sum(
        role.processes * (ENDS_ASKED_PER_S + FETCHES_PER_S)
        for topic, names in FOLLOWED.items()
        for role in fleet.roles
        if role.name in names and BY_NAME[topic].kind != "single"
    )
    held = sum(role.processes * costs.assumed(f"{role.name}_connections") for role in fleet.roles)
    cores = working + max(by.values()) * idle
    return Cluster(topics, partitions, replicas, by, cores, asked, held)


def partitions_of(name: str, fleet: Fleet) -> int:
    """Partitions of a topic."""
    return {"recipient": fleet.recipient_partitions, "lane": fleet.lanes, "single": 1}[BY_NAME[name].kind]


def records_per_s(name: str, demand: Demand, fleet: Fleet, costs: Costs) -> float:
    """Records per second that a topic gets at the peak."""
    if name == "account-state":
        return fleet.lanes / MARK_EVERY_S
    if name in {"consent-updates", "consent", "consent-events"}:
        return demand.peak_per_s * demand.opt_out_share + _grants_per_day(demand, costs) / DAY_S
    if name == "inbound-events":
        return demand.webhooks_per_s
    if name == "service-windows":
        return demand.peak_per_s * demand.inbound_share
    per_message = costs.traffic.topics[name].records or 0.0
    return demand.peak_per_s * per_message * _share(name, demand)


def _share(name: str, demand: Demand) -> float:
    """Part of the messages that pass a topic: codes have an entrance and a lane topic, all else is taken for bulk."""
    if name in {"outbound-requests-urgent", "ready-urgent"}:
        return demand.urgent_share
    return 1 - demand.urgent_share if name in {"outbound-requests", "ready-bulk"} else 1.0


def bytes_per_message(demand: Demand, costs: Costs) -> float:
    """What one message leaves on one broker's disk, all topics together, its statuses included."""
    traffic = costs.traffic.topics
    return sum((one.records or 0) * one.record_bytes * _share(name, demand) for name, one in traffic.items())


def _grants_per_day(demand: Demand, costs: Costs) -> float:
    return demand.recipients / costs.assumed("consent_years") / 365


def _load(name: str, demand: Demand, fleet: Fleet, costs: Costs, retention_h: float | None) -> TopicLoad:
    per_s = records_per_s(name, demand, fleet, costs)
    size = costs.traffic.topics[name].record_bytes
    followers = sum(role.processes for role in fleet.roles if role.name in FOLLOWED.get(name, ()))
    # What is written at the peak is written so many seconds a day.
    busy_s = DAY_S if name == "account-state" else demand.messages_per_day / demand.peak_per_s
    return TopicLoad(
        name,
        partitions_of(name, fleet),
        per_s,
        per_s * size,
        per_s * size * (READERS.get(name, 0) + followers),
        _kept_records(name, demand, costs, per_s * busy_s, retention_h) * size * demand.replication,
    )


def _kept_records(name: str, demand: Demand, costs: Costs, per_day: float, retention_h: float | None) -> float:
    """Records that stand on a topic in the long run; a compacted one holds its keys, and as much again uncleaned."""
    keys = {
        "consent": demand.recipients,
        "suppressions": demand.recipients * demand.unreachable_share,
        "recipient-aliases": demand.recipients * costs.assumed("alias_share"),
    }
    if name in keys:
        return keys[name] * (1 + costs.assumed("uncleaned_share"))
    retention_ms = retention_h * 3_600_000 if retention_h is not None else BY_NAME[name].retention_ms
    days = (retention_ms or DAY_MS) / DAY_MS
    return per_day * days
