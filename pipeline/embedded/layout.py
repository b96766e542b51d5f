"""What the broker's data folder holds, as values: cluster id, ports, server properties. Pure but for two functions.

DATA_DIR/broker.json            cluster id and ports, kept from the first start on
DATA_DIR/lock                   held while brokers run on this folder
DATA_DIR/broker-N/kafka/        Kafka's own files
DATA_DIR/broker-N/server.properties, broker.log
"""

from __future__ import annotations

import base64
import json
import random
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import ConfigError

HOST = "127.0.0.1"
BROKER_COUNTS = (1, 3)
# Below Linux's ephemeral range (32768–60999): no outgoing connection takes a port away between two starts.
PORTS = range(20_000, 30_000)
PORT_TRIES_MAX = 1_000


@dataclass(frozen=True)
class BrokerPorts:
    """Ports of one broker on loopback.

    Attributes:
        client: Where clients and the other brokers connect.
        controller: Where the controllers' quorum connects.
    """

    client: int
    controller: int


@dataclass(frozen=True)
class ClusterPlan:
    """What must stay the same between two starts on one data folder.

    Attributes:
        cluster_id: Kafka's: a UUID in URL-safe base64, 22 characters.
        brokers: One entry per broker; broker i has the node id i + 1.
    """

    cluster_id: str
    brokers: tuple[BrokerPorts, ...]

    @property
    def bootstrap(self) -> str:
        """`host:port` of every broker, comma-separated."""
        return ",".join(f"{HOST}:{ports.client}" for ports in self.brokers)


def new_cluster_id() -> str:
    """A cluster id as `kafka-storage random-uuid` makes it; none begins with a dash, which reads as an option."""
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not cluster_id.startswith("-"):
            return cluster_id


def is_port_free(port: int) -> bool:
    """Whether nobody listens on this port of loopback now; connections of an earlier owner do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose_ports(
    brokers: int, is_free: Callable[[int], bool] = is_port_free, rng: random.Random | None = None
) -> tuple[BrokerPorts, ...]:
    """Pick different free ports at random, so that brokers started at one time do not meet.

    Args:
        brokers: How many brokers need a pair.
        is_free: Says whether a port can be had.
        rng: Source of randomness; None means the system's.

    Raises:
        ConfigError: No free ports in `PORTS` after `PORT_TRIES_MAX` tries.
    """
    source = rng or random.SystemRandom()
    tries = source.sample(PORTS, PORT_TRIES_MAX)
    found: list[int] = []
    for port in tries:
        if len(found) == 2 * brokers:
            break
        if is_free(port):
            found.append(port)
    if len(found) < 2 * brokers:
        raise ConfigError(f"no {2 * brokers} free ports from {PORTS.start} to {PORTS.stop - 1} on {HOST}")
    return tuple(BrokerPorts(found[2 * i], found[2 * i + 1]) for i in range(brokers))


def plan_to_json(plan: ClusterPlan) -> str:
    """Write a plan as the text of `broker.json`."""
    return json.dumps(asdict(plan), indent=2) + "\n"


def plan_from_json(text: str) -> ClusterPlan:
    """Read the text of `broker.json`.

    Raises:
        ValueError: It is not what `plan_to_json` wrote.
    """
    try:
        raw = json.loads(text)
        ports = tuple(BrokerPorts(int(entry["client"]), int(entry["controller"])) for entry in raw["brokers"])
        return ClusterPlan(str(raw["cluster_id"]), ports)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a broker plan: {error}") from error


def load_plan(path: Path, brokers: int) -> ClusterPlan | None:
    """Read the plan of a data folder.

    Args:
        path: Its `broker.json`.
        brokers: How many brokers it must be for.

    Returns:
        The plan, or None on a new folder.

    Raises:
        ConfigError: The file cannot be read, or the folder was made for another number of brokers.
    """
    try:
        plan = plan_from_json(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): use another data folder, or remove this one") from error
    if len(plan.brokers) != brokers:
        raise ConfigError(
            f"{path.parent} was made for {len(plan.brokers)} broker(s), not {brokers}: use another data folder"
        )
    return plan


def server_properties(plan: ClusterPlan, index: int, kafka_dir: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Kafka's settings for one broker.

    Args:
        plan: The cluster.
        index: Which broker of it, from 0.
        kafka_dir: Where it keeps its files.
        extra: Properties that win over ours.
    """
    ports, count = plan.brokers[index], len(plan.brokers)
    voters = ",".join(f"{i + 1}@{HOST}:{broker.controller}" for i, broker in enumerate(plan.brokers))
    in_sync = "2" if count > 1 else "1"
    return {
        "process.roles": "broker,controller",
        "node.id": str(index + 1),
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://{HOST}:{ports.client},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports.client}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(kafka_dir),
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(count),
        "min.insync.replicas": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "8",
        "offsets.topic.replication.factor": str(count),
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": str(count),
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": str(count),
        "share.coordinator.state.topic.min.isr": in_sync,
        # A dead broker of three is missed after 5 s, not Kafka's 9: long enough for a busy laptop.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "5000",
        # Kafka takes 128 MB of heap for compaction; 8 MB hold 350,000 keys a round.
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        **extra,
    }


def render_properties(properties: Mapping[str, str]) -> str:
    """Write a Java properties file; it is ASCII whatever the values hold."""
    return "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items())


def _escaped(value: str) -> str:
    return "".join(_escaped_units(value.replace("\\", "\\\\")))


def _escaped_units(value: str) -> Iterable[str]:
    # Java reads the file as Latin-1 and takes anything else as UTF-16 units.
    encoded = value.encode("utf-16-be", "surrogatepass")
    for position in range(0, len(encoded), 2):
        unit = int.from_bytes(encoded[position : position + 2], "big")
        yield chr(unit) if 0x20 <= unit < 0x7F else f"\\u{unit:04x}"
