"""Ends of waits: a deadline shared by several waits, and one that ends the process when a stop hangs."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading

from pipeline.clock import steady_s

EXIT_AFTER_S = 20.0
CRASH_EXIT_AFTER_S = 5.0
"""A crash acknowledges nothing more: its stop owes nobody anything, and partitions wait for a new owner."""


class Deadline:
    """One end shared by all waits of a procedure, so that their sum is bounded."""

    def __init__(self, seconds: float) -> None:
        self._end = steady_s() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._end - steady_s())

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.left_s == 0.0


class ExitDeadline:
    """Leaves the process from a thread of its own: a stop that hangs cannot be trusted to end it.

    Operator action: none; the stacks of all threads are on stderr, the supervisor starts the process anew.
    """

    def __init__(self, after_s: float = EXIT_AFTER_S) -> None:
        self._after_s = after_s
        self._timer: threading.Timer | None = None

    def arm(self, why: str, code: int, after_s: float | None = None) -> None:
        """Leave with `code` unless the process has ended by then. The first call counts.

        Args:
            after_s: When; None: as the constructor has it.
        """
        if self._timer is None:
            wait_s = self._after_s if after_s is None else after_s
            self._timer = threading.Timer(wait_s, self._leave, (why, code, wait_s))
            self._timer.daemon = True
            self._timer.start()

    def disarm(self) -> None:
        """The stop has ended in time."""
        if self._timer is not None:
            self._timer.cancel()

    def _leave(self, why: str, code: int, after_s: float) -> None:
        sys.stderr.write(f"{why}: not finished after {after_s:.0f} s, leaving\n")
        faulthandler.dump_traceback(all_threads=True)
        os._exit(code)
