"""The supervisor's rules, on fake children and a fake clock."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.embedded.processes import PROCESSES_MAX, Processes, restart_wait_s

LOG = Path("unused.log")


class FakeChild:
    """A child that ends on the signals it is told to obey; waiting for one that stays moves the clock."""

    def __init__(self, world: FakeWorld, pid: int, argv: Sequence[str]) -> None:
        self.world, self.pid, self.argv = world, pid, argv
        self.code: int | None = None
        self.obeys = {signal.SIGTERM, signal.SIGKILL}

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            assert timeout is not None
            self.world.now_s += timeout
            raise subprocess.TimeoutExpired("child", timeout)
        return self.code

    def send_signal(self, sig: int, /) -> None:
        if self.code is not None:
            return
        self.world.signals.append((self.argv[0], signal.Signals(sig).name))
        if sig in self.obeys:
            self.code = -sig


class FakeWorld:
    """Starts fake children, keeps the time and the order of signals."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.started: list[FakeChild] = []
        self.signals: list[tuple[str, str]] = []

    def start(self, argv: Sequence[str], _env: Mapping[str, str] | None, _log_path: Path) -> FakeChild:
        child = FakeChild(self, 1000 + len(self.started), argv)
        self.started.append(child)
        return child

    def clock(self) -> float:
        return self.now_s


@pytest.fixture
def world() -> FakeWorld:
    """A world without children."""
    return FakeWorld()


@pytest.fixture
def processes(world: FakeWorld) -> Processes:
    """A supervisor in that world."""
    return Processes(world.start, world.clock)


def test_exit_is_told_once(world: FakeWorld, processes: Processes) -> None:
    """A child that exits shows up in one poll, with its code."""
    processes.spawn("gate", ["gate"], log_path=LOG)
    assert processes.poll() == {}
    world.started[0].code = 3
    assert processes.poll() == {"gate": 3}
    assert processes.poll() == {}
    assert not processes.is_running("gate")


def test_restart_comes_after_the_wait(world: FakeWorld, processes: Processes) -> None:
    """A child to be restarted starts again half a second after its exit, not before."""
    processes.spawn("gate", ["gate"], log_path=LOG, restart=True)
    world.started[0].code = 1
    assert processes.poll() == {"gate": 1}
    world.now_s += 0.4
    assert processes.poll() == {}
    assert len(world.started) == 1
    world.now_s += 0.2
    assert processes.poll() == {}
    assert processes.pid("gate") == 1001
    assert processes.is_running("gate")


def test_restart_waits_grow_to_a_bound() -> None:
    """A child that keeps exiting is started again after 0.5, 1, 2, 4 and then every 5 seconds."""
    waits = [restart_wait_s(None, 0.1)]
    for _ in range(5):
        waits.append(restart_wait_s(waits[-1], 0.1))
    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_steady_run_forgets_earlier_exits() -> None:
    """A child that ran for half a minute starts over with the shortest wait."""
    assert restart_wait_s(5.0, 30.0) == 0.5


def test_repeated_exits_are_told_each_time(world: FakeWorld, processes: Processes) -> None:
    """Every run of a restarted child that ends is told, and the wait grows."""
    processes.spawn("gate", ["gate"], log_path=LOG, restart=True)
    told: list[dict[str, int]] = []
    for run, wait_s in enumerate([0.5, 1.0, 2.0]):
        world.started[run].code = run
        told.append(processes.poll())
        world.now_s += wait_s - 0.1
        assert processes.poll() == {}
        assert len(world.started) == run + 1
        world.now_s += 0.2
        processes.poll()
        assert len(world.started) == run + 2
    assert told == [{"gate": 0}, {"gate": 1}, {"gate": 2}]


def test_stopped_child_stays_down(world: FakeWorld, processes: Processes) -> None:
    """A child that was stopped on purpose is neither told nor started again."""
    processes.spawn("gate", ["gate"], log_path=LOG, restart=True)
    assert processes.stop("gate") == -signal.SIGTERM
    world.now_s += 60
    assert processes.poll() == {}
    assert len(world.started) == 1


def test_stop_while_waiting_for_restart_stays_down(world: FakeWorld, processes: Processes) -> None:
    """A stop between exit and restart cancels the restart."""
    processes.spawn("gate", ["gate"], log_path=LOG, restart=True)
    world.started[0].code = 1
    processes.poll()
    assert processes.stop("gate") == 1
    world.now_s += 60
    processes.poll()
    assert len(world.started) == 1


