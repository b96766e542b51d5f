"""Ctrl-C and SIGTERM for commands that own child processes: the first one ends the command in order. Main thread."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """The user asked for the end, by Ctrl-C or SIGTERM. A KeyboardInterrupt, so that no loop keeps it to itself."""


class StopSignals:
    """Handler of SIGINT and SIGTERM: the first one raises `Stopped` in the main thread, others change nothing.

    Attributes:
        is_ending: Set when the end has begun; nothing is raised from then on.
    """

    def __init__(self) -> None:
        self.is_ending = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if not self.is_ending:
            self.is_ending = True
            raise Stopped


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Let the first SIGINT or SIGTERM of a block raise `Stopped`."""
    handler = StopSignals()
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)
