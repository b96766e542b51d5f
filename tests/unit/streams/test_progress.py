"""A process that has work and does not get on with it: the metric tells, then /livez, then it ends."""

from __future__ import annotations

import pytest

from pipeline.errors import InvariantBroken
from pipeline.health import Health
from pipeline.metrics import Metrics
from pipeline.streams import progress
from pipeline.streams.progress import STALL_S, Progress


class _Stand:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.metrics, self.health = Metrics(), Health(clock=lambda: self.now_s)
        self.progress = Progress(self.metrics, self.health, "work", lambda: self.now_s)

    def after(self, seconds: float, done: int, *, has_work: bool = True) -> float | None:
        """What the metric says when so much time has passed."""
        self.now_s += seconds
        self.health.beat()
        self.progress.note(done, has_work=has_work, detail=lambda: "three wait")
        return self.metrics.registry.get_sample_value("wapipe_watchdog_seconds_since_progress")


def test_time_counts_from_the_last_thing_that_was_finished() -> None:
    """While work is there and nothing is finished the figure grows; anything finished takes it back to 0."""
    stand = _Stand()
    assert [stand.after(1, 0), stand.after(50, 0), stand.after(20, 0), stand.after(1, 1)] == [0, 50, 70, 0]


def test_who_has_nothing_to_do_is_not_stuck() -> None:
    """Without work, or with work that waits for somebody else, no time counts; it begins anew with the work."""
    stand = _Stand()
    stand.after(1, 5)
    assert [stand.after(3600, 5, has_work=False), stand.after(10, 5)] == [0, 10]
    assert stand.health.liveness() == {}


def test_a_stall_ends_liveness_and_the_process() -> None:
    """Past the bound /livez says what is stuck, and the error that ends the process says with what."""
    stand = _Stand()
    stand.after(1, 5)
    stand.after(STALL_S, 5)
    assert stand.health.liveness() == {}
    with pytest.raises(InvariantBroken, match=r"work: nothing finished for 121 s; three wait"):
        stand.after(1, 5)
    assert stand.health.liveness() == {"work": "nothing finished for 121 s"}


async def test_it_looks_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`watch` goes on until the stall, which it raises into whoever runs it."""
    stand = _Stand()
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0)

    def look() -> tuple[int, bool]:
        stand.now_s += 50
        return 7, True

    with pytest.raises(InvariantBroken, match="nothing finished for 150 s"):
        await stand.progress.watch(look)
