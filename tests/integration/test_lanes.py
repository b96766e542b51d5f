"""A number gets other lanes while requests come, and a gate and the command are killed on the way."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.cli.lanes_scale import KafkaLanes
from pipeline.operations.acts import Actor
from pipeline.records.lanes import lanes_key, parse_lanes
from tests.support.campaign import Request, people, request
from tests.support.stage import WAPIPE
from tests.support.traffic import Traffic
from tests.support.world import NUMBER, World

PEOPLE = people(40)
LATER = people(6, 500)
"""Each of them gets a message that waits for its time, and one that waits behind it."""
RATE_PER_S = 25.0
LIMIT = 50
WAITS_S = 20.0
COMMAND_TIMEOUT_S = 120.0


@pytest.fixture
def world(kafka: str, tmp_path: Path) -> Iterator[World]:
    """A gate, two senders, one number on one lane; people who opted in."""
    numbers = {NUMBER: {"profile": "v1", "rate_per_s": LIMIT, "burst": LIMIT}}
    simulator = ("--rate", str(LIMIT), "--burst", str(LIMIT), "--latency-ms", "5")
    with World(kafka, tmp_path, numbers=numbers, partitions=3, session_timeout_s=6, simulator=simulator) as running:
        # Partitions that are there when senders start need not be waited for.
        KafkaLanes(running.settings, NUMBER, Actor("test", "cli"), None).extend(4)
        for role, name in (("gate", "gate-1"), ("sender", "sender-1"), ("sender", "sender-2")):
            running.spawn(role, name)
        running.ready()
        running.grant([*PEOPLE, *LATER])
        running.api.control(reset=True)
        yield running


def scheduled(world: World) -> list[Request]:
    """For each of LATER, a message for in a while, and one that waits for it; both are in a sender's memory."""
    due = (datetime.now(UTC) + timedelta(seconds=WAITS_S)).isoformat(timespec="milliseconds")
    firsts = [request(f"first-{one}", NUMBER, one, not_before=due) for one in LATER]
    world.produce(firsts)
    world.until(
        lambda: all(world.events_of(one["request_id"]) for one in firsts), "they are put off", COMMAND_TIMEOUT_S
    )
    world.until_taken(len(world.api.messages()) + int(2 * RATE_PER_S), COMMAND_TIMEOUT_S)
    seconds = [request(f"second-{one}", NUMBER, one) for one in LATER]
    world.produce(seconds)

    def waits(one: Request) -> bool:
        return any(event["reason"] == "behind_deferred" for event in world.events_of(one["request_id"]))

    world.until(lambda: all(map(waits, seconds)), "others wait behind them", COMMAND_TIMEOUT_S)
    return [*firsts, *seconds]


def killed_at(world: World, word: str) -> None:
    """Start the command and kill it when it says that word."""
    command = [*WAPIPE, "--config", str(world.config), "topics", "scale", "--lanes", f"{NUMBER}=3"]
    environment = {**world.environment("scale"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for text in run.stdout:
            if text.startswith(word):
                run.kill()
                return
    raise AssertionError(f"it ended with {run.returncode} before it said {word}")


def test_a_number_gets_more_lanes_and_nothing_is_lost_or_sent_twice(world: World) -> None:
    """Gate and command are killed: each request is sent once, in order, within the limit; settings need not follow."""
    with Traffic(world, PEOPLE, RATE_PER_S, "lanes") as traffic:
        later = scheduled(world)
        world.kill("gate-1")  # with requests that it wrote and did not commit
        world.spawn("gate", "gate-1")
        killed_at(world, "pause")
        world.wapipe("topics", "scale", "--lanes", f"{NUMBER}=3")
        sent = len(world.api.messages())
        world.until_taken(sent + int(3 * RATE_PER_S), COMMAND_TIMEOUT_S)
    asked = [*later, *traffic.requests]
    world.until_terminal(asked, timeout_s=COMMAND_TIMEOUT_S)
    assert world.judge(asked).problems() == []

    [record] = [one for one in world.read("account-state")[::-1] if one.key == lanes_key(NUMBER).encode()][:1]
    lanes = parse_lanes(record.json())
    assert lanes is not None
    assert (lanes.partitions, lanes.target, lanes.step) == ((1, 2, 3), None, "open")
    attempts = {one.partition for one in world.read("send-ledger") if one.json()["kind"] == "attempt"}
    assert attempts == {0, 1, 2, 3}
    # Settings of before change nothing when a sender is started anew; it says what to do about them.
    world.kill("sender-1")
    world.spawn("sender", "sender-1")
    world.until(
        lambda: world.said("sender-1", "lanes_differ") is not None, "it says that they differ", COMMAND_TIMEOUT_S
    )
    said = world.said("sender-1", "lanes_differ") or {}
    assert f"set numbers.{NUMBER}.partitions = [1, 2, 3]" in said["remedy"]
