"""Brokers that every worker reaches through links of its own.

A Kafka client connects to the address that a broker advertises, so a link needs a listener: broker b has one for each
worker w, advertised as the port where the proxy's link (w, b) listens. The harness itself uses the plain listeners.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.embedded.broker import EmbeddedKafka
from pipeline.embedded.layout import (
    HOST,
    ClusterPlan,
    choose_ports,
    is_port_free,
    render_properties,
    server_properties,
)
from tests.faults.proxy import Links

ADMIN_TIMEOUT_S: Final = 5.0
ASK_TIMEOUT_S: Final = 0.2


class LinkedKafka(EmbeddedKafka):
    """A cluster with a listener per worker behind the proxy.

    Args:
        data_dir: As `EmbeddedKafka`.
        links: The proxy, which runs already.
        workers: Who gets links to it.
        brokers: How many.
    """

    def __init__(self, data_dir: Path, links: Links, workers: Sequence[str], brokers: int) -> None:
        super().__init__(data_dir, brokers=brokers)
        self.count = brokers
        self._own_links, self._workers = links, workers
        self._link_ports: dict[str, list[tuple[int, int]]] = {}
        self._frozen: set[int] = set()

    def bootstrap_of(self, worker: str) -> str:
        """`bootstrap.servers` for a worker: its links to all brokers."""
        return ",".join(f"{HOST}:{link}" for link, _ in self._link_ports[worker])

    def links_of(self, worker: str) -> list[str]:
        """Names of a worker's links to the brokers."""
        return [_link_name(worker, index) for index in range(self.count)]

    def begin(self, index: int) -> None:
        """Start a broker again and go on; nothing happens if it runs."""
        if index not in self.pids:
            self._spawn(index)

    def freeze(self, index: int) -> None:
        """SIGSTOP a broker."""
        self._signal(index, signal.SIGSTOP)

    def thaw(self, index: int) -> None:
        """SIGCONT a broker."""
        self._signal(index, signal.SIGCONT)

    def answers(self) -> bool:
        """Whether a metadata request is answered, and names all brokers."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            return len(admin.list_topics(timeout=ASK_TIMEOUT_S).brokers) == self.count
        except KafkaException:
            return False

    def is_in_sync(self) -> bool:
        """Whether all brokers run and every partition has all its replicas in sync."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            found = admin.list_topics(timeout=ADMIN_TIMEOUT_S)
        except KafkaException:
            return False
        partitions = [partition for topic in found.topics.values() for partition in topic.partitions.values()]
        return len(found.brokers) == self.count and all(len(one.isrs) == len(one.replicas) for one in partitions)

    def _signal(self, index: int, sig: int) -> None:
        pid = self.pids.get(index)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, sig)

    def _write_properties(self, plan: ClusterPlan) -> None:
        if not self._link_ports:
            self._open_links({port for broker in plan.brokers for port in (broker.client, broker.controller)})
        for index in range(self.count):
            path = self._properties_path(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            values = server_properties(plan, index, self._kafka_dir(index), {})
            ports = {worker: self._link_ports[worker][index] for worker in self._workers}
            path.write_text(render_properties({**values, **listeners(values, ports)}))

    def _open_links(self, taken: set[int]) -> None:
        """Choose all ports at once: a listener's is free until its broker runs, and would be chosen twice."""
        pairs = choose_ports(self.count * len(self._workers), lambda port: port not in taken and is_port_free(port))
        for number, worker in enumerate(self._workers):
            ports = [(pair.client, pair.controller) for pair in pairs[number * self.count : (number + 1) * self.count]]
            for index, (link, listener) in enumerate(ports):
                self._own_links.open(_link_name(worker, index), link, listener)
            self._link_ports[worker] = ports


def listeners(values: Mapping[str, str], ports: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Properties that give a broker one more listener per worker.

    Args:
        values: The broker's properties without them.
        ports: By worker: where its link listens, and where the broker is to listen behind it.
    """
    names = {worker: f"L{number}" for number, worker in enumerate(ports)}
    own = [f"{names[worker]}://{HOST}:{listener}" for worker, (_, listener) in ports.items()]
    shown = [f"{names[worker]}://{HOST}:{link}" for worker, (link, _) in ports.items()]
    protocols = [f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names.values())]
    return {
        "listeners": ",".join((values["listeners"], *own)),
        "advertised.listeners": ",".join((values["advertised.listeners"], *shown)),
        "listener.security.protocol.map": ",".join(protocols),
        **{f"listener.name.{name.lower()}.num.network.threads": "1" for name in names.values()},
    }


def _link_name(worker: str, index: int) -> str:
    return f"{worker}/broker-{index + 1}"
