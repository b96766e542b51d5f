"""Requests that keep coming while something is done to the pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final, Self

import orjson
from confluent_kafka import Producer

from tests.support.campaign import ENTRANCE, Ids, Request, request
from tests.support.world import NUMBER, World

STEP_S: Final = 0.02
JOIN_S: Final = 120.0


class Traffic:
    """Requests to everybody in turn, written in order by a thread. A context manager: leaving it, all are on Kafka.

    Args:
        people: To whom, in turn.
        rate_per_s: How many.
        ids: What their ids begin with.
        properties: Of its producer, beside ours.

    Attributes:
        requests: What was written, in order.
    """

    def __init__(self, world: World, people: Sequence[str], rate_per_s: float, ids: str, **properties: Any) -> None:
        self.requests: list[Request] = []
        self._people, self._rate_per_s = people, rate_per_s
        self._topic, self._ids, self._stop = world.topic(ENTRANCE), Ids(ids), threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": world.kafka, "partitioner": "murmur2_random", "enable.idempotence": True,
                "linger.ms": 5, "log_level": 0, **properties,
            }
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)
        assert self._producer.flush(JOIN_S) == 0

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stop.wait(STEP_S):
            while len(self.requests) < self._rate_per_s * (time.monotonic() - began_s):
                to = self._people[len(self.requests) % len(self._people)]
                made = request(next(self._ids), NUMBER, to)
                self._producer.produce(self._topic, orjson.dumps(made), made["to"])
                self.requests.append(made)
            self._producer.poll(0)