def test_killed_child_is_restarted(world: FakeWorld, processes: Processes) -> None:
    """A kill is an exit like any other: told, then started again, even if somebody waited for it."""
    processes.spawn("gate", ["gate"], log_path=LOG, restart=True)
    processes.kill("gate")
    assert processes.wait("gate", 1) == -signal.SIGKILL
    assert processes.poll() == {}
    world.now_s += 1
    processes.poll()
    assert processes.is_running("gate")


def test_waiting_is_bounded(world: FakeWorld, processes: Processes) -> None:
    """Waiting for a child that goes on ends after the time given, with None."""
    processes.spawn("gate", ["gate"], log_path=LOG)
    assert processes.wait("gate", 2) is None
    assert world.now_s == 102.0


def test_restart_starts_the_same_command(world: FakeWorld, processes: Processes) -> None:
    """A restart ends the old run and begins a new one with the same arguments."""
    processes.spawn("gate", ["gate", "--x"], log_path=LOG)
    assert processes.restart("gate") == 1001
    assert [list(child.argv) for child in world.started] == [["gate", "--x"]] * 2
    assert world.signals[0] == ("gate", "SIGTERM")
    world.started[1].code = 9
    assert processes.poll() == {"gate": 9}


def test_stop_all_goes_by_stages(world: FakeWorld, processes: Processes) -> None:
    """A later stage gets SIGTERM after the earlier one has gone; who is in no stage goes first."""
    for name in ("broker", "gate", "sender", "other"):
        processes.spawn(name, [name], log_path=LOG)
    codes = processes.stop_all(10, [["gate", "sender", "no-such"], ["broker"]])
    assert [name for name, sig in world.signals if sig == "SIGTERM"] == ["other", "gate", "sender", "broker"]
    assert codes == dict.fromkeys(["broker", "gate", "sender", "other"], -signal.SIGTERM)
    assert processes.names == ()


def test_deaf_child_is_killed_in_time(world: FakeWorld, processes: Processes) -> None:
    """A child that ignores SIGTERM gets SIGKILL when the time for all stages is up, and does not hold up the others."""
    processes.spawn("deaf", ["deaf"], log_path=LOG)
    processes.spawn("broker", ["broker"], log_path=LOG)
    world.started[0].obeys = {signal.SIGKILL}
    codes = processes.stop_all(5, [["deaf"], ["broker"]])
    assert codes == {"deaf": -signal.SIGKILL, "broker": -signal.SIGTERM}
    assert world.now_s == 105.0


def test_frozen_child_is_thawed_to_stop(world: FakeWorld, processes: Processes) -> None:
    """A child that a SIGSTOP froze gets SIGCONT after SIGTERM, so that it can act on it."""
    processes.spawn("gate", ["gate"], log_path=LOG)
    world.started[0].obeys = {signal.SIGCONT}
    processes.stop("gate")
    assert world.signals == [("gate", "SIGTERM"), ("gate", "SIGCONT")]


def test_leaving_the_context_stops_all(world: FakeWorld, processes: Processes) -> None:
    """Nothing runs after the `with` block, however it was left."""
    processes.spawn("gate", ["gate"], log_path=LOG)
    with pytest.raises(KeyboardInterrupt), processes:
        raise KeyboardInterrupt
    assert world.started[0].code == -signal.SIGTERM


def test_running_name_is_not_spawned_twice(world: FakeWorld, processes: Processes) -> None:
    """A name belongs to one running child; after its exit it may be used again."""
    processes.spawn("gate", ["gate"], log_path=LOG)
    with pytest.raises(ValueError, match="gate is running"):
        processes.spawn("gate", ["gate"], log_path=LOG)
    world.started[0].code = 0
    assert processes.spawn("gate", ["gate"], log_path=LOG) == 1001


def test_number_of_children_is_bounded(processes: Processes) -> None:
    """There is a limit on children, so that a loop gone wrong does not fill the machine."""
    for i in range(PROCESSES_MAX):
        processes.spawn(f"p{i}", ["p"], log_path=LOG)
    with pytest.raises(ValueError, match="more than 64"):
        processes.spawn("one-more", ["p"], log_path=LOG)
