"""An upgrade in the midst of work: this release takes over what the previous one left, and leaves what it reads."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from jsonschema import Draft202012Validator

from pipeline.clock import parse_rfc3339_ms, unix_ms
from tests.support.campaign import Request, asked
from tests.support.judge import TERMINAL, judge
from tests.support.previous import INTERNAL, Facts, Kept, kept_facts, kept_records, known_shape, moved
from tests.support.previous_make import CAMPAIGN, NUMBERS, OTHER, PARTITIONS
from tests.support.world import Draft, World

DUE_IN_MS = 3_000
WAIT_S = 90.0


def load(world: World, records: list[Kept], facts: Facts) -> None:
    """Write what the previous release left, as if it had been stopped just before the last is due."""
    waiting = {request["request_id"] for request in facts.requests["later"]}
    copies = [one.json() for one in records if one.topic.startswith("delayed-retry")]
    due_ms = max(parse_rfc3339_ms(copy["due_at"]) for copy in copies if copy["request"]["request_id"] in waiting)
    by_ms = unix_ms() + DUE_IN_MS - due_ms
    for (topic, partition), some in groupby(records, key=lambda one: (one.topic, one.partition)):
        drafts = [
            Draft(
                one.key.encode() if one.key is not None else None, moved(one, by_ms),
                [(name, text.encode()) for name, text in one.headers.items()],
            )
            for one in some
        ]  # fmt: skip
        world.write(topic, drafts, partition=partition)
    admin = AdminClient({"bootstrap.servers": world.kafka, "log_level": 0})
    for role, topics in facts.committed.items():
        places = [
            TopicPartition(world.topic(topic), int(partition), offset)
            for topic, found in topics.items()
            for partition, offset in found.items()
        ]
        group = ConsumerGroupTopicPartitions(world.group(role), places)
        admin.alter_consumer_group_offsets([group])[world.group(role)].result(WAIT_S)


def names(requests: list[Request]) -> set[str]:
    """Their ids."""
    return {request["request_id"] for request in requests}


def ended(world: World, requests: list[Request]) -> bool:
    """Whether all of them have a terminal event."""
    return names(requests) <= {event["request_id"] for event in world.events() if event["type"] in TERMINAL}


def test_this_release_goes_on_where_the_previous_one_was_killed(kafka: str, tmp_path: Path) -> None:
    """Messages queued, delayed, halted, paused or of unknown outcome end once and in order; what is held stays held."""
    records, facts = kept_records(), kept_facts()
    left = {(one.topic, one.partition, one.offset) for one in records}
    mine = {name: facts.requests[name] for name in ("done", "later", "halted", "paused", "queued")}
    settings = "[sender]\nunknown_wait_s = 3\n"
    with World(kafka, tmp_path, numbers=NUMBERS, partitions=PARTITIONS, settings=settings) as world:
        load(world, records, facts)
        world.spawn("gate")
        world.spawn("sender")
        world.ready()
        free = [request for name in ("done", "later", "halted", "queued") for request in mine[name]]
        world.until(lambda: ended(world, free), "what nobody holds has ended", WAIT_S)
        assert not ended(world, mine["paused"][:1]), "the previous release's pause holds"
        world.wapipe("numbers", "resume", OTHER, "--reason", "morning")
        world.until(lambda: ended(world, mine["paused"]), "what was paused has ended", WAIT_S)
        before: list[dict[str, Any]] = [
            {"profile": "cloud", "accepted": True, "text": name, "t_ns": 0} for name in facts.taken
        ]
        verdict = judge(
            [asked(request) for some in mine.values() for request in some],
            [*before, *world.api.messages()], world.events(), world.api.stats(),
        )  # fmt: skip
        print(verdict.figures())
        assert verdict.problems() == []
        assert verdict.types["accepted"] == sum(map(len, mine.values()))
        held = names(facts.requests["held"])
        assert held.isdisjoint(row["text"] for row in world.api.messages()), f"campaign {CAMPAIGN} is paused"
        written = [
            Kept.of(record, topic)
            for topic in INTERNAL
            for record in world.read(topic)
            if (topic, record.partition, record.offset) not in left or topic == "account-state"
        ]
    check_that_the_previous_release_reads(written, facts)


def check_that_the_previous_release_reads(written: list[Kept], facts: Facts) -> None:
    """What this release wrote meanwhile fits the schemas of the previous one, which may come back."""
    kinds = set()
    for one in written:
        record = {"send-ledger": "ledger", "account-state": "account-state"}.get(one.topic, "ready")
        schema = facts.schemas[record]
        if one.value is not None and known_shape(one.json(), schema):
            Draft202012Validator(schema).validate(one.json())
            kinds.add(record)
    assert kinds >= {"ledger", "account-state"}
