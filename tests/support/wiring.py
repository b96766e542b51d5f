"""Declared workloads as real processes on this machine: paths, ports and names are mapped, nothing else is changed.

What is mapped, and to what:

| of the container | here |
|---|---|
| the image's programs | `PROGRAMS` |
| mounted files and folders, wherever their paths stand (args, environment, files) | a folder of the workload |
| `/tmp` | the same, by `TMPDIR` |
| ports that the settings (`LISTENS`) or `--port` name | free ones, on loopback |
| `name:port` of a Service or service | where that port is here |
| addresses outside of the release | what the test gives |

The rest of a declaration is taken as it is, and whatever has no counterpart is `Unmapped`. Runs in the test's main
thread; every wait is bounded.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pipeline.config import ENV_PREFIX, Settings, load
from pipeline.embedded.layout import HOST, choose_ports
from pipeline.embedded.processes import Processes
from tests.support.stage import WAPIPE
from tests.support.workload import ROOT, Image, Probe, Unmapped, Workload

PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {"wapipe": WAPIPE, "python": (WAPIPE[0],)}
LISTENS: Final[Mapping[str, tuple[str, ...]]] = {
    "gate": ("http",), "sender": ("http",), "ingress": ("http", "ingress"), "console": ("http", "console"),
    "topics": (), "webhooks": (), "simulator": (),
}  # fmt: skip
"""Tables of the settings that say where a command listens."""
CONFIG: Final = f"{ENV_PREFIX}CONFIG"
ANYWHERE: Final = "0.0.0.0"
LOOK_EVERY_S: Final = 0.2
RUN_TIMEOUT_S: Final = 90.0
END_TIMEOUT_S: Final = 120.0
TAIL_CHARS: Final = 3000


@dataclass(frozen=True, slots=True)
class Listener:
    """Where something of a network listens.

    Attributes:
        host: Declared: only `0.0.0.0` can be reached from outside.
        port: Here.
        table: Of the settings; "" where the command line says it.
    """

    host: str
    port: int
    table: str


class Wiring:
    """Runs workloads. A context manager: leaving it ends every process.

    Args:
        folder: Gets files, folders and logs.
        services: Network and port by `name:port`.
        outside: What an address outside of the release is here.

    Raises:
        Unmapped: a workload has something that cannot be run here.
    """

    def __init__(
        self, folder: Path, image: Image, workloads: Sequence[Workload], services: Mapping[str, tuple[str, int]],
        outside: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._folder, self._image, self._outside = folder, image, outside
        self._workloads = {one.name: one for one in workloads}
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._processes = Processes()
        self._started: dict[str, float] = {}
        self._well: set[str] = set()
        self._ended: set[str] = set()
        settings = {one.name: self._settings(one) for one in workloads}
        for one in workloads:
            self._listen(one, settings[one.name])
        for one in workloads:
            self._same_ports(one, settings[one.name])
        for one in workloads:
            for port in (*one.ports, *(probe.port for probe in one.probes.values() if probe.path is not None)):
                self._reachable(one.name, one.network, port)
        self._names = {address: f"{HOST}:{self._reachable(address, *behind)}" for address, behind in services.items()}
        used = set[str]()
        self._commands = {one.name: self._prepared(one, used) for one in workloads}
        if unused := outside.keys() - used:
            raise Unmapped(f"nobody speaks to {', '.join(sorted(unused))}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._processes.stop_all()

    # -- life --------------------------------------------------------------------------------------------------------
    def up(self) -> None:
        """Start everything in its order, and wait until all of it is well or has ended as it should.

        Raises:
            AssertionError: a probe said no, or a process ended otherwise; with its last words.
        """
        left = list(self._workloads.values())
        while left:
            startable = [one for one in left if all(map(self._has_come, one.after))]
            assert startable, f"nobody can start any more: {[one.name for one in left]}"
            for one in startable:
                self._start(one)
                left.remove(one)
            for name in sorted({name for one in left for name in one.after} & self._started.keys()):
                self._wait_for(self._workloads[name])
        for one in self._workloads.values():
            self._wait_for(one)

    def look(self) -> None:
        """See that everybody still runs and lives.

        Raises:
            AssertionError: somebody does not.
        """
        for name, code in self._processes.poll().items():
            assert self._workloads[name].ends, f"{name} exited with {code}\n{self._tail(name)}"
            assert code == 0, f"{name} exited with {code}\n{self._tail(name)}"
            self._ended.add(name)
        for name in self._well - self._ended:
            probe = self._workloads[name].probes.get("livenessProbe")
            if probe is not None:
                assert self._answers(name, probe), f"{name} does not live\n{self._tail(name)}"

    def down(self) -> None:
        """End everybody as declared: what comes before SIGTERM, SIGTERM, the grace period.

        Raises:
            AssertionError: somebody did not end by itself in time, or not with 0.
        """
        running = [self._workloads[name] for name in self._started if name not in self._ended]
        began_s = time.monotonic()
        for one in sorted(running, key=lambda one: one.pre_stop_s):
            time.sleep(max(0.0, began_s + one.pre_stop_s - time.monotonic()))
            self._processes.kill(one.name, signal.SIGTERM)
        for one in running:
            code = self._processes.wait(one.name, one.grace_s)
            assert code == 0, f"{one.name} ended with {code}\n{self._tail(one.name)}"
            self._ended.add(one.name)

    def run_in(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the program as `kubectl exec` or `docker compose exec` would, to its end."""
        _, environment = self._commands[name]
        return subprocess.run(
            [*PROGRAMS[self._image.entry_point[0]], *words],
            check=False, timeout=RUN_TIMEOUT_S, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    def address(self, service: str) -> str:
        """`host:port` of a Service or service."""
        return self._names[service]

    def published(self, name: str, port: int) -> str:
        """`host:port` of a container's port that is open to this machine."""
        one = self._workloads[name]
        if port not in one.ports:
            raise Unmapped(f"{name}: port {port} is not published")
        return f"{HOST}:{self._reachable(name, one.network, port)}"

    # -- what is mapped ----------------------------------------------------------------------------------------------
    def _settings(self, one: Workload) -> Settings | None:
        """What its file says; None: it has none. Variables over it would be lost under those of the mapping."""
        path = one.env.get(CONFIG)
        if path is None:
            return None
        if path not in one.files:
            raise Unmapped(f"{one.name}: {CONFIG} is {path}, which is not mounted")
        if twice := [name for name in one.env if name.startswith(ENV_PREFIX) and name != CONFIG]:
            raise Unmapped(f"{one.name}: {', '.join(twice)}")
        draft = self._folder / "declared" / f"{one.name}.toml"
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(one.files[path])
        return load(draft, {})

    def _listen(self, one: Workload, settings: Settings | None) -> None:
        """Note where it listens, by its settings or its arguments."""
        if one.args[0] not in LISTENS:
            raise Unmapped(f"{one.name}: {one.args[0]}")
        found = dict(zip(one.args, one.args[1:], strict=False))
        if "--port" in found:
            self._add(one, found.get("--host", HOST), int(found["--port"]), "")
        for table in LISTENS[one.args[0]]:
            assert settings is not None
            section = getattr(settings, table)
            self._add(one, section.host, section.port, table)

    def _add(self, one: Workload, host: str, port: int | None, table: str) -> None:
        if port is None:
            raise Unmapped(f"{one.name}: {table}.port is not set, and probes name one")
        if (one.network, port) in self._listeners:
            raise Unmapped(f"{one.name}: port {port} is taken in its network")
        self._listeners[one.network, port] = Listener(host, choose_ports(1)[0].client, table)

    def _same_ports(self, one: Workload, settings: Settings | None) -> None:
        """Whoever shares a network must have been told the same as those that listen there."""
        for (network, port), listener in self._listeners.items():
            if network == one.network and listener.table and settings is not None:
                own = getattr(settings, listener.table).port
                if own != port:
                    raise Unmapped(f"{one.name}: {listener.table}.port is {own}, and in its network {port}")

    def _reachable(self, who: str, network: str, port: int) -> int:
        """Where a port of a network is here, for somebody outside of it."""
        listener = self._listeners.get((network, port))
        if listener is None:
            raise Unmapped(f"{who}: nobody listens at {network}:{port}")
        if listener.host != ANYWHERE:
            raise Unmapped(f"{who}: {network}:{port} listens on {listener.host} only")
        return listener.port

    def _prepared(self, one: Workload, used: set[str]) -> tuple[list[str], dict[str, str]]:
        """Write its files; command line and whole environment of its process."""
        root = self._folder / one.name
        paths = {path: str(root / path.lstrip("/")) for path in (*one.files, *one.folders)}
        table = {**paths, **self._names, **self._outside}
        pattern = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, sorted(table, key=len, reverse=True)))})(?!\w)")

        def mapped(text: str) -> str:
            def real(found: re.Match[str]) -> str:
                used.add(found[0])
                return table[found[0]]

            return pattern.sub(real, text)

        for folder in one.folders:
            Path(paths[folder]).mkdir(parents=True, exist_ok=True)
        for path, text in one.files.items():
            Path(paths[path]).parent.mkdir(parents=True, exist_ok=True)
            Path(paths[path]).write_text(mapped(text))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": paths.get("/tmp", "/nowhere")}
        environment |= {name: mapped(value) for name, value in (*self._image.env.items(), *one.env.items())}
        environment["PATH"] = os.environ["PATH"]
        for (network, _), listener in self._listeners.items():
            if network == one.network and listener.table:
                at = f"{ENV_PREFIX}{listener.table.upper()}__"
                environment |= {f"{at}HOST": HOST, f"{at}PORT": str(listener.port)}
        return [*self._program(one, one.command or self._image.entry_point), *self._arguments(one, mapped)], environment

    def _arguments(self, one: Workload, mapped: Callable[[str], str]) -> list[str]:
        words = [mapped(word) for word in one.args]
        for at, word in enumerate(words[:-1]):
            if word == "--port":
                words[at + 1] = str(self._listeners[one.network, int(words[at + 1])].port)
            elif word == "--host":
                words[at + 1] = HOST
        return words

    def _program(self, one: Workload, command: Sequence[str]) -> list[str]:
        if command[0] not in PROGRAMS:
            raise Unmapped(f"{one.name}: {command[0]}")
        return [*PROGRAMS[command[0]], *command[1:]]

    # -- what runs ---------------------------------------------------------------------------------------------------
    def _has_come(self, name: str) -> bool:
        return name in self._ended or (name in self._well and not self._workloads[name].ends)

    def _start(self, one: Workload) -> None:
        command, environment = self._commands[one.name]
        self._started[one.name] = time.monotonic()
        self._processes.spawn(one.name, command, environment, log_path=self._log(one.name))

    def _wait_for(self, one: Workload) -> None:
        if one.ends:
            self._until(one.name, lambda: one.name in self._ended, "has ended", END_TIMEOUT_S)
            return
        for name, probe in one.probes.items():
            if name != "livenessProbe":
                self._until(one.name, lambda probe=probe: self._answers(one.name, probe), name, probe.within_s)  # type: ignore[misc]
        self._well.add(one.name)

    def _until(self, who: str, is_true: Callable[[], bool], what: str, within_s: float) -> None:
        end_s = self._started[who] + within_s
        while not is_true():
            self.look()
            assert time.monotonic() < end_s, f"{who}, {what}: not within {within_s:.0f} s\n{self._tail(who)}"
            time.sleep(LOOK_EVERY_S)

    def _answers(self, name: str, probe: Probe) -> bool:
        one = self._workloads[name]
        if probe.path is None:
            return self._check_runs(one, probe)
        connection = http.client.HTTPConnection(
            HOST, self._listeners[one.network, probe.port].port, timeout=probe.timeout_s
        )
        try:
            connection.request("GET", probe.path)
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def _check_runs(self, one: Workload, probe: Probe) -> bool:
        def real(found: re.Match[str]) -> str:
            listener = self._listeners.get((one.network, int(found[1])))
            if listener is None:
                raise Unmapped(f"{one.name}: its check asks port {found[1]}, where nobody listens")
            return f"{HOST}:{listener.port}"

        _, environment = self._commands[one.name]
        words = [re.sub(r"127\.0\.0\.1:(\d+)", real, word) for word in probe.command]
        try:
            done = subprocess.run(
                self._program(one, words), check=False, env=environment, capture_output=True, timeout=probe.timeout_s
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        log = self._log(name)
        return log.read_text(errors="replace")[-TAIL_CHARS:] if log.exists() else "(no log)"
