"""What every run of `wapipe topics scale` needs of Kafka: who is in a group, more partitions, the time. Blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewPartitions

from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.errors import TopicsWrong
from pipeline.operations.acts import Actor
from pipeline.operations.reading import unreachable
from pipeline.streams.scaling import LOOK_EVERY_S, ScalingStopped
from pipeline.streams.topics import ADMIN_TIMEOUT_S, admin, read_broker


class Brokers:
    """Brokers, as somebody who scales topics sees them.

    Args:
        actor: Who scales, for journal and audit.
        reason: Why, in that person's words.
    """

    def __init__(self, settings: Settings, actor: Actor, reason: str | None) -> None:
        self._settings, self._actor, self._reason = settings, actor, reason
        self._admin = admin(settings)

    def members_of(self, role: str) -> list[Any]:
        """Members of the gates' or the senders' group, as librdkafka tells them.

        Raises:
            BrokerUnreachable: no answer in time.
        """
        group = self._settings.group(role)
        try:
            answers = self._admin.describe_consumer_groups([group], request_timeout=ADMIN_TIMEOUT_S)
            return list(answers[group].result().members)
        except KafkaException as exc:
            raise unreachable(self._settings, exc) from exc

    def gates(self) -> list[str]:
        """Gates that run, by client and host.

        Raises:
            BrokerUnreachable: no answer in time.
        """
        return [f"{member.client_id}@{member.host}" for member in self.members_of("gate")]

    def widen(self, topics: Iterable[str], partitions: int, fewer: Callable[[], bool]) -> None:
        """Give topics so many partitions, and wait until the brokers show them.

        Args:
            topics: Without the prefix; each has fewer.
            fewer: Whether some still has.

        Raises:
            BrokerUnreachable: the broker refused, or gave no answer in time.
            ScalingStopped: it took them, but does not show them.
        """
        new = [NewPartitions(self._settings.topic(name), partitions) for name in topics]
        try:
            for future in self._admin.create_partitions(new, request_timeout=ADMIN_TIMEOUT_S).values() if new else ():
                future.result()
        except KafkaException as exc:
            raise unreachable(self._settings, exc) from exc
        give_up_s = steady_s() + ADMIN_TIMEOUT_S
        while fewer():
            if steady_s() > give_up_s:
                raise ScalingStopped("the broker took the partitions but does not show them; check it, then run again")
            time.sleep(LOOK_EVERY_S)

    def now_s(self) -> float:
        """Seconds on a clock that never steps."""
        return steady_s()

    def now_ms(self) -> int:
        """Unix time, ms."""
        return unix_ms()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def partitions_of(settings: Settings, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions topics have, by their names without the prefix.

    Raises:
        TopicsWrong: one is missing.
        BrokerUnreachable: no broker answered in time.
    """
    found, names = read_broker(settings), list(topics)
    missing = [name for name in names if name not in found]
    if missing:
        raise TopicsWrong(f"{', '.join(missing)}: missing; remedy: wapipe topics apply")
    return {name: found[name].partitions for name in names}
