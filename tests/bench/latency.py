"""From Kafka to the API: W7 (one-time codes past a million bulk messages) and W9 (one message now and then)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import orjson
from confluent_kafka import Producer

from tests.bench import backlog
from tests.bench.measure import cpu_s, percentile
from tests.bench.progress import Progress
from tests.bench.reference import plain_loops
from tests.bench.rows import Row
from tests.support.campaign import EXPRESS, Ids, Request, campaign, people
from tests.support.world import NUMBER, ONE_V1, World

CODES = 300
CODE_EVERY_S = 0.15
IDLE_EVERY_S = 0.15
IDLE_S = 10.0
SETTLE_S = 4.0
WAIT_S = 300.0
LOOP_RATE_PER_S = 50


def w7(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """One-time codes by the express entrance past a bulk backlog at the entrance and another in ready-bulk."""
    crowd = people(300, start=8000)
    with World(kafka, folder, numbers=ONE_V1) as world:
        for role in ("gate", "sender"):
            world.spawn(role)
        world.ready(timeout_s=WAIT_S)
        world.grant([*crowd, *backlog.CROWD], WAIT_S)
        backlog.fill(world, "ready-bulk", backlog.admitted(NUMBER, "w", category="marketing"), count, partition=0)
        backlog.fill(world, "outbound-requests", backlog.requests(NUMBER, category="marketing"), count)
        codes = campaign(CODES, [NUMBER], crowd, Ids("code"), category="authentication")
        waits = time_to_post(world, "W7", codes, CODE_EVERY_S, EXPRESS)
        judged, sent = world.count("ready-bulk") - count, world.api.stats()["accepted"] - len(waits)
    yield {
        "what": "wapipe",
        **_of_waits(waits),
        "bulk at the entrance": count,
        "bulk in ready-bulk": count,
        "judged meanwhile": judged,
        "bulk sent until then": sent,
    }
    yield {
        "what": f"loop, reckoned: its one queue at {LOOP_RATE_PER_S}/s",
        "p50 ms": round(1000 * 2 * count / LOOP_RATE_PER_S),
    }


def w9(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Idle: one message now and then, on the pipeline and on the loop."""
    crowd = people(count)
    with World(kafka, folder, numbers=ONE_V1) as world:
        for role in ("gate", "sender"):
            world.spawn(role)
        world.ready(timeout_s=WAIT_S)
        world.grant(crowd, WAIT_S)
        time.sleep(SETTLE_S)
        pids = {role: world.processes.pid(role) for role in ("gate", "sender")}
        used = {role: cpu_s(pid) for role, pid in pids.items()}
        time.sleep(IDLE_S)
        idle = {role: (cpu_s(pid) - used[role]) * 100 / IDLE_S for role, pid in pids.items()}
        waits = time_to_post(world, "W9", campaign(count, [NUMBER], crowd, Ids()), IDLE_EVERY_S, "outbound-requests")
        for role in pids:
            world.kill(role, 15)
        own = {f"{role} idle, % CPU": round(share, 1) for role, share in idle.items()}
        yield {"what": "wapipe", **_of_waits(waits), **own}
        world.api.control(reset=True)
        with plain_loops(world, 1):
            world.until(lambda: world.api.stats()["accepted"] >= count, "the loop has caught up", WAIT_S)
            more = campaign(count, [NUMBER], crowd, Ids("loop"))
            plain = time_to_post(world, "W9, loop", more, IDLE_EVERY_S, "outbound-requests")
    yield {"what": "loop", **_of_waits(plain)}
    yield {
        "what": "wapipe / loop",
        "p50 ms": round(percentile(waits, 0.5) / percentile(plain, 0.5), 2),
        "p99 ms": round(percentile(waits, 0.99) / percentile(plain, 0.99), 2),
    }


def _of_waits(waits: list[float]) -> Row:
    return {
        "messages": len(waits),
        "p50 ms": round(percentile(waits, 0.5) * 1000, 1),
        "p99 ms": round(percentile(waits, 0.99) * 1000, 1),
        "worst ms": round(max(waits) * 1000, 1),
    }


def time_to_post(world: World, what: str, requests: list[Request], every_s: float, entrance: str) -> list[float]:
    """Seconds from handing each request to the producer until the simulator read it."""
    producer = Producer({"bootstrap.servers": world.kafka, "partitioner": "murmur2_random", "linger.ms": 0})
    producer.list_topics(world.topic(entrance), timeout=10)
    written: dict[str, int] = {}
    progress = Progress(what, len(requests))
    for request in requests:
        written[request["request_id"]] = time.monotonic_ns()
        producer.produce(world.topic(entrance), orjson.dumps(request), request["to"])
        producer.flush(10)
        progress.at(len(written))
        time.sleep(every_s)
    progress.end()
    posted: dict[str, int] = {}

    def all_are_there() -> bool:
        zero = int(world.api.stats()["started_monotonic_ns"])
        posted.update({row["text"]: zero + row["t_ns"] for row in world.api.messages()})
        return written.keys() <= posted.keys()

    world.until(all_are_there, "all of them are at the API", WAIT_S)
    return [(posted[name] - at) / 1e9 for name, at in written.items()]
