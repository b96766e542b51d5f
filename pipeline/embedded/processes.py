"""Looks after local child processes, for `wapipe up`, `wapipe demo`, the embedded broker and tests.

Enters: command lines. Leaves: pids, exit codes. No thread of its own: the caller polls, and every wait is bounded.
Children run in a session of their own, so that a Ctrl-C in the terminal reaches only their owner, who ends them in
order; they get SIGKILL from the kernel when their owner ends without doing so. The kernel counts the *thread* that
started a child as its owner, so children are started from the main thread only.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from pipeline.clock import steady_s

GUARD = Path(__file__).with_name("guard.py")
PROCESSES_MAX = 64
LOG_BYTES_MAX = 16 * 1024 * 1024
STOP_TIMEOUT_S = 15.0
KILL_WAIT_S = 10.0  # between SIGKILL and its effect; only a hanging disk makes it longer
RESTART_WAIT_S_MIN = 0.5
RESTART_WAIT_S_MAX = 5.0
STEADY_AFTER_S = 30.0  # a child that ran this long starts over with the shortest wait

_log = logging.getLogger(__name__)


class ChildProcess(Protocol):
    """What the supervisor needs of `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """The child's pid."""

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Exit code, after waiting for at most `timeout` seconds; `subprocess.TimeoutExpired` after that."""

    def send_signal(self, sig: int, /) -> None:
        """Send a signal; nothing happens if the child has been waited for."""


Starter = Callable[[Sequence[str], Mapping[str, str] | None, Path], ChildProcess]


def start_guarded(argv: Sequence[str], env: Mapping[str, str] | None, log_path: Path) -> ChildProcess:
    """Start a program in its own session which cannot outlive this process.

    Args:
        argv: Program and arguments.
        env: Its whole environment; None means ours.
        log_path: Gets its stdout and stderr, appended; one that exceeds `LOG_BYTES_MAX` is moved to `.old` first.

    Raises:
        RuntimeError: Not called from the main thread: the kernel would end the child with that thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("child processes must be started from the main thread")
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if log_path.stat().st_size > LOG_BYTES_MAX:
            log_path.replace(log_path.with_name(f"{log_path.name}.old"))
    with log_path.open("ab") as log_file:
        return subprocess.Popen(  # noqa: S603 - the caller's own command line, no shell
            [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *argv],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def restart_wait_s(last_wait_s: float | None, ran_s: float) -> float:
    """How long to wait before a child that exited is started again.

    Args:
        last_wait_s: The wait before this run; None for the first one.
        ran_s: How long it ran.

    Returns:
        Seconds from `RESTART_WAIT_S_MIN` to `RESTART_WAIT_S_MAX`, doubling as long as it keeps exiting.
    """
    if last_wait_s is None or ran_s >= STEADY_AFTER_S:
        return RESTART_WAIT_S_MIN
    return min(2 * last_wait_s, RESTART_WAIT_S_MAX)


@dataclass
class _Child:
    argv: Sequence[str]
    env: Mapping[str, str] | None
    log_path: Path
    may_restart: bool
    process: ChildProcess
    started_at_s: float
    is_reported: bool = False  # somebody has its exit code
    is_stopped: bool = False  # on purpose: not started again by `poll`
    last_wait_s: float | None = None
    due_at_s: float | None = None  # when an exited one is started again


class Processes:
    """A set of named children. Use it as a context manager, or call `stop_all`. Not for use by several threads.

    Args:
        start: Starts a child; tests give a fake.
        clock: Seconds on a clock that never steps.
    """

    def __init__(self, start: Starter = start_guarded, clock: Callable[[], float] = steady_s) -> None:
        self._start, self._clock = start, clock
        self._children: dict[str, _Child] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop_all()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all children, dead ones too, in the order in which they were spawned."""
        return tuple(self._children)

    def pid(self, name: str) -> int:
        """Pid of this child's last run.

        Raises:
            KeyError: There is no child of this name.
        """
        return self._children[name].process.pid

    def is_running(self, name: str) -> bool:
        """Whether there is a child of this name that has not exited."""
        child = self._children.get(name)
        return child is not None and child.process.poll() is None

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        log_path: Path,
        restart: bool = False,
    ) -> int:
        """Start a child.

        Args:
            name: What the other methods call it; one that has exited is replaced.
            argv: Program and arguments.
            env: Its whole environment; None means ours.
            log_path: Gets its stdout and stderr.
            restart: Whether `poll` starts it again when it has exited by itself.

        Returns:
            Its pid.

        Raises:
            ValueError: A child of this name is running, or there are `PROCESSES_MAX` already.
            RuntimeError: Not called from the main thread.
        """
        if self.is_running(name):
            raise ValueError(f"{name} is running")
        if name not in self._children and len(self._children) >= PROCESSES_MAX:
            raise ValueError(f"more than {PROCESSES_MAX} processes")
        process = self._start(argv, env, log_path)
        self._children[name] = _Child(argv, env, log_path, restart, process, self._clock())
        _log.debug("process_started", extra={"child": name, "pid": process.pid})
        return process.pid

    def poll(self) -> dict[str, int]:
        """See who exited, and start again what is due. Never waits; call it about twice a second.

        Returns:
            Exit code by name of the children that exited since the last call, except those that were stopped or
            waited for; a negative one is the signal's number.
        """
        now_s = self._clock()
        exited: dict[str, int] = {}
        for name, child in self._children.items():
            if child.due_at_s is not None and now_s >= child.due_at_s:
                self._start_again(name, child)
            code = child.process.poll()
            if code is None or child.is_stopped or child.due_at_s is not None:
                continue
            if not child.is_reported:
                child.is_reported = True
                exited[name] = code
            if child.may_restart:
                child.last_wait_s = restart_wait_s(child.last_wait_s, now_s - child.started_at_s)
                child.due_at_s = now_s + child.last_wait_s
        return exited

    def kill(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Send a signal and go on; what it does shows in `poll`. Nothing happens if the child has exited.

        Raises:
            KeyError: There is no child of this name.
        """
        self._children[name].process.send_signal(sig)

    def wait(self, name: str, timeout_s: float) -> int | None:
        """Wait until a child has exited by itself.

        Returns:
            Its exit code; None if it still runs after `timeout_s` seconds.

        Raises:
            KeyError: There is no child of this name.
        """
        child = self._children[name]
        try:
            code = child.process.wait(max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            return None
        child.is_reported = True
        return code

    def stop(self, name: str, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """End one child for good: SIGTERM, and SIGKILL after `timeout_s` seconds.

        Returns:
            Its exit code.

        Raises:
            KeyError: There is no child of this name.
            subprocess.TimeoutExpired: It outlived SIGKILL by `KILL_WAIT_S`.
        """
        self._stop([self._children[name]], timeout_s)
        return self._children[name].process.wait(KILL_WAIT_S)

    def restart(self, name: str, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Stop a child and start it again at once, with the same command line.

        Returns:
            The new pid.

        Raises:
            KeyError: There is no child of this name.
        """
        self.stop(name, timeout_s)
        self._start_again(name, self._children[name])
        return self.pid(name)

    def stop_all(self, timeout_s: float = STOP_TIMEOUT_S, stages: Sequence[Sequence[str]] = ()) -> dict[str, int]:
        """End all children and forget them.

        Args:
            timeout_s: Time for all stages together; who still runs then gets SIGKILL.
            stages: Names that get SIGTERM together; the next stage follows when those have exited. Children that
                no stage names are the first stage. Names without a child are passed over.

        Returns:
            Exit code by name.

        Raises:
            subprocess.TimeoutExpired: One outlived SIGKILL by `KILL_WAIT_S`.
        """
        named = {name for stage in stages for name in stage}
        rest = [name for name in self._children if name not in named]
        give_up_at_s = self._clock() + timeout_s
        for stage in (rest, *stages):
            children = [self._children[name] for name in stage if name in self._children]
            self._stop(children, give_up_at_s - self._clock())
        codes = {name: child.process.wait(KILL_WAIT_S) for name, child in self._children.items()}
        self._children.clear()
        return codes

    def _start_again(self, name: str, child: _Child) -> None:
        child.process = self._start(child.argv, child.env, child.log_path)
        child.started_at_s, child.due_at_s = self._clock(), None
        child.is_reported = child.is_stopped = False
        _log.info("process_restarted", extra={"child": name, "pid": child.process.pid})

    def _stop(self, children: Sequence[_Child], timeout_s: float) -> None:
        for child in children:
            child.is_stopped, child.due_at_s = True, None
            child.process.send_signal(signal.SIGTERM)
            child.process.send_signal(signal.SIGCONT)  # A frozen one could not act on SIGTERM.
        give_up_at_s = self._clock() + timeout_s
        for child in children:
            try:
                child.process.wait(max(give_up_at_s - self._clock(), 0.0))
            except subprocess.TimeoutExpired:
                child.process.send_signal(signal.SIGKILL)
        for child in children:
            child.process.wait(KILL_WAIT_S)
