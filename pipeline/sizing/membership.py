"""How large a consumer group's own record is. Pure.

Faust's assignor tells every member, in its subscription, which member has which partition of which topic; the broker
keeps the subscriptions and assignments of all members in one record of its own. So that record grows with the square
of the group, and the broker takes no record above `message.max.bytes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.streams.topics import DELAYED, READY, REQUESTS

URL_CHARS: Final = 30
"""`http://wapipe-sender-12345:6066`, about."""
ZIPPED: Final = 0.12
"""Assignments are compressed, subscriptions are not."""
FIXED_BYTES: Final = 600
"""Of one member: its ids, host, topics, and the names of the fields."""


@dataclass(frozen=True, slots=True)
class Group:
    """What a group's members tell of each other.

    Attributes:
        topics: Consumed.
        tables: Changelogs.
    """

    topics: tuple[str, ...]
    tables: tuple[str, ...] = ()


GATE: Final = Group(
    (*REQUESTS, "consent-updates", "inbound-events"),
    ("consent", "service-windows", "suppressions", "recipient-aliases"),
)
SENDER: Final = Group((*READY, *DELAYED))


def subscription_bytes(group: Group, members: int, partitions: int) -> int:
    """What one member says of all: JSON, a list of partitions by member and topic.

    Args:
        members: Of the group.
        partitions: Of each topic.
    """
    names = [*group.topics, *group.tables]
    of_member = 2 * (URL_CHARS + 6) + sum(len(name) + 6 for name in names)
    of_topic = sum(len(str(partition)) + 1 for partition in range(partitions))
    return members * of_member + len(names) * of_topic


def group_bytes(group: Group, members: int, partitions: int) -> float:
    """The record that the broker keeps of the group."""
    return members * (FIXED_BYTES + subscription_bytes(group, members, partitions) * (1 + ZIPPED))
