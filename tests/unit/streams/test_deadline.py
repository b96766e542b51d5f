"""Ends of waits."""

from __future__ import annotations

import threading

from pipeline.streams.deadline import Deadline, ExitDeadline


def test_a_deadline_is_shared_by_its_waits() -> None:
    """What one wait used is gone for the next; it is never below nothing."""
    assert Deadline(-1.0).passed
    assert Deadline(-1.0).left_s == 0.0
    far = Deadline(1000.0)
    assert not far.passed
    assert 0.0 < far.left_s <= 1000.0


class Recorded(ExitDeadline):
    """Notes the exit instead of leaving."""

    def __init__(self, after_s: float) -> None:
        super().__init__(after_s)
        self.left = threading.Event()
        self.with_what: tuple[str, int] | None = None

    def _leave(self, why: str, code: int, after_s: float) -> None:
        self.with_what = (why, code)
        self.left.set()


def test_a_stop_that_hangs_ends_the_process() -> None:
    """After the time the process leaves with the code of whoever armed it first."""
    deadline = Recorded(0.0)
    deadline.arm("crash", 70)
    deadline.arm("stop", 71)
    assert deadline.left.wait(30.0)
    assert deadline.with_what == ("crash", 70)


def test_a_stop_that_ended_in_time_does_not() -> None:
    """Disarmed, it never leaves; disarming without arming is harmless."""
    Recorded(0.0).disarm()
    deadline = Recorded(1000.0)
    deadline.arm("stop", 71)
    deadline.disarm()
    assert deadline._timer is not None
    deadline._timer.join(30.0)
    assert deadline.with_what is None
