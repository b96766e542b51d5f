"""Bounded reading of topics: up to the end seen at the start, or on from there until a deadline.

librdkafka consumers that get their partitions by hand and never commit; everything blocks the thread that asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable, DecodeError, TopicsWrong
from pipeline.records.codec import Headers, decode_object
from pipeline.streams.client import reader_conf
from pipeline.streams.layout import read_layout
from pipeline.streams.partition import partition_of
from pipeline.streams.reach import Reach, denial
from pipeline.streams.topics import admin

CONNECT_TIMEOUT_S = 7.0
STALL_TIMEOUT_S = 15.0
POLL_S = 0.5
LEADER_PAUSE_S = 0.1
BATCH_RECORDS = 2_000
# A topic just made or moved has no leader for a moment; the admin client does not wait for it.
_LEADER_COMES = frozenset({
    KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART,
})  # fmt: skip

Advance = Callable[[int, int], None]
"""Called with records read and records there are in all."""


class Row(NamedTuple):
    """A record of a topic.

    Attributes:
        topic: Its name without the prefix.
        timestamp_ms: The broker's time.
        headers: Empty unless they were asked for.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def decoded(row: Row) -> dict[str, Any] | None:
    """The JSON object of a record, or None if it holds none."""
    try:
        return decode_object(row.value)
    except DecodeError:
        return None


def unreachable(settings: Settings, error: KafkaException) -> BrokerUnreachable:
    """The error that tells where the broker was looked for, or what it does not allow, and what to do."""
    if (denied := denial(settings.kafka.bootstrap_servers, error)) is not None:
        return denied
    reason = error.args[0]
    detail = reason.name() if isinstance(reason, KafkaError) else str(reason)
    return BrokerUnreachable(
        f"{settings.kafka.bootstrap_servers}: no answer from Kafka ({detail});"
        " check kafka.bootstrap_servers, or start a broker with `wapipe broker`"
    )


