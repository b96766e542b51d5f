"""SIGKILL in the middle of a campaign: nothing is lost, order is kept, and no commit ever passes an unfinished record.

Webhooks are on: what a killed sender had on its way is settled by the API's own statuses, so nothing is sent twice.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.streams.topics import DELAYED, READY
from tests.support.campaign import ENTRANCE, Ids, Request, campaign, people
from tests.support.judge import TERMINAL
from tests.support.reading import Record, committed
from tests.support.world import NUMBER, World

NUMBERS = [NUMBER, str(int(NUMBER) + 1)]
PEOPLE = people(160)
SLICES, SLICE = 12, 100
BACKLOG_MAX = 300  # the next slice is produced when no more than so many are open
KILLS = {3: ("gate-1",), 6: ("sender-1",), 9: ("gate-2", "sender-2")}
LIMIT = {"profile": "cloud", "rate_per_s": 50, "burst": 150}
SIMULATOR = ("--latency-ms", "20", "--rate", "50", "--burst", "150")


def uncommitted(world: World, role: str, topics: tuple[str, ...]) -> dict[str, list[Record]]:
    """Records that a group has not committed, by request id; the offsets are read first, so that none is missed."""
    ids: dict[str, list[Record]] = {}
    stored = {name: committed(world.kafka, world.group(role), world.topic(name)) for name in topics}
    for name in topics:
        for record in world.read(name):
            if record.offset >= stored[name].get(record.partition, 0):
                value = record.json()
                ids.setdefault(value.get("request", value)["request_id"], []).append(record)
    return ids


def forgotten(world: World, produced: list[Request]) -> list[str]:
    """Requests that would be lost if everything died now: unfinished, and no uncommitted record stands for them."""
    waiting_at_gate = uncommitted(world, "gate", (ENTRANCE,))
    waiting_at_sender = uncommitted(world, "sender", (*READY, *DELAYED))
    # The events are read last: what was committed before has its event there.
    judged = {event["request_id"] for event in world.events()}
    ended = {event["request_id"] for event in world.events() if event["type"] in TERMINAL}
    return [
        name
        for name in (request["request_id"] for request in produced)
        if (name not in judged and name not in waiting_at_gate)
        or (name in judged and name not in ended and name not in waiting_at_sender and name not in waiting_at_gate)
    ]


def test_kills_in_the_middle_of_a_campaign(kafka: str, tmp_path: Path) -> None:
    """Gates and senders killed and started again lose nothing, keep the order and send nothing twice."""
    requests = campaign(SLICES * SLICE, NUMBERS, PEOPLE, Ids())
    numbers = dict.fromkeys(NUMBERS, LIMIT)
    with World(kafka, tmp_path, numbers=numbers, webhooks=True, session_timeout_s=6, simulator=SIMULATOR) as world:
        for name in ("gate-1", "gate-2", "sender-1", "sender-2"):
            world.spawn(name.partition("-")[0], name)
        world.ready()
        world.grant(PEOPLE)
        world.api.control(reset=True)
        for index in range(SLICES):
            produced = requests[: (index + 1) * SLICE]
            world.until_taken(len(produced) - BACKLOG_MAX, timeout_s=90)
            world.produce(produced[-SLICE:])
            for name in KILLS.get(index, ()):
                world.kill(name)
            if index in KILLS:
                assert forgotten(world, produced) == []
            for name in KILLS.get(index, ()):
                world.spawn(name.partition("-")[0], name)
        world.until_terminal(requests, timeout_s=120)
        verdict = world.judge(requests)
        assert forgotten(world, requests) == []
    print(f"sent twice: {verdict.duplicates}")
    assert verdict.problems() == []
    assert verdict.types["accepted"] == len(requests)
