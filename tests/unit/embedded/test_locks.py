"""Locks between processes."""

from __future__ import annotations

from pathlib import Path

from pipeline.embedded.locks import FileLock


def test_second_holder_waits_in_vain_until_release(tmp_path: Path) -> None:
    """A lock has one holder; after its release the next one gets it."""
    first, second = FileLock(tmp_path / "sub" / "lock"), FileLock(tmp_path / "sub" / "lock")
    assert first.acquire(0)
    assert not second.acquire(0)
    first.release()
    assert second.acquire(0)
    second.release()


def test_release_without_lock_changes_nothing(tmp_path: Path) -> None:
    """Who does not hold the lock cannot take it from its holder."""
    holder, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert holder.acquire(0)
    other.release()
    assert not other.acquire(0)
    holder.release()
