"""Values that would install something broken, and what the chart must say to each."""

from __future__ import annotations

import copy
from typing import Any, Final, NamedTuple

from tests.support import chart


class Bad(NamedTuple):
    """One change to the values of a case, and words of the message that names what to change."""

    path: str
    value: Any
    case: str
    said: str

    def values(self) -> dict[str, Any]:
        """The whole values."""
        values = copy.deepcopy(chart.values_of(self.case))
        *parents, last = self.path.split("/")
        at = values
        for name in parents:
            at = at.setdefault(name, {})
        at[last] = self.value
        return values


BAD: Final = {
    "more senders than lanes": Bad(
        "sender/replicas", 2, "minimal", "sender.replicas: 2, but the numbers in config have",
    ),
    "more gates than partitions": Bad("gate/replicas", 13, "minimal", "gate: 13 replicas, but config.kafka.recipient"),
    "more gates by KEDA": Bad("gate/autoscaling/maxReplicas", 30, "keda", "gate: 30 replicas"),
    "too little time to drain": Bad(
        "gate/terminationGracePeriodSeconds", 30, "minimal", "gate.terminationGracePeriodSeconds: 30",
    ),
    "both monitors": Bad("monitoring/podMonitor/enabled", True, "keda", "podMonitor and serviceMonitor"),
    "a secret of librdkafka": Bad(
        "config/kafka/client", {"sasl.password": "x"}, "minimal", "config.kafka.client.sasl.password: is a secret",
    ),
    "no Secret for the token": Bad("secrets/whatsapp", "", "minimal", "secrets.whatsapp: empty"),
    "no Secret for Kafka": Bad("secrets/kafka", "", "full", "secrets.kafka: empty"),
    "an Ingress without a host": Bad("ingress/route/enabled", True, "minimal", "ingress.route.hosts: empty"),
    "a console without a login": Bad("console/enabled", True, "minimal", "config.console: nobody could log in"),
    "no Secret for the console's token": Bad("secrets/console", "", "full", "secrets.console: empty"),
    "a console's Ingress without a host": Bad("console/route/hosts", [], "full", "console.route.hosts: empty"),
    "a route without a Gateway": Bad(
        "ingress/httpRoute/enabled", True, "minimal", "ingress.httpRoute.parentRefs: empty",
    ),
    "an unknown value": Bad("senders", {}, "minimal", "senders"),
    "an unknown setting": Bad("config/kafka/bootstrap", "k:9092", "minimal", "bootstrap"),
    "a setting of a wrong kind": Bad("config/kafka/replication_factor", "three", "minimal", "replication_factor"),
    "a token in the values": Bad("config/numbers/200000000000001/token", "EAAB", "minimal", "token"),
}  # fmt: skip
