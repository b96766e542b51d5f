"""The one table of topics, and the plan that compares it with a broker: `wapipe topics plan|apply|check`.

`wanted` and `compare` are pure; `read_broker` and `apply` talk to Kafka through an AdminClient and block.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable, ConfigError, TopicsWrong
from pipeline.streams.client import librdkafka
from pipeline.streams.layout import read_layout
from pipeline.streams.reach import Reach

log = structlog.get_logger(__name__)

ADMIN_TIMEOUT_S = 15.0
SHOWN_POLL_S = 0.05
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS

Kind = Literal["recipient", "lane", "single"]
READY = ("ready-urgent", "ready-normal", "ready-bulk")
DELAYED = ("delayed-retry", "delayed-retry-1m", "delayed-retry-10m", "delayed-retry-1h")
TIER_DELAY_MS: dict[str, int] = {
    "delayed-retry": 5_000,
    "delayed-retry-1m": 60_000,
    "delayed-retry-10m": 600_000,
    "delayed-retry-1h": 3_600_000,
}
REQUESTS = ("outbound-requests-urgent", "outbound-requests")


@dataclass(frozen=True, slots=True)
class Topic:
    """How one topic is made.

    Attributes:
        kind: `recipient` (keyed by person), `lane` (one partition per lane) or `single` (one partition).
        cleanup: Value of cleanup.policy.
        retention_ms: None for compacted ones.
        extra: Further topic properties.
    """

    name: str
    kind: Kind
    cleanup: str
    retention_ms: int | None
    extra: Mapping[str, str] = field(default_factory=dict)


COMPACTION = {"segment.ms": "600000", "min.cleanable.dirty.ratio": "0.2", "max.compaction.lag.ms": "3600000"}
TOPICS: tuple[Topic, ...] = (
    Topic("outbound-requests", "recipient", "delete", 14 * DAY_MS),
    Topic("outbound-requests-urgent", "recipient", "delete", 14 * DAY_MS),
    Topic("consent-updates", "recipient", "delete", 14 * DAY_MS),
    Topic("consent", "recipient", "compact", None, COMPACTION),
    Topic("consent-events", "recipient", "delete", 5 * YEAR_MS),
    Topic("recipient-aliases", "recipient", "compact", None, COMPACTION),
    Topic("service-windows", "recipient", "compact,delete", 2 * DAY_MS, {"segment.ms": "3600000"}),
    Topic("suppressions", "recipient", "compact", None, COMPACTION),
    Topic("tier-recipients", "recipient", "compact,delete", 2 * DAY_MS, {"segment.ms": "3600000"}),
    Topic("inbound-events", "recipient", "delete", 14 * DAY_MS),
    Topic("outbound-events", "recipient", "delete", 30 * DAY_MS),
    Topic("dead-letter", "recipient", "delete", 30 * DAY_MS, {"max.message.bytes": str(6 * 1024 * 1024)}),
    *(Topic(name, "lane", "delete", 30 * DAY_MS) for name in (*READY, *DELAYED)),
    Topic("send-ledger", "lane", "delete", 7 * DAY_MS),
    Topic("account-state", "single", "compact", None, COMPACTION),
    Topic("audit-events", "single", "delete", 5 * YEAR_MS),
)
BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the broker has it."""

    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what is wanted and what is there.

    Attributes:
        action: `create`, `add_partitions`, `set` (a property) or `refuse` (only a person can mend it).
        found: What is there, for a person.
        wanted: What should be there.
        remedy: What to do about it.
    """

    action: Literal["create", "add_partitions", "set", "refuse"]
    topic: str
    what: str
    found: str
    wanted: str
    remedy: str


def wanted_config(topic: Topic, settings: Settings) -> dict[str, str]:
    """Topic properties as the settings ask for them."""
    config = {
        "cleanup.policy": topic.cleanup,
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": str(settings.kafka.min_insync_replicas),
        **topic.extra,
    }
    kept_ms = retention_ms(settings, topic.name)
    if kept_ms is not None:
        config["retention.ms"] = str(kept_ms)
    return config


def retention_ms(settings: Settings, name: str) -> int | None:
    """How long a topic keeps its records, ms; None: it is compacted, and the settings name no time."""
    hours = settings.kafka.retention_h.get(name)
    return int(hours * 3_600_000) if hours is not None else BY_NAME[name].retention_ms


def wanted_partitions(topic: Topic, settings: Settings, found: Mapping[str, Found]) -> int:
    """Partitions of a topic: lanes by the pinned ones, recipients as the broker has them, else by the settings."""
    if topic.kind == "single":
        return 1
    if topic.kind == "lane":
        return settings.lane_partitions()
    counts = [found[name].partitions for name in REQUESTS[::-1] if name in found]
    return counts[0] if counts else settings.kafka.recipient_partitions


def compare(settings: Settings, found: Mapping[str, Found]) -> list[Change]:
    """What has to change for the pipeline to run, in the table's order.

    Args:
        found: Topics of the broker by their name without the prefix.

    Raises:
        ConfigError: `kafka.retention_h` names a topic that there is not.
    """
    for name in settings.kafka.retention_h:
        if name not in BY_NAME:
            raise ConfigError(f"kafka.retention_h.{name}: no such topic; topics are {', '.join(BY_NAME)}")
    changes: list[Change] = []
    for topic in TOPICS:
        there = found.get(topic.name)
        partitions = wanted_partitions(topic, settings, found)
        if there is None:
            changes.append(
                Change("create", topic.name, "topic", "missing", f"{partitions} partitions", "wapipe topics apply")
            )
            continue
        changes.extend(_partition_changes(topic, there, partitions))
        changes.extend(_config_changes(topic, there, wanted_config(topic, settings)))
    return changes


def _partition_changes(topic: Topic, there: Found, partitions: int) -> list[Change]:
    found, wanted = str(there.partitions), str(partitions)
    if topic.kind == "lane" and there.partitions < partitions:
        return [Change("add_partitions", topic.name, "partitions", found, wanted, "wapipe topics apply")]
    if topic.kind != "lane" and there.partitions != partitions:
        most = max(there.partitions, partitions)
        scale = f"give all recipient topics one count: wapipe topics scale --recipients {most}"
        remedy = "make it anew with that count" if topic.kind == "single" else scale
        return [Change("refuse", topic.name, "partitions", found, wanted, remedy)]
    return []


def _config_changes(topic: Topic, there: Found, wanted: Mapping[str, str]) -> list[Change]:
    return [
        Change("set", topic.name, name, there.config.get(name, "unset"), value, "wapipe topics apply")
        for name, value in wanted.items()
        if not _same(there.config.get(name), value)
    ]


def _same(found: str | None, wanted: str) -> bool:
    return found is not None and set(found.replace(" ", "").split(",")) == set(wanted.split(","))


def blocking(changes: list[Change]) -> list[Change]:
    """Differences that keep a role from starting: missing topics, counts, cleanup policies."""
    return [change for change in changes if change.action != "set" or change.what == "cleanup.policy"]


def require(settings: Settings, timeout_s: float | None = None) -> int:
    """Check the topics of a broker before a role starts.

    While recipients are being moved to more partitions, their topics may differ in number: gates do not run then, and
    no other role minds.

    Returns:
        The number of recipient partitions.

    Raises:
        BrokerUnreachable: no broker answered in time, or one refused us.
        TopicsWrong: names each topic, what was found, what is wanted, and the remedy.
    """
    found = read_broker(settings, timeout_s or settings.kafka.startup_timeout_s)
    problems = blocking(compare(settings, found))
    if any(_is_count_of_recipients(problem) for problem in problems) and is_scaling(settings):
        problems = [problem for problem in problems if not _is_count_of_recipients(problem)]
    if problems:
        lines = [f"{p.topic}: {p.what}: found {p.found}, wanted {p.wanted}; remedy: {p.remedy}" for p in problems]
        raise TopicsWrong("topics are not as the pipeline needs them:\n  " + "\n  ".join(lines))
    partitions = found["outbound-requests"].partitions
    if settings.kafka.recipient_partitions != partitions:
        log.warning(
            "recipient_partitions_differ", settings=settings.kafka.recipient_partitions, topics=partitions,
            remedy=f"set kafka.recipient_partitions = {partitions}: topics that are made anew get as many as it says",
        )  # fmt: skip
    return partitions


def _is_count_of_recipients(change: Change) -> bool:
    return change.what == "partitions" and BY_NAME[change.topic].kind == "recipient"


def is_scaling(settings: Settings) -> bool:
    """Whether `topics scale` is at work, or was killed."""
    layout = read_layout(settings)
    return layout is not None and not layout.is_open


def admin(settings: Settings) -> AdminClient:
    """An admin client for the settings' broker."""
    return AdminClient(librdkafka(settings.kafka))


