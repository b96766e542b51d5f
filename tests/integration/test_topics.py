"""The topic plan against a real Kafka: made from nothing, checked, grown, and refused where a person must decide."""

from __future__ import annotations

import pytest

from pipeline.config import KafkaSettings, NumberSettings, Settings
from pipeline.errors import BrokerUnreachable, TopicsWrong
from pipeline.streams.topics import BY_NAME, TOPICS, Change, apply, blocking, compare, read_broker, require
from tests.support.broker import create_topics


def settings(bootstrap: str, prefix: str, partitions: list[int] | None = None) -> Settings:
    """Settings of a small installation on the test broker."""
    number = NumberSettings(
        business="acme", profile="cloud", base_url="https://api.example", token_env="T", partitions=partitions
    )
    kafka = KafkaSettings(
        bootstrap_servers=bootstrap, topic_prefix=prefix, recipient_partitions=3, client={"log_level": 0}
    )
    return Settings(kafka=kafka, numbers={"1": number})


def plan(wanted: Settings) -> list[Change]:
    """What has to change on the broker."""
    return compare(wanted, read_broker(wanted))


def test_apply_makes_what_plan_names(kafka: str, topic_prefix: str) -> None:
    """An empty broker gets every topic, as wanted; planned again, nothing is left to do, and a role may start."""
    wanted = settings(kafka, topic_prefix)
    changes = plan(wanted)
    assert [(change.action, change.topic) for change in changes] == [("create", topic.name) for topic in TOPICS]
    apply(wanted, changes)
    assert plan(wanted) == []
    found = read_broker(wanted)
    assert {name: there.partitions for name, there in found.items()} == {
        topic.name: 3 if topic.kind == "recipient" else 1 for topic in TOPICS
    }
    assert found["consent"].config["cleanup.policy"] == "compact"
    assert found["outbound-requests"].config["message.timestamp.type"] == "LogAppendTime"
    assert require(wanted) == 3


def test_missing_topics_keep_a_role_from_starting(kafka: str, topic_prefix: str) -> None:
    """Without topics `require` names each of them and the command that makes them."""
    with pytest.raises(TopicsWrong) as caught:
        require(settings(kafka, topic_prefix))
    said = str(caught.value)
    assert "consent: topic: found missing, wanted 3 partitions; remedy: wapipe topics apply" in said
    assert all(f"{topic.name}: " in said for topic in TOPICS)


def test_wrong_policy_is_refused_and_mended(kafka: str, topic_prefix: str) -> None:
    """A `consent` topic that deletes keeps roles from starting, with found, wanted and remedy, until `apply` set it."""
    wanted = settings(kafka, topic_prefix)
    create_topics(kafka, {f"{topic_prefix}consent": 3}, config={"cleanup.policy": "delete"})
    apply(wanted, [change for change in plan(wanted) if change.action == "create"])
    with pytest.raises(
        TopicsWrong, match=r"consent: cleanup\.policy: found delete, wanted compact; remedy: wapipe topics apply"
    ):
        require(wanted)
    apply(wanted, plan(wanted))
    assert plan(wanted) == []
    assert require(wanted) == 3


def test_wrong_partition_count_is_for_a_person(kafka: str, topic_prefix: str) -> None:
    """One recipient topic with another count than the rest is refused by `require` and by `apply`, and not touched."""
    wanted = settings(kafka, topic_prefix)
    create_topics(kafka, {f"{topic_prefix}consent-updates": 2})
    apply(wanted, [change for change in plan(wanted) if change.action == "create"])
    said = r"consent-updates: partitions: found 2, wanted 3; remedy: give all recipient topics one count"
    with pytest.raises(TopicsWrong, match=said):
        require(wanted)
    with pytest.raises(TopicsWrong, match=said):
        apply(wanted, plan(wanted))
    assert read_broker(wanted)["consent-updates"].partitions == 2


def test_recipient_count_is_the_brokers(kafka: str, topic_prefix: str) -> None:
    """Settings that ask for another count than the broker has change nothing: they only create."""
    wanted = settings(kafka, topic_prefix)
    apply(wanted, plan(wanted))
    other = wanted.model_copy(update={"kafka": wanted.kafka.model_copy(update={"recipient_partitions": 9})})
    assert plan(other) == []
    assert require(other) == 3


def test_lanes_are_added(kafka: str, topic_prefix: str) -> None:
    """A number that gets lane 7 makes every lane topic grow to 8 partitions; none is ever taken away."""
    first = settings(kafka, topic_prefix)
    apply(first, plan(first))
    grown = settings(kafka, topic_prefix, partitions=[7])
    changes = plan(grown)
    assert {(change.action, change.found, change.wanted) for change in changes} == {("add_partitions", "1", "8")}
    assert {change.topic for change in changes} == {topic.name for topic in TOPICS if topic.kind == "lane"}
    with pytest.raises(TopicsWrong, match="ready-urgent: partitions: found 1, wanted 8; remedy: wapipe topics apply"):
        require(grown)
    apply(grown, changes)
    assert plan(grown) == []
    assert plan(first) == []
    assert read_broker(grown)["send-ledger"].partitions == 8


def test_properties_are_set(kafka: str, topic_prefix: str) -> None:
    """Another retention in the settings is a change that does not block, and that `apply` makes."""
    wanted = settings(kafka, topic_prefix)
    apply(wanted, plan(wanted))
    other = wanted.model_copy(update={"kafka": wanted.kafka.model_copy(update={"retention_h": {"send-ledger": 24}})})
    changes = plan(other)
    assert [(change.action, change.topic, change.what, change.wanted) for change in changes] == [
        ("set", "send-ledger", "retention.ms", "86400000")
    ]
    assert blocking(changes) == []
    apply(other, changes)
    assert plan(other) == []


def test_what_the_broker_refuses_is_said(kafka: str, topic_prefix: str) -> None:
    """More replicas than there are brokers: the topic is named together with the broker's own words."""
    wanted = settings(kafka, topic_prefix)
    many = wanted.model_copy(update={"kafka": wanted.kafka.model_copy(update={"replication_factor": 3})})
    with pytest.raises(TopicsWrong, match=rf"{topic_prefix}outbound-requests: the broker refused: .*replication"):
        apply(many, plan(many))


def test_applying_twice_at_once_is_fine(kafka: str, topic_prefix: str) -> None:
    """Two processes that apply the same plan both end well: what the other one made counts."""
    wanted = settings(kafka, topic_prefix)
    changes = plan(wanted)
    apply(wanted, changes)
    apply(wanted, changes)
    assert plan(wanted) == []


def test_prefixes_do_not_meet(kafka: str, topic_prefix: str) -> None:
    """Two installations on one broker see only their own topics."""
    first, second = settings(kafka, f"{topic_prefix}a-"), settings(kafka, f"{topic_prefix}b-")
    apply(first, plan(first))
    assert set(read_broker(first)) == set(BY_NAME)
    assert read_broker(second) == {}


def test_no_broker_is_said_with_the_way_out() -> None:
    """Where no broker answers, the address and what to do are named, within the time given."""
    wanted = settings("127.0.0.1:1", "x-")
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1: no answer within 1 s .*wapipe broker") as caught:
        require(wanted, timeout_s=1)
    assert caught.value.exit_code == 69
