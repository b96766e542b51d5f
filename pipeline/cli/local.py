"""All of the pipeline on this machine, as child processes: for `wapipe up`, `wapipe demo` and tests.

Enters: the user's settings and a folder. Leaves: a running system, its settings file, where each process answers.
Runs on the main thread, which it must (`embedded/processes.py`); every wait is bounded. Ends everything by pid.
"""

from __future__ import annotations

import asyncio
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from pipeline.cli import local_plan as plan
from pipeline.cli.app import quiet, shell_user
from pipeline.cli.scaling import note_layout
from pipeline.cli.stopping import StopSignals
from pipeline.cli.template_listing import sources_of
from pipeline.cli.template_sync import sync
from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.embedded.broker import EmbeddedKafka
from pipeline.embedded.layout import HOST
from pipeline.embedded.locks import FileLock
from pipeline.embedded.processes import Processes
from pipeline.errors import EXIT_CONFIG, ConfigError, PipelineError
from pipeline.ingress.check import check_webhook
from pipeline.streams import topics

READY_TIMEOUT_S = 120.0  # a gate and a sender join their groups in 4 s on an idle machine of two cores
POLL_S = 0.1
HTTP_TIMEOUT_S = 5.0
BROKER_TIMEOUT_S = 15.0
LOG_TAIL_LINES = 8
LOG_TAIL_BYTES = 8192
SIMULATOR = "simulator"
STOP_TIMEOUT_S = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of everything is run.

    Attributes:
        counts: Processes by role.
        simulator: Further options of `wapipe simulator`.
        stop_timeout_s: How long the processes may take to end in good order.
    """

    counts: Mapping[str, int]
    simulator: Sequence[str] = ("--latency-ms", "20")
    stop_timeout_s: float = STOP_TIMEOUT_S


class Local:
    """A local system. Use it as a context manager.

    Args:
        base: The user's settings; without numbers, two at the simulator are made up.
        folder: Keeps everything; one user at a time.
        has_broker: Whether the user named a Kafka, so that none is started.
        shape: How much of everything is run.
        say: Gets a line for people at every step.
        signals: Told when the end begins.

    Attributes:
        settings: What the processes run with; known once started, as is the rest. For clients in this process, which
            report errors themselves, librdkafka's own log lines are off in it.
        settings_file: The same, as a file.
        simulator_url: None: the numbers talk to a real API.
        children: The processes of the roles.
    """

    def __init__(
        self, base: Settings, folder: Path, has_broker: bool, shape: Shape, say: Say, signals: StopSignals
    ) -> None:
        self.base, self.folder, self.shape = base, folder, shape
        self.settings = quiet(base)
        self.settings_file = folder / plan.CONFIG_NAME
        self.simulator_url: str | None = None
        self.children: list[plan.Child] = []
        self._has_broker, self._say, self._signals = has_broker, say, signals
        self._processes = Processes()
        self._kafka: EmbeddedKafka | None = None
        self._lock: FileLock | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything by pid: the roles first, then the API that they call, then the broker. Bounded."""
        self._signals.is_ending = True
        try:
            self._processes.stop_all(self.shape.stop_timeout_s, stages=[[SIMULATOR]])
        finally:
            if self._kafka is not None:
                self._kafka.stop(self.shape.stop_timeout_s)
            if self._lock is not None:
                self._lock.release()

    def poll(self) -> None:
        """Start again what has exited, and say so; call it about twice a second.

        Raises:
            BrokerUnreachable: the broker of ours has exited.
        """
        if self._kafka is not None:
            self._kafka.check()
        had_simulator = self._processes.is_running(SIMULATOR)
        for name, code in self._processes.poll().items():
            self._say(f"{name:<10} exited with {code}, is started again; {plan.shown(self._log_path(name))} says why")
        if self.simulator_url is not None and not had_simulator and self._processes.is_running(SIMULATOR):
            self._tell_simulator()

    def control(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the simulator for something, by `POST /_simulator/control`; any thread may.

        Raises:
            OSError: it does not answer, or refuses.
        """
        request = urllib.request.Request(f"{self.simulator_url}/_simulator/control", orjson.dumps(wanted))  # noqa: S310
        return dict(orjson.loads(_answer(request)))

    def simulator_stats(self) -> dict[str, Any]:
        """`GET /_simulator/stats`; any thread may.

        Raises:
            OSError: it does not answer.
        """
        return dict(orjson.loads(_answer(f"{self.simulator_url}/_simulator/stats")))

    def simulator_ledger(self) -> list[dict[str, Any]]:
        """`GET /_simulator/ledger`: every request that the simulator saw, in order of arrival.

        Raises:
            OSError: it does not answer.
        """
        lines = _answer(f"{self.simulator_url}/_simulator/ledger").splitlines()
        return [orjson.loads(line) for line in lines]

    # -- start ---------------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        began_s = steady_s()
        # Step 1: the folder is ours, before anything in it is touched.
        self._take_folder()
        # Step 2: a broker, as everything else asks it first.
        kafka = self.base.kafka if self._has_broker else plan.own_kafka(self.base.kafka, self._start_broker())
        # Step 3: ports, then the settings that name them.
        wanted_port = plan.simulator_port(self.base)
        free_port, ingress_port, console_port = plan.free_ports(3)
        console_port = plan.free_or(self.base.console.port, console_port)
        if wanted_port is not None:
            self.simulator_url = f"http://{HOST}:{wanted_port or free_port}"
        settings = plan.local_settings(self.base, kafka, self.folder, self.simulator_url, ingress_port, console_port)
        self.settings, self.settings_file = quiet(settings), plan.write_settings(settings, self.folder)
        self._say(f"settings   {plan.shown(self.settings_file)}")
        # Step 4: topics, which roles check at their start.
        self._make_topics()
        # Step 5: the API before those who call it, then all roles at once.
        if self.simulator_url is not None:
            self._start_simulator(wanted_port or free_port)
        self._start_roles()
        # Step 6: nothing is sent before the number's webhook was seen to work and its templates are known.
        if self.simulator_url is not None and self.settings.policy.require_templates:
            self._sync_templates()
        if self.settings.policy.require_webhook:
            self._check_webhooks()
        if self.shape.counts.get("console"):
            self._say_console()
        self._say(f"ready      after {steady_s() - began_s:.1f} s")

    def _take_folder(self) -> None:
        lock = FileLock(self.folder / "lock")
        if not lock.acquire(0):
            raise ConfigError(f"{self.folder}: another `wapipe up` or `wapipe demo` runs there; end that one first")
        self._lock = lock

    def _start_broker(self) -> str:
        self._say("broker     starting Kafka; the very first time, Maven gets its jars")
        began_s = steady_s()
        self._kafka = EmbeddedKafka(self.folder / "kafka")
        self._kafka.start()
        self._say(f"broker     {self._kafka.bootstrap} after {steady_s() - began_s:.1f} s")
        return self._kafka.bootstrap

    def _make_topics(self) -> None:
        changes = topics.compare(self.settings, topics.read_broker(self.settings, BROKER_TIMEOUT_S))
        if changes:
            topics.apply(self.settings, changes)
            note_layout(self.settings, changes, shell_user().name)
        done = f"{len(changes)} changes made" if changes else "nothing to change"
        self._say(f"topics     {len(topics.TOPICS)}, {done}")

    def _start_simulator(self, port: int) -> None:
        secrets = self.settings.ingress.app_secret_files
        signed = ("--webhook-secret-file", str(secrets[0])) if secrets else ()
        argv = plan.wapipe(SIMULATOR, "--port", str(port), *signed, *self.shape.simulator)
        self._spawn(plan.Child(SIMULATOR, argv, plan.child_environment(os.environ), None))
        self._tell_simulator()
        self._say(f"simulator  {self.simulator_url}")

    def _tell_simulator(self) -> None:
        """Say who its senders are, where webhooks go, to how many people one may write: a new one knows none of it."""
        path = self.settings.ingress.path.rstrip("/")
        url = f"http://{HOST}:{self.settings.ingress.port}{path}/{{number}}"
        templates = plan.SIMULATED_TEMPLATES
        wanted = {
            **plan.credentials(self.settings), "webhook_url": url, "templates": templates, "tier": "TIER_UNLIMITED",
        }  # fmt: skip
        self._await(lambda: self.control({"settings": wanted}) is not None, "the simulator does not answer", SIMULATOR)

    def _sync_templates(self) -> None:
        """Have the simulator's templates known, as after `wapipe templates sync`."""
        try:
            sources = sources_of(self.settings)
        except ConfigError as exc:
            self._say(f"templates  not known: {exc}")
            return
        results = sync(self.settings, sources)
        for result in results:
            if result.error is not None:
                raise PipelineError(f"templates of {result.account}: {result.error}")
        self._say(f"templates  {sum(result.templates for result in results)} synced")

    def _start_roles(self) -> None:
        self.children = plan.role_children(self.settings_file, self.folder, self.shape.counts)
        for child in self.children:
            self._spawn(child)
        for child in self.children:
            name, url = child.name, f"{child.health_url}/readyz"
            self._await(lambda url=url: _answer(url) is not None, f"{name} is not ready", name)  # type: ignore[misc]
            self._say(f"{name:<10} pid {self._processes.pid(name)}, {child.health_url}/metrics")

    def _check_webhooks(self) -> None:
        for number in self.settings.numbers:
            result = asyncio.run(check_webhook(self.settings, number))
            if not result.is_ok:
                raise ConfigError(f"webhook of {number}: {result.url}: {result.detail}")
        self._say(f"webhooks   verified for {', '.join(self.settings.numbers)}")

    def _say_console(self) -> None:
        console = self.settings.console
        token = console.operator_token_file
        how = f", token in {plan.shown(token)}" if token is not None else ""
        self._say(f"console    http://{console.host}:{console.port}/{how}")

    def _spawn(self, child: plan.Child) -> None:
        self._processes.spawn(child.name, child.argv, child.env, log_path=self._log_path(child.name), restart=True)

    def _log_path(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _await(self, is_there: Callable[[], bool], otherwise: str, name: str) -> None:
        """Ask until it is there.

        Raises:
            ConfigError: the process says that its settings are wrong.
            PipelineError: it did not come in time, or broke off.
        """
        give_up_s = steady_s() + READY_TIMEOUT_S
        while True:
            try:
                if is_there():
                    return
            except OSError:
                pass
            for exited, code in self._processes.poll().items():
                error = ConfigError if code == EXIT_CONFIG else PipelineError
                raise error(f"{exited} exited with {code} at its start; its log ends with:\n{self._log_tail(exited)}")
            if steady_s() > give_up_s:
                tail = self._log_tail(name)
                raise PipelineError(f"{otherwise} after {READY_TIMEOUT_S:.0f} s; its log ends with:\n{tail}")
            time.sleep(POLL_S)

    def _log_tail(self, name: str) -> str:
        with self._log_path(name).open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES, 0))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


def scrape(child: plan.Child) -> str:
    """`/metrics` of a process; any thread may.

    Raises:
        OSError: it does not answer.
    """
    return _answer(f"{child.health_url}/metrics").decode()


def _answer(request: str | urllib.request.Request) -> bytes:
    """The body of a 200 answer; anything else is an `OSError` (urllib's errors are)."""
    with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310 - our own address
        body: bytes = answer.read()
    return body
