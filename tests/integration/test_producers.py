"""Requests written by the usual clients of other languages, with their default partitioners, are sent.

Java's and kafkajs' default is murmur2, as the pipeline's. Sarama's is FNV-1a and librdkafka's (so kcat's) CRC32: what
they write stands on foreign partitions and is re-routed; order per person is kept all the same. A language without its
tools on this machine is skipped with the reason, and fewer than two that can run are a failure.

By hand, with kcat instead of the producers here:

    kcat -P -b BOOTSTRAP -t outbound-requests -K '|' <<< '15550109999|{"request_id": …}'
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from pipeline.streams.partition import partition_of
from tests.support.campaign import ENTRANCE, Ids, Request, campaign, people
from tests.support.producers import LANGUAGES, Missing, command
from tests.support.world import NUMBER, World

PEOPLE = people(60)
PARTITIONS = 6
ROUNDS = 3
RUN_TIMEOUT_S = 120.0
LANGUAGES_MIN = 2
KEEPS_MURMUR2 = {"java": True, "node": True, "go": False}


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One gate, one sender, people who opted in."""
    folder = tmp_path_factory.mktemp("producers")
    numbers = {NUMBER: {"profile": "v1", "rate_per_s": 500, "burst": 500}}
    simulator = ("--rate", "500", "--burst", "500", "--latency-ms", "5")
    with World(kafka, folder, numbers=numbers, partitions=PARTITIONS, simulator=simulator) as running:
        running.spawn("gate")
        running.spawn("sender")
        running.ready()
        running.grant(PEOPLE)
        running.api.control(reset=True)
        yield running


def run_producer(argv: Sequence[str], world: World, requests: Sequence[Request]) -> None:
    """Let a program write requests, one `key TAB value` line each."""
    lines = b"".join(request["to"].encode() + b"\t" + orjson.dumps(request) + b"\n" for request in requests)
    done = subprocess.run(
        [*argv, world.kafka, world.topic(ENTRANCE)],
        input=lines, check=False, timeout=RUN_TIMEOUT_S, capture_output=True, cwd=Path("/"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    assert done.stdout.split()[-1] == str(len(requests)).encode()


def foreign(world: World, requests: Sequence[Request]) -> int:
    """How many of these requests were written to a partition that is not their recipient's."""
    ids = {request["request_id"] for request in requests}
    written = [
        record
        for record in world.read(ENTRANCE)
        if record.json()["request_id"] in ids and "wapipe-rerouted" not in record.headers
    ]
    assert len(written) == len(requests)
    return sum(record.partition != partition_of(record.json()["to"], PARTITIONS) for record in written)


def assert_sent(world: World, requests: list[Request]) -> None:
    """Each is accepted once and in order per person."""
    world.until_terminal(requests, timeout_s=60)
    assert world.judge(requests).problems() == []
    world.api.control(reset=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_default_partitioner_of(language: str, world: World) -> None:
    """What the language's usual client writes with its defaults is sent, once and in order per person."""
    try:
        argv = command(language)
    except Missing as reason:
        pytest.skip(f"{language}: {reason}")
    requests = campaign(ROUNDS * len(PEOPLE), [NUMBER], PEOPLE, Ids(language))
    run_producer(argv, world, requests)
    assert_sent(world, requests)
    assert (foreign(world, requests) == 0) is KEEPS_MURMUR2[language]


def test_at_least_two_languages_can_run() -> None:
    """The promise is about producers of other languages: a machine without them cannot show it."""
    found: dict[str, str] = {}
    for language in LANGUAGES:
        try:
            found[language] = command(language)[0]
        except Missing as reason:
            print(f"{language}: {reason}")
    assert len(found) >= LANGUAGES_MIN, f"only {sorted(found)}: install a JDK, Go or Node with npm"


def test_default_partitioner_of_librdkafka(world: World) -> None:
    """kcat, confluent-kafka and everything else on librdkafka hash by CRC32: re-routed, and in order per person."""
    requests = campaign(ROUNDS * len(PEOPLE), [NUMBER], PEOPLE, Ids("librdkafka"))
    producer = Producer({"bootstrap.servers": world.kafka, "enable.idempotence": True, "log_level": 0})
    for request in requests:
        producer.produce(world.topic(ENTRANCE), orjson.dumps(request), request["to"])
    assert producer.flush(RUN_TIMEOUT_S) == 0
    assert_sent(world, requests)
    assert foreign(world, requests) > 0