def read_broker(settings: Settings, timeout_s: float = ADMIN_TIMEOUT_S) -> dict[str, Found]:
    """Read our topics as the broker has them, by their name without the prefix. Blocks.

    Raises:
        BrokerUnreachable: no broker answered in time, or one refused us.
        ConfigError: `[kafka]` names something that is not there or not of its kind.
    """
    reach = Reach(librdkafka(settings.kafka))
    client = reach.make(AdminClient)
    metadata = reach.metadata(client, timeout_s)
    try:
        names = {settings.topic(t.name): t.name for t in TOPICS if settings.topic(t.name) in metadata.topics}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = client.describe_configs(resources, request_timeout=timeout_s) if resources else {}
        configs = {resource.name: _config_of(future) for resource, future in answers.items()}
    except KafkaException as exc:
        client.poll(0)
        raise reach.failure(exc, timeout_s) from exc
    return {
        short: Found(
            len(metadata.topics[name].partitions),
            max((len(p.replicas) for p in metadata.topics[name].partitions.values()), default=0),
            {key: entry.value for key, entry in config.items()},
        )
        for name, short in names.items()
        if (config := configs[name]) is not None
    }


def _config_of(future: Any) -> Any:
    """A topic's configuration; None: the broker that was asked has not heard of the topic yet, another one has."""
    try:
        return future.result()
    except KafkaException as exc:
        if exc.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise


