"""Locks between processes, as files. The kernel lets go of one when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

POLL_S = 0.1


class FileLock:
    """One holder at a time, among all processes of this host. Not reentrant.

    Attributes:
        path: The lock file; made when missing, never removed, since a removed one could be locked twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, timeout_s: float) -> bool:
        """Wait for the lock.

        Args:
            timeout_s: Longest wait; 0 asks once.

        Returns:
            Whether the lock is ours.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        give_up_at = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    os.close(descriptor)
                    return False
                time.sleep(POLL_S)
            else:
                self._descriptor = descriptor
                return True

    def release(self) -> None:
        """Let the next one in; nothing happens if the lock is not ours."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
