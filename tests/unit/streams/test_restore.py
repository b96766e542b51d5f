"""What a bulk restore leaves in a table's store, also when the process dies in the middle of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from faust.stores.rocksdb import RocksDBOptions
from rocksdict import Rdict

from pipeline.streams.restore import apply_to_stores, flush_stores, rocksdb_options
from tests.support.kafka_message import KafkaMessage

TP = ("consent", 3)


class Store:
    """A table's store with one partition."""

    offset_key = b"__faust\0offset__"

    def __init__(self, folder: Path) -> None:
        options = {name: value for name, value in rocksdb_options().items() if name != "driver"}
        self.db: Rdict = RocksDBOptions(**options).open(folder)

    def _db_for_partition(self, partition: int) -> Rdict:
        assert partition == TP[1]
        return self.db

    def holds(self, *keys: bytes) -> list[bytes | None]:
        """The values of keys, and the offset."""
        return [self.db.get(key) for key in (*keys, self.offset_key)]


def after_a_crash(folder: Path) -> Store:
    """The store as another process finds it whose predecessor died now."""
    copy = folder.with_name("after")
    shutil.copytree(folder, copy)
    (copy / "LOCK").unlink(missing_ok=True)
    return Store(copy)


def record(key: bytes, value: bytes | None, offset: int) -> KafkaMessage:
    """A record of the changelog."""
    return KafkaMessage(key, value, place=offset)


def test_the_newest_value_of_each_key_and_the_offset_are_kept(tmp_path: Path) -> None:
    """Later records win, tombstones delete, and the last offset is known."""
    store = Store(tmp_path / "db")
    apply = apply_to_stores({TP: store})
    apply(TP, [record(b"a", b"1", 0), record(b"b", b"1", 1), record(b"a", b"2", 2)])
    apply(TP, [record(b"b", None, 4)])
    assert store.holds(b"a", b"b") == [b"2", None, b"4"]


def test_a_crash_loses_records_only_together_with_their_offset(tmp_path: Path) -> None:
    """Before the flush a dead process leaves neither, so they are read again; after it, both."""
    store = Store(tmp_path / "db")
    apply_to_stores({TP: store})(TP, [record(b"a", b"1", 7)])
    assert after_a_crash(tmp_path / "db").holds(b"a") == [None, None]
    shutil.rmtree(tmp_path / "after")
    flush_stores({TP: store})
    assert after_a_crash(tmp_path / "db").holds(b"a") == [b"1", b"7"]