class Reader:
    """Reads topics from a broker that it has reached. Make it with `open_reader`."""

    def __init__(self, settings: Settings, consumer: Any) -> None:
        self._settings = settings
        self._consumer = consumer
        self._admin = admin(settings)
        self._earlier: tuple[int, ...] | None = None
        self._read_to: dict[str, dict[int, int]] = {}
        self._followed: dict[str, str] = {}

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        Raises:
            TopicsWrong: there is no such topic.
            BrokerUnreachable: no broker answered in time.
        """
        full = self._settings.topic(topic)
        try:
            found = self._consumer.list_topics(full, timeout=CONNECT_TIMEOUT_S).topics[full]
        except KafkaException as exc:
            raise unreachable(self._settings, exc) from exc
        if found.error is not None:
            raise TopicsWrong(f"{full}: {found.error.str()}; remedy: wapipe topics apply")
        return len(found.partitions)

    def homes(self, topic: str, ids: Iterable[str]) -> set[int]:
        """Partitions that hold what is keyed by these ids, also from when there were fewer of them.

        Raises:
            TopicsWrong: there is no such topic.
            BrokerUnreachable: no broker answered in time.
        """
        if self._earlier is None:
            layout = read_layout(self._settings, CONNECT_TIMEOUT_S)
            self._earlier = layout.counts if layout is not None else ()
        count = self.partitions(topic)
        counts = {count, *(one for one in self._earlier if one <= count)}
        return {partition_of(one, number) for one in ids for number in counts}

    def newest(self, topic: str, ids: Collection[str] | None = None, advance: Advance | None = None) -> dict[str, Row]:
        """The newest record by key of a compacted recipient topic; none for keys that ended.

        What was moved to other partitions left a tombstone behind, and perhaps older records: the one where the key is
        at home now counts, and another only if there is none.

        Args:
            ids: Only these keys; None: all.

        Raises:
            As `to_end`.
        """
        count, at_home, elsewhere = self.partitions(topic), dict[str, Row](), dict[str, Row]()
        partitions = None if ids is None else self.homes(topic, ids)
        for row in self.to_end(topic, partitions=partitions, advance=advance):
            key = (row.key or b"").decode(errors="replace")
            if ids is None or key in ids:
                (at_home if partition_of(key, count) == row.partition else elsewhere)[key] = row
        return {key: row for key, row in (elsewhere | at_home).items() if row.value is not None}

    def to_end(
        self,
        topic: str,
        *,
        partitions: Collection[int] | None = None,
        since_ms: int | None = None,
        with_headers: bool = False,
        advance: Advance | None = None,
    ) -> Iterator[Row]:
        """Yield every record of a topic up to the end it has now; in order within a partition.

        Args:
            partitions: Only these; None: all.
            since_ms: Only records from this broker time on; None: from the start.
            with_headers: Whether rows carry their headers.
            advance: Told how far it is, after every batch.

        Raises:
            TopicsWrong: there is no such topic.
            BrokerUnreachable: no broker answered, or nothing came for 15 s.
        """
        numbers = range(self.partitions(topic)) if partitions is None else sorted(partitions)
        begin = OffsetSpec.earliest() if since_ms is None else OffsetSpec.for_timestamp(since_ms)
        ends = self._offsets(topic, numbers, OffsetSpec.latest())
        # A time after the last record has no offset (-1): such a partition holds nothing to read.
        starts = {p: at if at >= 0 else ends[p] for p, at in self._offsets(topic, numbers, begin).items()}
        left = {p: end for p, end in ends.items() if starts[p] < end}
        self._read_to[topic] = ends
        total = sum(end - starts[p] for p, end in left.items())
        read = 0
        self._assign(topic, {p: starts[p] for p in left})
        try:
            while left:
                for message in self._batch():
                    partition, offset = message.partition(), message.offset()
                    end = left.get(partition, 0)
                    if message.error() is None and offset < end:
                        read += 1
                        yield _row(topic, message, with_headers=with_headers)
                    # Compaction and transaction markers leave gaps: the last offset may be missing, the end never is.
                    if message.error() is not None or offset >= end - 1:
                        left.pop(partition, None)
                if advance is not None:
                    advance(read, total)
        finally:
            self._consumer.unassign()

    def at(self, topic: str, partition: int, offset: int) -> Row | None:
        """One record, with its headers; None: it is not there, or not any more.

        Raises:
            TopicsWrong: there is no such topic.
            BrokerUnreachable: no broker answered, or nothing came for 15 s.
        """
        if not 0 <= partition < self.partitions(topic):
            return None
        low = self._offsets(topic, [partition], OffsetSpec.earliest())[partition]
        if not low <= offset < self._offsets(topic, [partition], OffsetSpec.latest())[partition]:
            return None
        self._assign(topic, {partition: offset})
        try:
            first = self._batch()[0]
            return _row(topic, first, with_headers=True) if first.error() is None and first.offset() == offset else None
        finally:
            self._consumer.unassign()

    def records(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """About how many records partitions hold: compaction leaves gaps.

        Raises:
            BrokerUnreachable: no broker answered in time.
        """
        ends = self._offsets(topic, partitions, OffsetSpec.latest())
        return {p: ends[p] - at for p, at in self._offsets(topic, partitions, OffsetSpec.earliest()).items()}

    def follow_from_end(self, topic: str) -> None:
        """Take the present end of every partition as the place where `following` starts.

        Raises:
            TopicsWrong: there is no such topic.
            BrokerUnreachable: no broker answered in time.
        """
        self._read_to[topic] = self._offsets(topic, range(self.partitions(topic)), OffsetSpec.latest())
        self.follow_on([topic])

    def follow_on(self, topics: Collection[str]) -> None:
        """Let `following` start where `to_end` of each topic ended: nothing is left out, nothing comes twice."""
        self._followed = {self._settings.topic(topic): topic for topic in topics}
        ends = ((full, self._read_to[topic]) for full, topic in self._followed.items())
        self._consumer.assign([TopicPartition(full, *place) for full, found in ends for place in found.items()])

    def following(self, until_s: float) -> Iterator[Row]:
        """Yield what is written after `follow_from_end` or `follow_on`, as it comes; may be called again to go on.

        Args:
            until_s: Reading of `steady_s` at which it ends.
        """
        while (left_s := until_s - steady_s()) > 0:
            message = self._consumer.poll(min(left_s, POLL_S))
            if message is not None and not _is_error(message):
                yield _row(self._followed[message.topic()], message)

    def _assign(self, topic: str, offsets: dict[int, int]) -> None:
        full = self._settings.topic(topic)
        self._consumer.assign([TopicPartition(full, partition, offset) for partition, offset in offsets.items()])

    def _offsets(self, topic: str, partitions: Collection[int], spec: Any) -> dict[int, int]:
        full = self._settings.topic(topic)
        asked = {TopicPartition(full, partition): spec for partition in partitions}
        give_up_s = steady_s() + CONNECT_TIMEOUT_S
        while True:
            try:
                answers = self._admin.list_offsets(
                    asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=CONNECT_TIMEOUT_S
                )
                return {place.partition: future.result().offset for place, future in answers.items()}
            except KafkaException as exc:
                if exc.args[0].code() not in _LEADER_COMES or steady_s() >= give_up_s:
                    raise unreachable(self._settings, exc) from exc
            time.sleep(LEADER_PAUSE_S)

    def _batch(self) -> list[Any]:
        give_up_s = steady_s() + STALL_TIMEOUT_S
        while steady_s() < give_up_s:
            first = self._consumer.poll(POLL_S)
            # `consume` waits for a full batch; with no time to wait it takes what is there.
            rest = self._consumer.consume(BATCH_RECORDS, timeout=0) if first is not None else []
            messages = [m for m in (first, *rest) if m is not None and (not _is_error(m) or _is_end(m.error()))]
            if messages:
                return messages
        raise unreachable(self._settings, KafkaException(f"nothing came for {STALL_TIMEOUT_S:.0f} s"))


def _is_error(message: Any) -> bool:
    """Whether this is no record: the end of a partition, or an error that librdkafka mends by itself.

    Raises:
        KafkaException: an error that stays, e.g. no right to read the topic.
    """
    error = message.error()
    if error is None:
        return False
    if error.code() != KafkaError._PARTITION_EOF and not error.retriable():
        raise KafkaException(error)
    return True


def _is_end(error: Any) -> bool:
    return bool(error.code() == KafkaError._PARTITION_EOF)


def _row(topic: str, message: Any, *, with_headers: bool = False) -> Row:
    headers = [(name, value or b"") for name, value in message.headers() or ()] if with_headers else ()
    place = (topic, message.partition(), message.offset(), message.timestamp()[1])
    return Row(*place, message.key(), message.value(), headers)


@contextmanager
def open_reader(settings: Settings) -> Iterator[Reader]:
    """A reader for the time of a `with` block.

    Raises:
        BrokerUnreachable: no broker answered in time, one refused us, or an error of Kafka ended the block.
    """
    reach = Reach(reader_conf(settings.kafka))
    consumer = reach.make(Consumer)
    try:
        reach.metadata(consumer, CONNECT_TIMEOUT_S)
        yield Reader(settings, consumer)
    except KafkaException as exc:
        raise unreachable(settings, exc) from exc
    finally:
        consumer.close()
