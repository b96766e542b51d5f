"""Brokers in memory for a follower that runs in the test's own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

from confluent_kafka import KafkaError, TopicPartition

from pipeline.config import KafkaSettings
from pipeline.streams.follow import Follower

TOPIC = "consent-updates"
AWAY = KafkaError(KafkaError._TRANSPORT)
UNKNOWN_TOPIC = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
MARKER = "a control record of a transaction"
POLLS_MAX = 200


class Message:
    """A record, or an error, as a consumer returns it."""

    def __init__(self, partition: int, offset: int, time_ms: int, text: str, error: KafkaError | None = None) -> None:
        self.partition, self.place, self.time_ms, self.text, self._error = partition, offset, time_ms, text, error

    def error(self) -> KafkaError | None:
        """As confluent's."""
        return self._error


class Broker:
    """A topic in memory, and a clock that moves with each poll.

    Attributes:
        low: First offset of each partition that is still there.
        polled: Called before each poll with its number; ends the reading by `follower`'s stop.
        asked_for_times: Called when a time was looked up, before its answer is used.
        conf: Properties that consumers were made with.
        fetchable: How many records are fetched before each poll.
        polls_max: More of them mean that the reading does not end; without a bound where a thread of its own reads.
        pause_s: How long each poll takes in real time.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.logs: dict[int, list[Message]] = {partition: [] for partition in range(partitions)}
        self.low = dict.fromkeys(self.logs, 0)
        self.now_s = 1000.0
        self.polls = 0
        self.polled: dict[int, Callable[[], None]] = {}
        self.asked_for_times: Callable[[], None] = lambda: None
        self.ends_asked_s: list[float] = []
        self.conf: list[dict[str, Any]] = []
        self.closed = 0
        self.errors: list[Message] = []
        self.fetchable = 10
        self.lists = True
        self.polls_max = POLLS_MAX
        self.pause, self.pause_s = threading.Event(), 0.0

    def put(self, *texts: str, partition: int = 0, time_ms: int = 0) -> None:
        """Records reach the topic."""
        log = self.logs[partition]
        for text in texts:
            log.append(Message(partition, len(log), time_ms, text))

    def end(self, partition: int) -> int:
        """End of a log."""
        return len(self.logs[partition])


class FakeConsumer:
    """A consumer of the topic in memory."""

    def __init__(self, broker: Broker, conf: dict[str, Any]) -> None:
        self._broker, self._at = broker, dict[int, int]()
        self._given = set[int]()
        self._left = 0
        broker.conf.append(conf)

    def list_topics(self, topic: str, timeout: float) -> Any:
        """Metadata: partitions, or why there are none."""
        assert timeout > 0
        known = self._broker.lists
        metadata = type("TopicMetadata", (), {})()
        metadata.partitions = dict.fromkeys(self._broker.logs) if known else {}
        metadata.error = None if known else UNKNOWN_TOPIC
        return type("ClusterMetadata", (), {"topics": {topic: metadata}})()

    def get_watermark_offsets(self, tp: TopicPartition, timeout: float) -> tuple[int, int]:
        """First offset and end."""
        assert timeout > 0
        return self._broker.low[tp.partition], self._broker.end(tp.partition)

    def offsets_for_times(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The first record that is not older; -1: there is none. The offset of the question is a time."""
        assert timeout > 0
        assert all(tp.offset >= 0 for tp in wanted), "a negative offset has a meaning of its own"
        found = []
        for tp in wanted:
            since = (m.place for m in self._broker.logs[tp.partition] if m.time_ms >= tp.offset)
            found.append(TopicPartition(tp.topic, tp.partition, next(since, -1)))
        self._broker.asked_for_times()
        return found

    def assign(self, start: list[TopicPartition]) -> None:
        """Begin here."""
        self._at = {tp.partition: tp.offset for tp in start}

    def poll(self, timeout_s: float) -> Message | None:
        """The next record or error, or nothing after the time."""
        broker = self._broker
        broker.polls += 1
        assert broker.polls < broker.polls_max, "the reading does not end"
        broker.pause.wait(broker.pause_s)
        broker.polled.get(broker.polls, lambda: None)()
        self._left = broker.fetchable
        batch = self.consume(1, timeout_s)
        if not batch:
            broker.now_s += timeout_s
        return batch[0] if batch else None

    def consume(self, count: int, _timeout_s: float) -> list[Message]:
        """What is there, as much of it as was fetched before the last poll; control records are passed, not given."""
        broker, batch = self._broker, list[Message]()
        if broker.errors:
            return [broker.errors.pop(0)]
        for partition, log in broker.logs.items():
            if partition not in self._at:
                continue
            while len(batch) < count and self._left and self._at[partition] < len(log):
                message = log[self._at[partition]]
                self._at[partition] += 1
                self._left -= 1
                self._given.add(partition)
                if message.text is not MARKER:
                    batch.append(message)
        return batch

    def position(self, tps: list[TopicPartition]) -> list[TopicPartition]:
        """Where it is; -1001 before anything came."""
        return [
            TopicPartition(tp.topic, tp.partition, self._at[tp.partition] if tp.partition in self._given else -1001)
            for tp in tps
        ]

    def close(self) -> None:
        """The end of it."""
        self._broker.closed += 1


class FakeAdmin:
    """An admin client that knows the ends."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def poll(self, timeout_s: float) -> int:
        """Nothing to tell."""
        assert timeout_s == 0
        return 0

    def list_offsets(self, request: dict[TopicPartition, Any], request_timeout: float) -> dict[TopicPartition, Any]:
        """The ends, one future per partition."""
        assert request_timeout > 0
        self._broker.ends_asked_s.append(self._broker.now_s)
        return {tp: _Ended(self._broker.end(tp.partition)) for tp in request}


class _Ended:
    def __init__(self, offset: int) -> None:
        self.offset = offset

    def result(self) -> _Ended:
        """At once."""
        return self


class InlineLoop:
    """A loop that is always free: what it is handed happens at once; closed, it refuses as a real one does."""

    def __init__(self) -> None:
        self.closed = False

    def is_closed(self) -> bool:
        """As asyncio's."""
        return self.closed

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> None:
        """Now."""
        if self.closed:
            raise RuntimeError("Event loop is closed")
        callback(*args)


class Reading:
    """A follower over a broker in memory, run in the test's own thread.

    Attributes:
        heard: Texts per partition, in the order in which they were applied.
        fresh: Per application of a batch and per poll: whether the follower had caught up by then.
    """

    def __init__(self, broker: Broker, from_ms: int | None = None) -> None:
        self.broker = broker
        self.heard: dict[int, list[str]] = {partition: [] for partition in broker.logs}
        self.batches: list[int] = []
        self.caught_up_at_batch: list[bool] = []
        self.loop = InlineLoop()
        self.follower = Follower(
            KafkaSettings(), TOPIC, self._apply, cast("asyncio.AbstractEventLoop", self.loop), from_ms
        )

    def _apply(self, batch: list[Message]) -> None:
        self.batches.append(len(batch))
        self.caught_up_at_batch.append(self.follower.caught_up.is_set())
        for message in batch:
            self.heard[message.partition].append(message.text)

    def run(self, polls: int) -> None:
        """Read until that poll, as the thread does."""
        self.broker.polled[polls] = self.follower._stop.set
        self.follower._run()

    @property
    def texts(self) -> list[str]:
        """What was heard of partition 0."""
        return self.heard[0]

    def lag_s(self) -> float:
        """Age of what is known, now."""
        return self.follower.lag_s(self.broker.now_s)
