"""W8: people who opt out in the middle of a campaign, and what goes to them after Kafka has acked that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson
from confluent_kafka import Producer

from pipeline.clock import rfc3339, unix_ms
from tests.bench.conform import SETTLE_S, done, spawn_workers
from tests.bench.progress import reach
from tests.bench.rows import Row
from tests.support.campaign import Ids, campaign, grant, people
from tests.support.world import NUMBER, ONE_V1, World

PEOPLE = 400
WAVES: Final = (0.2, 0.4, 0.6)
"""At which parts of the campaign some opt out."""
OF_A_WAVE = 40
LATE_S: Final = (0.0, 0.1, 1.0)
WAIT_S = 600.0


def w8(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Opt-outs in the middle of a campaign: POSTs later than t after Kafka had acked the opt-out."""
    crowd = people(PEOPLE)
    requests = campaign(count, [NUMBER], crowd, Ids())
    acked: dict[str, int] = {}
    with World(kafka, folder, numbers=ONE_V1) as world:
        spawn_workers(world, 2)
        world.grant(crowd, WAIT_S)
        time.sleep(SETTLE_S)
        world.produce(requests)
        for number, part in enumerate(WAVES):
            reach(world, f"wave {number + 1}", lambda: done(world), count * part, WAIT_S)
            acked |= _opt_out(world, crowd[number * OF_A_WAVE : (number + 1) * OF_A_WAVE])
        world.until_terminal(requests, timeout_s=WAIT_S)
        rows = world.api.messages()
        zero = int(world.api.stats()["started_monotonic_ns"])
    late_s = [(zero + row["t_ns"] - acked[row["to"]]) / 1e9 for row in rows if row["to"] in acked]
    asked = sum(request["to"] in acked for request in requests)
    yield {
        "what": "wapipe",
        "messages": count,
        "opt-outs": len(acked),
        "messages to those people": asked,
        "sent to them": len(late_s),
        **{f"later than {bound_s:g} s": sum(late > bound_s for late in late_s) for bound_s in LATE_S},
        "latest, s": round(max(0.0, *late_s), 3),
    }
    yield {
        "what": "loop, reckoned: it knows no consent",
        "messages": count,
        "opt-outs": len(acked),
        "messages to those people": asked,
        "sent to them": asked,
    }


def _opt_out(world: World, some: list[str]) -> dict[str, int]:
    """Each by itself; when Kafka had acked it, ns on the steady clock."""
    conf = {"bootstrap.servers": world.kafka, "partitioner": "murmur2_random", "linger.ms": 0, "log_level": 0}
    producer, acked = Producer(conf), dict[str, int]()
    for to in some:
        update = grant(to, f"stop-{to}", ["*"], action="revoke", at=rfc3339(unix_ms()))
        producer.produce(world.topic("consent-updates"), orjson.dumps(update), to)
        assert producer.flush(WAIT_S) == 0
        acked[to] = time.monotonic_ns()
    return acked
