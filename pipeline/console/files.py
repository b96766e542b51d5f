"""The read model's file: one console at a time, made anew when it belongs to other topics or another version."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import structlog

from pipeline.config import Settings
from pipeline.console.schema import VERSION, open_writer
from pipeline.errors import ConfigError

log = structlog.get_logger(__name__)

NAME: Final = "read-model.sqlite"


@contextmanager
def open_file(settings: Settings, folder: Path, *, rebuild: bool = False) -> Iterator[Path]:
    """The path of a read model that fits these topics, held for the time of a `with` block.

    Args:
        rebuild: Whether to begin with an empty one whatever there is.

    Raises:
        ConfigError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise ConfigError(
                f"storage.data_dir: another console keeps its read model in {folder}; give each a folder of its own"
            ) from exc
        kafka = settings.kafka
        wanted = {"version": str(VERSION), "kafka": kafka.bootstrap_servers, "prefix": kafka.topic_prefix}
        if rebuild or not _fits(path, wanted):
            forget(path)
        with closing(open_writer(path)) as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", wanted.items())
        yield path


def forget(path: Path) -> None:
    """Delete a read model; all of it comes from Kafka again."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _fits(path: Path, wanted: dict[str, str]) -> bool:
    if not path.exists():
        return True
    try:
        with closing(sqlite3.connect(path)) as connection:
            found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    except sqlite3.DatabaseError:
        found = {}
    if found != wanted:
        log.warning("read_model_made_anew", path=str(path), found=found)
    return found == wanted
