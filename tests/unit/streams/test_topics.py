"""The topic plan: what is wanted, what differs, and which differences keep a role from starting. No broker here."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.config import KafkaSettings, NumberSettings, Settings
from pipeline.errors import BrokerUnreachable, ConfigError, TopicsWrong
from pipeline.streams import topics
from pipeline.streams.topics import (
    BY_NAME,
    DELAYED,
    READY,
    TIER_DELAY_MS,
    TOPICS,
    Found,
    apply,
    blocking,
    compare,
    read_broker,
    wanted_config,
    wanted_partitions,
)


def settings(partitions: list[int] | None = None, **kafka: Any) -> Settings:
    """Settings with one number on some lanes."""
    number = NumberSettings(
        business="acme", profile="cloud", base_url="https://api.example", token_env="T", partitions=partitions
    )
    return Settings(kafka=KafkaSettings(**kafka), numbers={"1": number})


def broker(wanted: Settings) -> dict[str, Found]:
    """A broker that has everything as wanted."""
    return {
        topic.name: Found(wanted_partitions(topic, wanted, {}), 1, wanted_config(topic, wanted)) for topic in TOPICS
    }


CONTRACT = {
    "outbound-requests": ("recipient", "delete", 14 * 24),
    "outbound-requests-urgent": ("recipient", "delete", 14 * 24),
    "consent-updates": ("recipient", "delete", 14 * 24),
    "consent": ("recipient", "compact", None),
    "consent-events": ("recipient", "delete", 5 * 365 * 24),
    "recipient-aliases": ("recipient", "compact", None),
    "service-windows": ("recipient", "compact,delete", 48),
    "suppressions": ("recipient", "compact", None),
    "tier-recipients": ("recipient", "compact,delete", 48),
    "inbound-events": ("recipient", "delete", 14 * 24),
    "outbound-events": ("recipient", "delete", 30 * 24),
    "dead-letter": ("recipient", "delete", 30 * 24),
    **dict.fromkeys((*READY, *DELAYED), ("lane", "delete", 30 * 24)),
    "send-ledger": ("lane", "delete", 7 * 24),
    "account-state": ("single", "compact", None),
    "audit-events": ("single", "delete", 5 * 365 * 24),
}


def test_table_is_the_contracts() -> None:
    """Names, keys, policies and retentions are those of the contract."""
    hours = {t.name: t.retention_ms / 3_600_000 if t.retention_ms is not None else None for t in TOPICS}
    assert {t.name: (t.kind, t.cleanup, hours[t.name]) for t in TOPICS} == CONTRACT


def test_every_topic_has_broker_time() -> None:
    """Broker times are what the ledger compares, so no topic may carry the writer's."""
    for topic in TOPICS:
        assert wanted_config(topic, settings())["message.timestamp.type"] == "LogAppendTime"


def test_dead_letter_takes_any_record() -> None:
    """A record of the largest size, with its headers, fits on the dead-letter topic."""
    assert wanted_config(BY_NAME["dead-letter"], settings())["max.message.bytes"] == str(6 * 1024 * 1024)


def test_tiers_are_in_order() -> None:
    """Delays grow from tier to tier, and every delayed topic has one."""
    assert tuple(TIER_DELAY_MS) == DELAYED
    assert list(TIER_DELAY_MS.values()) == sorted(TIER_DELAY_MS.values())


def test_partition_counts_by_kind() -> None:
    """Recipient topics follow the settings, lane topics the highest pinned lane, single ones have one partition."""
    wanted = settings([7, 2], recipient_partitions=6)
    assert wanted_partitions(BY_NAME["consent"], wanted, {}) == 6
    assert wanted_partitions(BY_NAME["ready-bulk"], wanted, {}) == 8
    assert wanted_partitions(BY_NAME["account-state"], wanted, {}) == 1


def test_recipient_partitions_are_the_brokers() -> None:
    """Once `outbound-requests` exists its count counts, whatever the settings say."""
    wanted = settings(recipient_partitions=6)
    there = broker(settings(recipient_partitions=24))
    assert compare(wanted, there) == []
    del there["consent"]
    [change] = compare(wanted, there)
    assert (change.action, change.topic, change.wanted) == ("create", "consent", "24 partitions")


def test_empty_broker_needs_everything() -> None:
    """On an empty broker every topic of the table is to be created, and no role may start."""
    changes = compare(settings(), {})
    assert [change.topic for change in changes] == [topic.name for topic in TOPICS]
    assert {change.action for change in changes} == {"create"}
    assert blocking(changes) == changes


def test_matching_broker_needs_nothing() -> None:
    """A broker as wanted has no change; the order of words in a policy does not matter."""
    there = broker(settings())
    windows = there["service-windows"]
    there["service-windows"] = replace(windows, config={**windows.config, "cleanup.policy": "delete, compact"})
    assert compare(settings(), there) == []


