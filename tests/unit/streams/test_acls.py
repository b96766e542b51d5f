"""What Kafka has to allow whom: nothing is missing from it, and what lacks is told in few words."""

from __future__ import annotations

import pytest

from pipeline.config import KafkaSettings, Settings
from pipeline.streams.acls import NEEDS, commands, group_operations, missing, topic_operations
from pipeline.streams.topics import TOPICS

NAMES = {topic.name for topic in TOPICS}


@pytest.mark.parametrize("role", NEEDS)
def test_what_a_role_needs_is_on_topics_that_there_are(role: str) -> None:
    """No name is misspelt, none stands twice, and each topic can at least be looked at."""
    needs = NEEDS[role]
    for names in (needs.reads, needs.writes):
        assert set(names) <= NAMES
        assert len(set(names)) == len(names)
    assert all(topic_operations(needs, name)[:2] == ("Describe", "DescribeConfigs") for name in NAMES)


def test_only_operators_make_topics() -> None:
    """No role that runs may make, change or widen a topic."""
    makers = {role for role, needs in NEEDS.items() if "Create" in topic_operations(needs, "consent")}
    assert makers == {"operator"}


def test_commands_carry_prefix_and_principal() -> None:
    """Each line is a call of Kafka's tool for one resource, by its full name."""
    lines = commands(Settings(kafka=KafkaSettings(topic_prefix="eu-")), "ingress", "User:door")
    assert len(lines) == len(TOPICS) + 1  # and the group of those who only read
    written = "--operation Describe --operation DescribeConfigs --operation Write --topic eu-inbound-events"
    assert f"--add --allow-principal User:door {written}" in lines


def test_groups_are_joined_by_their_role_and_seen_by_people() -> None:
    """A gate may join its group; a console and an operator see its offsets; others have nothing to do with it."""
    found = {role: group_operations(needs, "gate") for role, needs in NEEDS.items()}
    assert found == {
        "gate": ("Read",), "sender": (), "ingress": (), "console": ("Describe",), "operator": ("Describe",),
    }  # fmt: skip


def test_what_lacks_is_told_together() -> None:
    """Resources that lack the same share a line; what a broker does not tell counts as allowed."""
    needed = {"topic a": ("Read", "Write"), "topic b": ("Write",), "topic c": ("Write",), "group g": ("Read",)}
    allowed = {"topic a": {"Read"}, "topic b": set[str](), "topic c": None}
    assert missing(needed, allowed) == ["Write on topic a, topic b"]
