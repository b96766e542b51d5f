"""Bulk restore of a RocksDB table whose changelog is a compacted topic: C consumer, write batches, then Faust's tail.

Faust's own recovery applies some ten thousand records a second, one task each; this reads a hundred thousand. It runs
inside the recovery task (heartbeats go on), in a thread per partition in turn; data and offset go into one write
batch, so a crash in between is harmless. Use: `HardenedApp(..., TableManager=BulkTableManager)`.
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

BATCH_RECORDS = 5000
POLL_S = 0.2
WATERMARK_TIMEOUT_S = 10.0
BLOCK_CACHE_BYTES = 32 * 1024 * 1024
WRITE_BUFFER_BYTES = 8 * 1024 * 1024

Apply = Callable[[int, list[Any]], None]


def rocksdb_options() -> dict[str, Any]:
    """Options of a table's RocksDB: small, as one database is opened per partition."""
    return {"driver": "rocksdict", "block_cache_size": BLOCK_CACHE_BYTES, "write_buffer_size": WRITE_BUFFER_BYTES}


def read_partition(
    conf: dict[str, Any], topic: str, partition: int, start: int, apply: Apply, cancelled: threading.Event
) -> tuple[int, int]:
    """Apply everything from `start` to the end of a partition's log, in batches. Blocks.

    Returns:
        Last offset covered (compaction may have removed the record itself) and the number of records applied.

    Raises:
        RuntimeError: Kafka reported an error for the partition.
        asyncio.CancelledError: `cancelled` was set.
    """
    consumer = Consumer(conf)
    records = 0
    try:
        low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=WATERMARK_TIMEOUT_S)
        consumer.assign([TopicPartition(topic, partition, max(start, low))])
        while not cancelled.is_set():
            batch = consumer.consume(BATCH_RECORDS, timeout=POLL_S)
            at_end = False
            if batch and batch[-1].error() is not None:
                error = batch.pop().error()
                if error.code() != KafkaError._PARTITION_EOF:
                    raise RuntimeError(f"{topic}/{partition}: {error}")
                at_end = True
            if batch:
                apply(partition, batch)
                records += len(batch)
            if at_end:
                position = consumer.position([TopicPartition(topic, partition)])[0].offset
                return (position if position >= 0 else max(start, low)) - 1, records
        raise asyncio.CancelledError
    finally:
        consumer.close()


def apply_to_rocksdb(store: Any) -> Apply:
    """Write batches of records into a table's RocksDB, with the offset they reach."""

    def apply(partition: int, messages: list[Any]) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for message in messages:
            value = message.value()
            if value is None:
                batch.delete(message.key())
            else:
                batch.put(message.key(), value)
        batch.put(store.offset_key, b"%d" % messages[-1].offset())
        store._db_for_partition(partition).write(batch)

    return apply


class BulkRecovery(Recovery):
    """Reads in bulk before Faust looks at offsets; what is left to Faust is the tail."""

    async def _build_offsets(self, consumer: Any, tps: Any, destination: Any, title: str) -> None:
        if title == "active":
            await self._restore(tps, destination)
        await super()._build_offsets(consumer, tps, destination, title)
        if title == "active":
            # the last records may be compacted away: do not wait for offsets that no record has
            for tp in tps:
                if self.active_highwaters.get(tp) is not None:
                    self.active_highwaters[tp] = min(self.active_highwaters[tp], destination[tp])

    async def _restore(self, tps: Any, destination: Any) -> None:
        began, total, cancelled = steady_s(), 0, threading.Event()
        conf = reader_conf(self.app.settings.kafka, **{"auto.offset.reset": "error"})
        try:
            for tp in sorted(tps):
                store = self.tp_to_table[tp].data
                seen = destination[tp] if destination[tp] is not None else -1
                last, records = await asyncio.to_thread(
                    read_partition, conf, tp.topic, tp.partition, seen + 1, apply_to_rocksdb(store), cancelled
                )
                destination[tp] = max(seen, last)
                total += records
        except BaseException:
            cancelled.set()
            raise
        seconds = steady_s() - began
        self.app.on_restored(total, seconds)
        self.log.info("bulk restore: %d records, %d partitions, %.2f s", total, len(tps), seconds)


class BulkTableManager(TableManager):
    """A table manager that recovers in bulk."""

    _recovery: Recovery | None

    @property
    def recovery(self) -> Recovery:
        """The recovery service, ours."""
        if self._recovery is None:
            self._recovery = BulkRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