def test_wrong_policy_blocks_and_can_be_set() -> None:
    """A wrong cleanup policy keeps roles from starting; `apply` can set it."""
    there = broker(settings())
    there["consent"] = replace(there["consent"], config={**there["consent"].config, "cleanup.policy": "delete"})
    [change] = compare(settings(), there)
    assert (change.action, change.topic, change.what) == ("set", "consent", "cleanup.policy")
    assert (change.found, change.wanted, change.remedy) == ("delete", "compact", "wapipe topics apply")
    assert blocking([change]) == [change]


def test_other_properties_do_not_block() -> None:
    """Another retention is a change, but no reason to stand still; an unset one is named so."""
    there = broker(settings())
    config = {name: value for name, value in there["send-ledger"].config.items() if name != "retention.ms"}
    there["send-ledger"] = replace(there["send-ledger"], config=config)
    [change] = compare(settings(), there)
    assert (change.action, change.what, change.found) == ("set", "retention.ms", "unset")
    assert blocking([change]) == []


@pytest.mark.parametrize(("name", "count"), [("consent-updates", 11), ("account-state", 2)])
def test_wrong_count_is_refused(name: str, count: int) -> None:
    """A recipient topic with another count, or a second partition of a single one, is for a person to mend."""
    there = broker(settings())
    there[name] = replace(there[name], partitions=count)
    [change] = compare(settings(), there)
    assert (change.action, change.topic, change.what, change.found) == ("refuse", name, "partitions", str(count))
    assert change.remedy
    with pytest.raises(TopicsWrong, match=f"{name}: partitions: found {count}, wanted .*; remedy: "):
        apply(settings(), [change])


def test_lanes_only_grow() -> None:
    """More lanes than there are partitions are added; partitions of lanes that are gone stay."""
    there = broker(settings([0, 1]))
    changes = compare(settings([0, 7]), there)
    assert {change.topic for change in changes} == {topic.name for topic in TOPICS if topic.kind == "lane"}
    assert {(change.action, change.found, change.wanted) for change in changes} == {("add_partitions", "2", "8")}
    assert blocking(changes) == changes
    assert compare(settings([0]), there) == []


def test_retention_by_setting() -> None:
    """A retention of the settings replaces the table's, also on a compacted topic."""
    wanted = settings(retention_h={"send-ledger": 24, "service-windows": 0.5})
    assert wanted_config(BY_NAME["send-ledger"], wanted)["retention.ms"] == "86400000"
    assert wanted_config(BY_NAME["service-windows"], wanted)["retention.ms"] == "1800000"
    assert "retention.ms" not in wanted_config(BY_NAME["consent"], wanted)


def test_retention_of_an_unknown_topic_is_named() -> None:
    """A topic that there is not is a mistake in the settings, not something to ignore."""
    with pytest.raises(ConfigError, match=r"kafka\.retention_h\.outbond-events: no such topic; topics are outbound"):
        compare(settings(retention_h={"outbond-events": 1}), {})


def test_replicas_in_sync_by_setting() -> None:
    """How many copies must have a record is a property of every topic."""
    wanted = settings(replication_factor=3, min_insync_replicas=2)
    assert {wanted_config(topic, wanted)["min.insync.replicas"] for topic in TOPICS} == {"2"}


class Cluster:
    """Two brokers: one has heard of both topics, the other one answers for `consent` as it is told to."""

    def __init__(self, code: int) -> None:
        self._error = KafkaException(KafkaError(code))

    def list_topics(self, _topic: str | None, _timeout_s: float) -> Any:
        """The first broker's answer."""
        part = SimpleNamespace(replicas=[1], error=None)
        names = ("consent", "consent-updates")
        return SimpleNamespace(topics={name: SimpleNamespace(partitions={0: part}, error=None) for name in names})

    def poll(self, _timeout_s: float) -> int:
        """Nothing to tell."""
        return 0

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, Future[Any]]:
        """The second broker's answer."""
        answers: dict[Any, Future[Any]] = {}
        for resource in resources:
            answers[resource] = Future()
            if resource.name == "consent":
                answers[resource].set_exception(self._error)
            else:
                answers[resource].set_result({"cleanup.policy": SimpleNamespace(value="delete")})
        return answers


def test_a_topic_that_not_all_brokers_know_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after its creation `apply` waits for it instead of failing. (Real brokers agree too soon to show it.)"""
    monkeypatch.setattr(topics, "AdminClient", lambda _conf: Cluster(KafkaError.UNKNOWN_TOPIC_OR_PART))
    found = read_broker(settings())
    assert {name: one.config for name, one in found.items()} == {"consent-updates": {"cleanup.policy": "delete"}}


def test_any_other_error_of_a_broker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that one is waited out."""
    monkeypatch.setattr(topics, "AdminClient", lambda _conf: Cluster(KafkaError._TIMED_OUT))
    with pytest.raises(BrokerUnreachable, match="_TIMED_OUT"):
        read_broker(settings())
