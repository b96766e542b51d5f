"""Webhooks on this machine's disk, in the order they came: files that are appended to, synced, read and removed.

A file is a sequence of records: length and CRC-32 of the rest (8 bytes), a line of JSON, the body as received. It is
removed once all of it is on Kafka; whoever is killed before that reads the whole file again (`event_id` tells repeats).
Blocking; touched by one thread at a time, which `spool.py` sees to.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple, Self

import orjson
import structlog

from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.ingress.access import Voice

SEGMENT_BYTES: Final = 16 * 1024 * 1024
SUFFIX: Final = ".webhooks"
DAMAGED: Final = ".damaged"
LOCK: Final = "lock"
FOLDER: Final = "ingress-spool"
_HEAD: Final = Struct(">II")

log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    """An authentic webhook that Kafka does not have.

    Attributes:
        received_ms: When it came, host date.
        number: Number id in its path, if any.
        voice: Whom it may speak for.
        raw: The body as received.
    """

    received_ms: int
    number: str | None
    voice: Voice
    raw: bytes


class Journal:
    """The files of one folder, which belongs to one process at a time.

    Args:
        folder: Made if it is missing.
        segment_bytes: A file that has grown beyond this is followed by a new one.

    Attributes:
        size_bytes: Of all files together.

    Raises:
        ConfigError: the folder cannot be written, or belongs to another process.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder, self._segment_bytes = folder, segment_bytes
        self._lock = _locked(folder)
        self._files = sorted(folder.glob(f"*{SUFFIX}"))
        self.size_bytes = sum(path.stat().st_size for path in self._files)
        self._next = 1 + max((int(path.stem) for path in self._files), default=0)
        self._fd: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        return not self._files

    def adopt(self, other: Journal) -> None:
        """Take over all files of a journal that no process writes any more; they come after ours."""
        for path in other._files:
            new = self._folder / f"{self._next:08d}{SUFFIX}"
            path.rename(new)
            self._next += 1
            self._files.append(new)
        self.size_bytes += other.size_bytes
        other._files.clear()
        self._seal()

    def append(self, entries: list[Entry]) -> None:
        """Write entries; they survive a crash of process and machine when this returns.

        Raises:
            OSError: the disk is full or broken; what was written of them is cut off again.
        """
        data = b"".join(map(_packed, entries))
        if self._fd is None:
            self._begin_file()
        assert self._fd is not None  # noqa: S101  `_begin_file` has opened it
        before = os.fstat(self._fd).st_size
        try:
            _write_all(self._fd, data)
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, before)
            raise
        self.size_bytes += len(data)
        if before + len(data) >= self._segment_bytes:
            self._seal()

    def oldest(self) -> Path | None:
        """The file to read next; nothing is appended to it from now on. None: there is none."""
        if not self._files:
            return None
        if len(self._files) == 1:
            self._seal()
        return self._files[0]

    def remove(self, path: Path) -> None:
        """Forget the oldest file: Kafka has all of it."""
        self._drop(path)
        path.unlink()

    def set_aside(self, path: Path) -> Path:
        """Keep a file that cannot be read to its end under another name, for a person; returns that name."""
        self._drop(path)
        kept = path.with_suffix(DAMAGED)
        path.rename(kept)
        return kept

    def close(self) -> None:
        """Give the folder free."""
        self._seal()
        os.close(self._lock)

    def __enter__(self) -> Self:
        """Open since it was made."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it."""
        self.close()

    def _drop(self, path: Path) -> None:
        self._files.remove(path)
        self.size_bytes -= path.stat().st_size

    def _begin_file(self) -> None:
        path = self._folder / f"{self._next:08d}{SUFFIX}"
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name survives, too
        finally:
            os.close(folder)
        self._next += 1
        self._files.append(path)

    def _seal(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def journal_of(settings: Settings, worker: int) -> Journal:
    """The journal of one worker; the first one takes over what workers left that there are no more.

    Raises:
        ConfigError: the folder cannot be written, or belongs to another process.
    """
    root = settings.storage.data_dir / FOLDER
    journal = Journal(root / str(worker))
    others = [int(path.name) for path in root.iterdir() if path.name.isdigit()] if worker == 0 else []
    for other in sorted(number for number in others if number >= settings.ingress.workers):
        with Journal(root / str(other)) as left:
            journal.adopt(left)
    return journal


class Damaged(Exception):
    """A file holds something else than records; what stood before was read."""


def read_entries(path: Path) -> Iterator[Entry]:
    """Read a file, entry by entry.

    A record that is cut short at the file's end was never acknowledged (its writer was killed) and is left out.

    Raises:
        Damaged: bytes that are no record.
    """
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            if len(head) < _HEAD.size:
                return
            length, checksum = _HEAD.unpack(head)
            content = file.read(length)
            if len(content) < length:
                return
            if zlib.crc32(content) != checksum:
                raise Damaged(f"{path.name}: a record fails its checksum")
            yield _unpacked(content)


def _packed(entry: Entry) -> bytes:
    voice = entry.voice
    head = orjson.dumps([entry.received_ms, entry.number, sorted(voice.numbers), sorted(voice.accounts), voice.others])
    content = head + b"\n" + entry.raw
    return _HEAD.pack(len(content), zlib.crc32(content)) + content


def _unpacked(content: bytes) -> Entry:
    head, _, raw = content.partition(b"\n")
    received_ms, number, numbers, accounts, others = orjson.loads(head)
    return Entry(received_ms, number, Voice(frozenset(numbers), frozenset(accounts), others), raw)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _locked(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as exc:
        raise ConfigError(
            f"storage.data_dir: {folder}: cannot be written ({exc.strerror}); ingress.spool needs a folder that stays"
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(lock)
        raise ConfigError(
            f"storage.data_dir: {folder}: belongs to another ingress that runs; give each its own storage.data_dir"
        ) from exc
    return lock