def apply(settings: Settings, changes: list[Change]) -> None:
    """Make the changes: create topics, add lane partitions, set properties; return once the broker shows them. Blocks.

    Raises:
        BrokerUnreachable: no answer in time, or the changes did not show.
        TopicsWrong: a change that only a person can make, or the broker refused one.
    """
    refused = [change for change in changes if change.action == "refuse"]
    if refused:
        lines = [f"{c.topic}: {c.what}: found {c.found}, wanted {c.wanted}; remedy: {c.remedy}" for c in refused]
        raise TopicsWrong("cannot be changed by `topics apply`:\n  " + "\n  ".join(lines))
    client = admin(settings)
    found = read_broker(settings)
    jobs: dict[str, Any] = {}
    new = [_new_topic(BY_NAME[c.topic], settings, found) for c in changes if c.action == "create"]
    if new:
        jobs.update(client.create_topics(new, request_timeout=ADMIN_TIMEOUT_S))
    more = [NewPartitions(settings.topic(c.topic), int(c.wanted)) for c in changes if c.action == "add_partitions"]
    if more:
        jobs.update(client.create_partitions(more, request_timeout=ADMIN_TIMEOUT_S))
    jobs.update(_set_configs(client, settings, changes))
    for name, future in jobs.items():
        try:
            future.result()
        except KafkaException as exc:
            if exc.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # another process applies the same plan at this moment
            raise TopicsWrong(f"{getattr(name, 'name', name)}: the broker refused: {exc.args[0].str()}") from exc
    _wait_until_shown(settings, changes)


def _wait_until_shown(settings: Settings, changes: list[Change]) -> None:
    # The controller answers first, the brokers follow: a client that asks at once would still miss the topics.
    made = {(change.topic, change.what) for change in changes}
    end_s = steady_s() + ADMIN_TIMEOUT_S
    while left := [c.topic for c in compare(settings, read_broker(settings)) if (c.topic, c.what) in made]:
        if steady_s() > end_s:
            names = ", ".join(sorted(set(left)))
            raise BrokerUnreachable(f"changes do not show after {ADMIN_TIMEOUT_S:.0f} s: {names}; check the brokers")
        time.sleep(SHOWN_POLL_S)


def _new_topic(topic: Topic, settings: Settings, found: Mapping[str, Found]) -> NewTopic:
    return NewTopic(
        settings.topic(topic.name),
        num_partitions=wanted_partitions(topic, settings, found),
        replication_factor=settings.kafka.replication_factor,
        config=wanted_config(topic, settings),
    )


def _set_configs(client: AdminClient, settings: Settings, changes: list[Change]) -> dict[Any, Any]:
    by_topic: dict[str, list[Any]] = {}
    for change in changes:
        if change.action == "set":
            entry = ConfigEntry(change.what, change.wanted, incremental_operation=AlterConfigOpType.SET)
            by_topic.setdefault(change.topic, []).append(entry)
    if not by_topic:
        return {}
    resources = [
        ConfigResource(ResourceType.TOPIC, settings.topic(name), incremental_configs=entries)
        for name, entries in by_topic.items()
    ]
    answers: dict[Any, Any] = client.incremental_alter_configs(resources, request_timeout=ADMIN_TIMEOUT_S)
    return answers
