"""How far a benchmark is, on stderr: what it does, how much of it is done, and how long the rest takes at that pace."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

from tests.support.stage import Stage

TERMINAL_EVERY_S: Final = 1.0
FILE_EVERY_S: Final = 15.0


def left_s(done: float, total: float, taken_s: float) -> float | None:
    """Seconds that the rest takes at the pace so far; None: there is no pace yet."""
    return None if done <= 0 else max(0.0, (total - done) * taken_s / done)


def told(what: str, done: float, total: float, taken_s: float) -> str:
    """A line of progress."""
    rest_s = left_s(done, total, taken_s)
    rest = "" if rest_s is None else f", {rest_s:.0f} s left"
    return f"{what}: {done:,.0f} of {total:,.0f} after {taken_s:.0f} s{rest}"


class Progress:
    """Tells now and then how far something is: on a terminal in place, into a file seldom and line by line."""

    def __init__(self, what: str, total: float, out: TextIO | None = None) -> None:
        self._what, self._total, self._out = what, total, out or sys.stderr
        self._began_s = time.monotonic()
        self._is_terminal = self._out.isatty()
        self._next_s = self._began_s + (0.0 if self._is_terminal else FILE_EVERY_S)

    def at(self, done: float) -> None:
        """So much is done."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + (TERMINAL_EVERY_S if self._is_terminal else FILE_EVERY_S)
            self._write(told(self._what, done, self._total, now_s - self._began_s), in_place=self._is_terminal)

    def end(self) -> None:
        """It is done: leave no line half overwritten."""
        taken_s = time.monotonic() - self._began_s
        self._write(f"{self._what}: done in {taken_s:.0f} s", in_place=False)

    def _write(self, text: str, *, in_place: bool) -> None:
        before = "\r\x1b[K" if self._is_terminal else ""
        self._out.write(f"{before}{text}{'' if in_place else chr(10)}")
        self._out.flush()


def reach(stage: Stage, what: str, count: Callable[[], float], goal: float, timeout_s: float) -> float:
    """Wait until a count has come to its goal, and tell how far it is.

    Returns:
        Seconds that it took.

    Raises:
        AssertionError: not within `timeout_s`, or a process ended that nobody ended.
    """
    progress, began_s = Progress(what, goal), time.monotonic()

    def is_there() -> bool:
        done = count()
        progress.at(done)
        return done >= goal

    stage.until(is_there, f"{what} comes to {goal:,.0f}", timeout_s)
    progress.end()
    return time.monotonic() - began_s
