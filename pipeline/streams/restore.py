"""Bulk restore of a RocksDB table whose changelog is a compacted topic: C consumer, write batches, then Faust's tail.

Faust's own recovery applies some ten thousand records a second, one task each; this reads a hundred thousand. It runs
inside the recovery task (heartbeats go on), in one thread. Data and offset go into one write batch, past RocksDB's own
log: a crash before the flush at the end loses both together, and they are read again. Use:
`HardenedApp(..., TableManager=BulkTableManager)`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import rocksdict
from confluent_kafka import Consumer, KafkaError, TopicPartition
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery

from pipeline.clock import steady_s
from pipeline.streams.client import reader_conf

BATCH_RECORDS = 2000
POLL_S = 0.2
WATERMARK_TIMEOUT_S = 10.0
BLOCK_CACHE_BYTES = 8 * 1024 * 1024
WRITE_BUFFER_BYTES = 4 * 1024 * 1024
WRITE_BUFFERS = 2
"""Three tables of twelve partitions are 36 databases: what each may hold counts 36 times."""
FETCH: dict[str, Any] = {
    "auto.offset.reset": "error",
    # What is fetched is compressed: in memory it is several times that. Per partition it must not be less than a batch.
    "fetch.max.bytes": 4 * 1024 * 1024,
    "queued.max.messages.kbytes": 16_384,
    # A full queue stops fetching for a second by default, in which this reader empties it many times.
    "fetch.queue.backoff.ms": 10,
}

Apply = Callable[[tuple[str, int], list[Any]], None]


def rocksdb_options() -> dict[str, Any]:
    """Options of a table's RocksDB: small, as one database is opened per partition."""
    return {
        "driver": "rocksdict",
        "block_cache_size": BLOCK_CACHE_BYTES,
        "write_buffer_size": WRITE_BUFFER_BYTES,
        "max_write_buffer_number": WRITE_BUFFERS,
    }


def read_partitions(
    conf: dict[str, Any], starts: dict[tuple[str, int], int], apply: Apply, cancelled: threading.Event
) -> tuple[dict[tuple[str, int], int], int]:
    """Apply everything from each start to the end of each partition's log, in batches, by one consumer. Blocks.

    Args:
        starts: First offset wanted, by (topic, partition).

    Returns:
        Last offset covered per partition (compaction may have removed the record itself), and the records applied.

    Raises:
        RuntimeError: Kafka reported an error for a partition.
        asyncio.CancelledError: `cancelled` was set.
    """
    consumer = Consumer(conf)
    records = 0
    covered: dict[tuple[str, int], int] = {}
    try:
        begins = {}
        for (topic, partition), start in starts.items():
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=WATERMARK_TIMEOUT_S)
            begins[(topic, partition)] = max(start, low)
        consumer.assign([TopicPartition(*tp, offset) for tp, offset in begins.items()])
        while len(covered) < len(starts):
            if cancelled.is_set():
                raise asyncio.CancelledError
            by_partition: dict[tuple[str, int], list[Any]] = {}
            ended: list[tuple[str, int]] = []
            for message in consumer.consume(BATCH_RECORDS, timeout=POLL_S):
                tp, error = (message.topic(), message.partition()), message.error()
                if error is None:
                    by_partition.setdefault(tp, []).append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.append(tp)
                else:
                    raise RuntimeError(f"{tp[0]}/{tp[1]}: {error}")
            for tp, messages in by_partition.items():
                apply(tp, messages)
                records += len(messages)
            for tp in ended:
                position = consumer.position([TopicPartition(*tp)])[0].offset
                covered[tp] = (position if position >= 0 else begins[tp]) - 1
        return covered, records
    finally:
        consumer.close()


def apply_to_stores(stores: dict[tuple[str, int], Any]) -> Apply:
    """Write batches of records into the tables' RocksDB stores, with the offset they reach in the same batch.

    Note:
        Nothing is durable before `flush_stores`. Faust's own writes come after that only: one of theirs that survived
        a crash with a higher offset, without these, would hide that they are missing.
    """
    past_the_log = rocksdict.WriteOptions()
    past_the_log.disable_wal = True

    def apply(tp: tuple[str, int], messages: list[Any]) -> None:
        store = stores[tp]
        batch = rocksdict.WriteBatch(raw_mode=True)
        for message in messages:
            value = message.value()
            if value is None:
                batch.delete(message.key())
            else:
                batch.put(message.key(), value)
        batch.put(store.offset_key, b"%d" % messages[-1].offset())
        store._db_for_partition(tp[1]).write(batch, past_the_log)

    return apply


def flush_stores(stores: dict[tuple[str, int], Any]) -> None:
    """Make durable what `apply_to_stores` wrote. Blocks."""
    for (_, partition), store in stores.items():
        store._db_for_partition(partition).flush(True)


def _read_in(
    conf: dict[str, Any],
    starts: dict[tuple[str, int], int],
    stores: dict[tuple[str, int], Any],
    cancelled: threading.Event,
) -> tuple[dict[tuple[str, int], int], int]:
    read = read_partitions(conf, starts, apply_to_stores(stores), cancelled)
    flush_stores(stores)  # also when nothing was read: a restore that was cancelled may have left something
    return read


class BulkRecovery(Recovery):
    """Reads in bulk before Faust looks at offsets; what is left to Faust is the tail."""

    async def _build_offsets(self, consumer: Any, tps: Any, destination: Any, title: str) -> None:
        if title == "active":
            covered = await self._restore(tps, destination)
        await super()._build_offsets(consumer, tps, destination, title)
        if title == "active":
            # The last records may be compacted away: do not wait for offsets that no record has. And a record may have
            # come after the ends were asked for: what was read is no more than the topic has.
            for tp in tps:
                if self.active_highwaters.get(tp) is not None:
                    known = min(self.active_highwaters[tp], destination[tp])
                    self.active_highwaters[tp] = max(known, covered.get((tp.topic, tp.partition), known))

    async def _restore(self, tps: Any, destination: Any) -> dict[tuple[str, int], int]:
        began, cancelled = steady_s(), threading.Event()
        conf = reader_conf(self.app.settings.kafka, **FETCH)
        seen = {tp: destination[tp] if destination[tp] is not None else -1 for tp in tps}
        starts = {(tp.topic, tp.partition): offset + 1 for tp, offset in seen.items()}
        stores = {(tp.topic, tp.partition): self.tp_to_table[tp].data for tp in tps}
        if not starts:
            return {}
        reading = asyncio.ensure_future(asyncio.to_thread(_read_in, conf, starts, stores, cancelled))
        try:
            covered, total = await asyncio.shield(reading)
        except BaseException:
            # Its last batch must not come after one of the next restore's.
            cancelled.set()
            await asyncio.wait([reading])
            raise
        for tp in tps:
            destination[tp] = max(seen[tp], covered[(tp.topic, tp.partition)])
        seconds = steady_s() - began
        self.app.on_restored(total, seconds)
        self.log.info("bulk restore: %d records, %d partitions, %.2f s", total, len(tps), seconds)
        return covered


class BulkTableManager(TableManager):
    """A table manager that recovers in bulk."""

    _recovery: Recovery | None

    @property
    def recovery(self) -> Recovery:
        """The recovery service, ours."""
        if self._recovery is None:
            self._recovery = BulkRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
