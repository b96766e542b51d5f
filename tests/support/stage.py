"""The processes of a test: the simulator, the roles, commands; their logs, their readiness, their ends.

Runs in the test's main thread; every wait is bounded; a process that ended unasked fails whatever waits; all are ended
by pid. Roles run at a lower priority than the simulator, so that what a busy machine delays is them and not the stamps
of their judge.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from pipeline.embedded.processes import Processes
from tests.support.api import Api

ROOT: Final = Path(__file__).parents[2]
SIMULATOR: Final = "simulator"
START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 30.0
CLI_TIMEOUT_S: Final = 90.0
PROBE_TIMEOUT_S: Final = 5.0
LOOK_EVERY_S: Final = 0.2
LOG_TAIL_CHARS: Final = 4000
# A nice value adds to the one that the tests themselves were started with.
ROLE_NICENESS: Final = 5
LISTENING: Final = frozenset({"serving_health", "ingress_listening", "console_listening"})
WAPIPE: Final = (sys.executable, "-m", "pipeline")


class Stage:
    """Processes of one test.

    Args:
        folder: Gets logs and local state.
        tree: The program's source; another one is another release.

    Attributes:
        config: The settings file that roles and commands are given; whoever uses the stage writes it.
        processes: The children by name, for what is not here.
    """

    def __init__(self, folder: Path, tree: Path = ROOT) -> None:
        self._tree = tree
        self.config = folder / "wapipe.toml"
        self.processes = Processes()
        self._folder = folder
        self._ports: dict[str, int] = {}

    def end(self) -> None:
        """End every process, the simulator last."""
        self.processes.stop_all(STOP_TIMEOUT_S, stages=([SIMULATOR],))

    def start_simulator(self, options: Sequence[str]) -> Api:
        """Start the simulator on a free port and wait until it listens."""
        argv = [*WAPIPE, SIMULATOR, "--port", "0", *options]
        self.processes.spawn(SIMULATOR, argv, self._environment({}), log_path=self._log(SIMULATOR))
        self.until(lambda: bool(self._simulator_urls()), "the simulator listens", START_TIMEOUT_S)
        return Api(self._simulator_urls()[0])

    def spawn(self, role: str, name: str | None = None) -> None:
        """Start a role (or start it again under its name) and go on; `ready` waits for it."""
        name = name or role
        self._ports.pop(name, None)
        self._log(name).unlink(missing_ok=True)  # what it said before it was ended stands in `.before`
        argv = ["nice", "-n", str(ROLE_NICENESS), *WAPIPE, "--config", str(self.config), role]
        self.processes.spawn(name, argv, self.environment(name), log_path=self._log(name))

    def environment(self, name: str) -> dict[str, str]:
        """Environment of a role: any free port, and a data folder of its own."""
        own = {"WAPIPE_HTTP__PORT": "0", "WAPIPE_STORAGE__DATA_DIR": str(self._folder / "data" / name)}
        return self._environment(own)

    def ready(self, *names: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until these roles (default: all that run) answer 200 on /readyz."""
        for name in names or [name for name in self.processes.names if name != SIMULATOR]:
            self.until(lambda name=name: self.is_ready(name), f"{name} is ready", timeout_s)  # type: ignore[misc]

    def kill(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Send a role a signal; after SIGKILL or SIGTERM wait until it is gone."""
        self.processes.kill(name, sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            assert self.processes.wait(name, STOP_TIMEOUT_S) is not None, f"{name} outlives signal {sig}"
            log = self._log(name)
            log.replace(log.with_name(f"{log.name}.before"))

    def check_running(self) -> None:
        """Fail with its last words if a process ended that nobody ended."""
        for name, code in self.processes.poll().items():
            raise AssertionError(f"{name} exited with {code}; its log ends with:\n{self._tail(name)}")

    def wapipe(self, *arguments: str) -> str:
        """Run a command to its end; its stdout.

        Raises:
            AssertionError: it exited with another code than 0.
        """
        done = self.attempt(*arguments)
        assert done.returncode == 0, f"wapipe {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            [*WAPIPE, "--config", str(self.config), *arguments],
            check=False, timeout=CLI_TIMEOUT_S, env=self._environment({}), capture_output=True, text=True,
        )  # fmt: skip

    def until(self, is_true: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until something holds.

        Raises:
            AssertionError: not within `timeout_s`, or a process ended that nobody ended.
        """
        give_up_at = time.monotonic() + timeout_s
        while not is_true():
            self.check_running()
            assert time.monotonic() < give_up_at, f"{what}: not within {timeout_s:.0f} s\n{self._tails()}"
            time.sleep(LOOK_EVERY_S)

    def heard(self, name: str) -> dict[str, Any] | None:
        """The log line by which a role says where it listens; None before that."""
        return self.said(name, *LISTENING)

    def said(self, name: str, *events: str) -> dict[str, Any] | None:
        """The first line of a role's log about one of these events; None: there is none yet."""
        log = self._log(name)
        for line in log.read_bytes().split(b"\n")[:-1] if log.exists() else []:
            if line.startswith(b"{"):
                said: dict[str, Any] = orjson.loads(line)
                if said["event"] in events:
                    return said
        return None

    def is_ready(self, name: str) -> bool:
        """Whether a role answers 200 on /readyz now."""
        if name not in self._ports:
            heard = self.heard(name)
            if heard is None:
                return False
            self._ports[name] = heard["health_port"] if "health_port" in heard else heard["port"]
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[name], timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    # -- inside ------------------------------------------------------------------------------------------------------
    def _environment(self, further: Mapping[str, str]) -> dict[str, str]:
        """Ours without WAPIPE_ settings of whoever runs the tests, with the tree under test alone on the path."""
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("WAPIPE_")}
        return {**kept, "PYTHONPATH": str(self._tree), "PYTHONSAFEPATH": "1", **further}

    def _simulator_urls(self) -> list[str]:
        lines = self._log(SIMULATOR).read_text().splitlines() if self._log(SIMULATOR).exists() else []
        return [line for line in lines if line.startswith("http://")]

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        log = self._log(name)
        return log.read_text(errors="replace")[-LOG_TAIL_CHARS:] if log.exists() else "(no log)"

    def _tails(self) -> str:
        return "\n".join(f"--- {name}\n{self._tail(name)[-1000:]}" for name in self.processes.names)
