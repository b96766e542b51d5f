"""The load of a run, and the watch on opt-outs: two threads of the harness with clients of their own.

`Load` writes requests steadily, in order, idempotently, and keeps what it wrote. `OptOutWatch` notes when a revoke can
be read, that is when Kafka has acked it: the moment that "not later than 1 s after the opt-out" counts from.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from time import monotonic, monotonic_ns
from typing import Any, Final, Self

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.support.campaign import ENTRANCE, EXPRESS, Ids, Request, grant, people, request

PEOPLE: Final = 300
TICK_S: Final = 0.02
FLUSH_TIMEOUT_S: Final = 120.0
# All brokers may be away for a minute: the load outlives that.
MESSAGE_TIMEOUT_MS: Final = 300_000
READ_TIMEOUT_S: Final = 60.0
COUNT_EVERY_S: Final = 0.3
SHARES: Final = (("utility", 0.65), ("marketing", 0.25), ("authentication", 0.10))
EXPRESS_SHARE: Final = 0.5
"""Of the codes (`authentication`), so many take the express entrance."""
GRANTS_PER_S: Final = 5.0
GRANT_AGE_S, GRANT_STEPS = 30, 25
"""People grant again and again, each time a second newer than before, but always before any opt-out of the run."""


@dataclass(slots=True)
class Written:
    """What was asked of the pipeline.

    Attributes:
        requests: Each with its entrance, in the order in which they were written.
        failed: Errors of the producer; there should be none.
    """

    requests: list[tuple[Request, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Load:
    """Writes requests in a thread. A context manager: leaving it stops writing and waits for the acks.

    Args:
        bootstrap: The brokers, without links between.
        prefix: Of the topics.
        rates: Requests per second by number.
        backlog: Requests by number that are written at once at the beginning.
        recipients: Who they go to.
        refresh_ms: How often it looks for partitions that were added.
    """

    def __init__(
        self, bootstrap: str, prefix: str, rates: dict[str, float], backlog: dict[str, int], recipients: list[str],
        seed: int, refresh_ms: int,
    ) -> None:  # fmt: skip
        self.written = Written()
        self.recipients = recipients
        self._prefix, self._rates, self._backlog = prefix, rates, backlog
        self._began_at = datetime.now(UTC)
        self._rng, self._ids = Random(f"{seed}/load"), Ids()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "enable.idempotence": True,
                "linger.ms": 5, "log_level": 0, "message.timeout.ms": MESSAGE_TIMEOUT_MS,
                "topic.metadata.refresh.interval.ms": refresh_ms,
            }
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Write no more, and wait until Kafka has what was written.

        Raises:
            AssertionError: it does not have all of it.
        """
        self._stop.set()
        self._thread.join(FLUSH_TIMEOUT_S)
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        assert left == 0, f"{left} requests of the load are not on Kafka"
        assert not self.written.failed, f"requests of the load failed: {self.written.failed[:3]}"

    def _run(self) -> None:
        for number, count in self._backlog.items():
            for _ in range(count):
                self._write(number)
        began_s, made, grants = monotonic(), dict.fromkeys(self._rates, 0), 0
        while not self._stop.wait(TICK_S):
            elapsed_s = monotonic() - began_s
            for number, rate_per_s in self._rates.items():
                while made[number] < rate_per_s * elapsed_s:
                    made[number] += 1
                    self._write(number)
            while grants < GRANTS_PER_S * elapsed_s:
                grants += 1
                self._grant_again(grants)
            self._producer.poll(0)

    def _write(self, number: str) -> None:
        kinds, weights = [kind for kind, _ in SHARES], [share for _, share in SHARES]
        category = self._rng.choices(kinds, weights)[0]
        made = request(next(self._ids), number, self._rng.choice(self.recipients), category=category)
        is_code = category == "authentication" and self._rng.random() < EXPRESS_SHARE
        self.put(made, EXPRESS if is_code else ENTRANCE)

    def _grant_again(self, count: int) -> None:
        """A consent that is merged while its gate may be frozen: it must not come back over a later opt-out."""
        step, index = divmod(count, len(self.recipients))
        if step < GRANT_STEPS:
            at = self._began_at - timedelta(seconds=GRANT_AGE_S - step)
            update = grant(self.recipients[index], f"again-{count}", at=at.isoformat())
            self._send("consent-updates", update["recipient"], update)

    def put(self, made: Request, entrance: str = ENTRANCE) -> None:
        """Write one request. From the load's thread, or after `stop`."""
        self._send(entrance, made["to"], made)
        self.written.requests.append((made, entrance))

    def _send(self, topic: str, key: str, value: dict[str, Any]) -> None:
        while True:
            try:
                self._producer.produce(
                    self._prefix + topic, orjson.dumps(value), key.encode(), on_delivery=self._delivered
                )
            except BufferError:
                self._producer.poll(TICK_S)
            else:
                return

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self.written.failed.append(str(error))


class OptOutWatch:
    """Notes when revokes can be read on `consent-updates`. A context manager around a thread.

    Attributes:
        acked_ns: By person: when the first one could be read, monotonic clock.
        categories: By person: what that one takes back.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        # The group's name is a formality: nothing is committed, so no group comes to be.
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": "opt-out-watch", "enable.auto.commit": False,
                "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20, "log_level": 0,
            }
        )  # fmt: skip
        self._topic = topic
        self._partitions: set[int] = set()
        self.acked_ns: dict[str, int] = {}
        self.categories: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="opt-out-watch", daemon=True)

    def __enter__(self) -> Self:
        self._count()
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(READ_TIMEOUT_S)
        self._consumer.close()

    def _count(self) -> None:
        """Watch partitions, too, that were added meanwhile."""
        found = self._consumer.list_topics(self._topic, timeout=READ_TIMEOUT_S).topics[self._topic].partitions
        added = found.keys() - self._partitions
        self._partitions |= added
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, 0) for partition in added])

    def _count_again(self) -> None:
        with suppress(KafkaException):  # the brokers may be away: the next look finds what was added
            self._count()

    def _run(self) -> None:
        counted_s = monotonic()
        while not self._stop.is_set():
            if monotonic() - counted_s > COUNT_EVERY_S:
                counted_s = monotonic()
                self._count_again()
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            update: dict[str, Any] = orjson.loads(message.value())
            if update["action"] == "revoke" and update["recipient"] not in self.acked_ns:
                self.categories[update["recipient"]] = update["categories"]
                self.acked_ns[update["recipient"]] = monotonic_ns()


def everybody() -> list[str]:
    """All recipients of a run."""
    return people(PEOPLE)
