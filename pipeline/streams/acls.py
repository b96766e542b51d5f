"""What Kafka's ACLs have to allow each role, and whether they do: told when a role starts, not by its first record.

`Needs`, `missing` and `commands` are pure; `require` asks the brokers, which say what the asking user may do (KIP-430),
and blocks. Brokers without an authorizer allow everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from pipeline.config import Settings
from pipeline.errors import BrokerRefused
from pipeline.streams.client import READER_GROUP, librdkafka
from pipeline.streams.reach import DENIED, Reach
from pipeline.streams.topics import DELAYED, READY, REQUESTS, TOPICS

GROUP_WAIT_S: Final = 5.0
"""A cluster that never had a group makes its offsets topic first; no answer by then counts as allowed."""
_ALL: Final = tuple(topic.name for topic in TOPICS)
_ROLES: Final = ("gate", "sender")
_GROUPS: Final = (*_ROLES, READER_GROUP)
_ENTRANCES: Final = (*REQUESTS, "consent-updates", "inbound-events")
_TABLES: Final = ("consent", "service-windows", "suppressions", "recipient-aliases", "tier-recipients")
_SHOWN: Final = ("Describe", "DescribeConfigs")


@dataclass(frozen=True, slots=True)
class Needs:
    """What one role does on Kafka. Besides, each sees all topics and their properties, to check them at its start.

    Attributes:
        reads: Topics by their names without the prefix.
        writes: Likewise.
        joins: Roles whose consumer group it is a member of.
        sees: Roles whose committed offsets it reads.
        makes: Whether it makes topics, adds partitions and sets properties.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    joins: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    makes: bool = False


NEEDS: Final[dict[str, Needs]] = {
    "gate": Needs(
        (*_ENTRANCES, *_TABLES, "account-state"),
        (*_ENTRANCES, *_TABLES, *READY, *DELAYED, "outbound-events", "consent-events", "dead-letter"),
        joins=("gate",),
    ),
    "sender": Needs(
        (
            *READY, *DELAYED, "send-ledger", "account-state", "suppressions", "inbound-events", "consent-updates",
            "recipient-aliases",
        ),
        (
            *DELAYED, *REQUESTS, "send-ledger", "account-state", "suppressions", "consent-updates", "outbound-events",
            "dead-letter",
        ),
        joins=("sender",),
    ),
    "ingress": Needs(("account-state",), ("inbound-events", "consent-updates", "account-state", "dead-letter")),
    "console": Needs(
        _ALL,
        (*_ENTRANCES, *READY, *DELAYED, "account-state", "suppressions", "audit-events"),
        sees=_ROLES,
    ),
    "operator": Needs(_ALL, _ALL, sees=_ROLES, makes=True),
}  # fmt: skip
"""By role; `operator` is whoever uses the command line."""


def topic_operations(needs: Needs, topic: str) -> tuple[str, ...]:
    """What has to be allowed on a topic, in Kafka's words."""
    further = (
        ("Read", topic in needs.reads),
        ("Write", topic in needs.writes),
        *((name, needs.makes) for name in ("Create", "Alter", "AlterConfigs")),
    )
    return (*_SHOWN, *(name for name, is_needed in further if is_needed))


def group_operations(needs: Needs, group: str) -> tuple[str, ...]:
    """What has to be allowed on a consumer group, one of `_GROUPS`, in Kafka's words."""
    return ("Read",) if group in needs.joins else ("Describe",) if group in (READER_GROUP, *needs.sees) else ()


def commands(settings: Settings, role: str, principal: str) -> list[str]:
    """Arguments of Kafka's own `kafka-acls` that allow all of it, one line per topic or group.

    Args:
        role: A key of `NEEDS`.
        principal: As Kafka knows the user, e.g. `User:gate`.
    """
    needs = NEEDS[role]
    grants = [(f"--topic {settings.topic(name)}", topic_operations(needs, name)) for name in _ALL]
    grants += [(f"--group {_full(settings, name)}", group_operations(needs, name)) for name in _GROUPS]
    return [
        f"--add --allow-principal {principal} {' '.join(f'--operation {name}' for name in operations)} {resource}"
        for resource, operations in grants
        if operations
    ]


def missing(needed: Mapping[str, Collection[str]], allowed: Mapping[str, Collection[str] | None]) -> list[str]:
    """What is needed and not allowed, resources that lack the same in one, e.g. `Write on topic a, topic b`.

    Args:
        needed: Operations by resource.
        allowed: Likewise, as the brokers tell; None: not told.
    """
    lacking: dict[str, list[str]] = {}
    for resource, operations in needed.items():
        held = allowed.get(resource)
        if held is not None and (missed := [name for name in operations if name not in held]):
            lacking.setdefault(", ".join(missed), []).append(resource)
    return [f"{operations} on {', '.join(resources)}" for operations, resources in lacking.items()]


def require(settings: Settings, role: str, timeout_s: float) -> None:
    """Check what the role's user may do. Blocks.

    Args:
        role: A key of `NEEDS`.

    Raises:
        BrokerRefused: something is not allowed; names all of it, and the command that prints what to allow.
        BrokerUnreachable: no broker answered in time.
    """
    needs, reach = NEEDS[role], Reach(librdkafka(settings.kafka))
    client = reach.make(AdminClient)
    reach.metadata(client, timeout_s)
    needed = {f"topic {settings.topic(name)}": topic_operations(needs, name) for name in _ALL}
    needed |= {f"group {_full(settings, name)}": group_operations(needs, name) for name in _GROUPS}
    lines = missing(needed, _allowed(client, settings, needs, timeout_s))
    if lines:
        user = settings.kafka.sasl_username or "this client"
        raise BrokerRefused(
            f"{settings.kafka.bootstrap_servers}: Kafka does not allow {user} what the role {role} needs:"
            f" {'; '.join(lines)}; `wapipe topics acls --role {role}` prints what to allow"
        )


def _allowed(client: AdminClient, settings: Settings, needs: Needs, timeout_s: float) -> dict[str, set[str] | None]:
    topics = TopicCollection([settings.topic(name) for name in _ALL])
    asked = client.describe_topics(topics, include_authorized_operations=True, request_timeout=timeout_s)
    told = {f"topic {name}": _operations(future) for name, future in asked.items()}
    groups = [_full(settings, name) for name in _GROUPS if group_operations(needs, name)]
    wait_s = min(timeout_s, GROUP_WAIT_S)
    asked = client.describe_consumer_groups(groups, include_authorized_operations=True, request_timeout=wait_s)
    return told | {f"group {name}": _operations(future) for name, future in asked.items()}


def _full(settings: Settings, group: str) -> str:
    return group if group == READER_GROUP else settings.group(group)


def _operations(future: Any) -> set[str] | None:
    """Kafka's words for what the brokers say is allowed; None: they do not say."""
    try:
        operations = future.result().authorized_operations
    except KafkaException as exc:
        return set() if exc.args[0].code() in DENIED else None
    return None if operations is None else {_word(operation) for operation in operations}


def _word(operation: AclOperation) -> str:
    return "".join(part.capitalize() for part in operation.name.split("_"))
