"""Real children: their log, their signals, and that none outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.embedded import processes as module
from pipeline.embedded.processes import Processes, start_guarded
from tests.support.broker import is_gone, wait_until

OWNER = """
import sys, time
from pathlib import Path
from pipeline.embedded.processes import Processes
processes = Processes()
print(processes.spawn("child", ["sleep", "600"], log_path=Path(sys.argv[1])), flush=True)
time.sleep(600)
"""


def test_child_writes_to_its_log_and_its_code_comes_back(tmp_path: Path) -> None:
    """Stdout and stderr of a child are in its log file, its exit code in the poll."""
    log = tmp_path / "logs" / "child.log"
    with Processes() as processes:
        processes.spawn("child", ["sh", "-c", "echo out; echo err >&2; exit 7"], log_path=log)
        assert processes.wait("child", 30) == 7
    assert log.read_text() == "out\nerr\n"


def test_program_keeps_the_pid_and_gets_the_environment(tmp_path: Path) -> None:
    """The pid that `spawn` returns is the program's own, and the environment is exactly the one given."""
    log = tmp_path / "child.log"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": "/nowhere", "WAPIPE_X": "1"}
    with Processes() as processes:
        pid = processes.spawn("child", ["sh", "-c", "echo $$ $WAPIPE_X $PYTHONPATH"], env, log_path=log)
        processes.wait("child", 30)
    assert log.read_text() == f"{pid} 1 /nowhere\n"


def test_missing_program_says_so_in_the_log(tmp_path: Path) -> None:
    """A program that cannot be run ends with 127, as in a shell, and its log says why."""
    log = tmp_path / "child.log"
    with Processes() as processes:
        processes.spawn("child", ["/no/such/program"], log_path=log)
        assert processes.wait("child", 30) == 127
    assert log.read_text() == "cannot run /no/such/program: No such file or directory\n"


def test_stop_ends_a_real_child(tmp_path: Path) -> None:
    """SIGTERM ends a child, and its process is gone."""
    with Processes() as processes:
        pid = processes.spawn("child", ["sleep", "600"], log_path=tmp_path / "log")
        assert processes.stop("child") == -signal.SIGTERM
        assert is_gone(pid)


def test_child_dies_with_its_killed_owner(tmp_path: Path) -> None:
    """An owner that gets SIGKILL can end nothing itself, and yet leaves no child behind."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        child_pid = int(owner.stdout.readline())
        assert not is_gone(child_pid)
    finally:
        owner.kill()
        owner.communicate(timeout=30)
    wait_until(lambda: is_gone(child_pid), "end of the child")


def test_child_is_out_of_the_terminals_reach(tmp_path: Path) -> None:
    """A child leads a session of its own, so that Ctrl-C reaches its owner only."""
    with Processes() as processes:
        pid = processes.spawn("child", ["sleep", "600"], log_path=tmp_path / "log")
        assert os.getsid(pid) == pid


def test_start_outside_the_main_thread_is_refused(tmp_path: Path) -> None:
    """The kernel would end the child with the thread that started it, so this fails at once."""
    caught: list[BaseException] = []

    def start() -> None:
        try:
            start_guarded(["true"], None, tmp_path / "log")
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(30)
    assert [str(error) for error in caught] == ["child processes must be started from the main thread"]


def test_large_log_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log beyond its limit is moved to `.old` before the next run, so that logs do not grow for ever."""
    monkeypatch.setattr(module, "LOG_BYTES_MAX", 10)
    log = tmp_path / "child.log"
    log.write_text("x" * 11)
    with Processes() as processes:
        processes.spawn("child", ["echo", "new"], log_path=log)
        processes.wait("child", 30)
    assert log.read_text() == "new\n"
    assert (tmp_path / "child.log.old").read_text() == "x" * 11
