"""The workers of a run: a `World` whose roles reach Kafka and the API through links, and start again when they end.

Runs in the harness's main thread; `supervise` must be called a few times a second. As Kubernetes would, it starts a
worker again that exited, whoever ended it, half a second to five seconds later; each start has a log of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaException

from pipeline.embedded.layout import HOST, choose_ports
from pipeline.embedded.processes import restart_wait_s
from tests.faults.cluster import LinkedKafka
from tests.faults.proxy import Links
from tests.faults.schedule import INGRESSES, SESSION_TIMEOUT_S, UNKNOWN_WAIT_S, WORKERS, Number
from tests.support.api import Api
from tests.support.reading import TopicReader
from tests.support.stage import ROLE_NICENESS, ROOT, SIMULATOR, WAPIPE
from tests.support.world import World

PARTITIONS: Final = 6
LATENCY_MS: Final = 20
READ_TIMEOUT_S: Final = 60.0
STOP_PAYLOAD: Final = "STOP_OFFERS"
"""Of a button that takes marketing back."""
WEBHOOK_TRIES: Final = 1000
WEBHOOKS_MS: Final = {"sent": 50.0, "delivered": 300.0, "failed": 300.0}
SETTINGS: Final = (
    # Repeated transient errors are the point here, not the end of a request.
    f'[sender]\nunknown_wait_s = {UNKNOWN_WAIT_S}\nmax_attempts = 1000\non_unknown = {{ marketing = "resend" }}\n'
)


@dataclass(slots=True)
class Worker:
    """A role that ought to run.

    Attributes:
        starts: How often it was started.
        started_s: When it was started last.
        wait_s: How long the last restart waited.
        due_s: When it is started again; None: it runs.
    """

    role: str
    starts: int = 0
    started_s: float = 0.0
    wait_s: float | None = None
    due_s: float | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """A worker that ended."""

    at_s: float
    name: str
    code: int


class Fleet(World):
    """Workers, ingress and simulator of a run.

    Args:
        kafka: The cluster, which runs already.
        links: The proxy.
        folder: Settings, logs, local state.
        numbers: The sending numbers.
        has_webhooks: As `World`.
    """

    def __init__(
        self, kafka: LinkedKafka, links: Links, folder: Path, numbers: dict[str, Number], *, has_webhooks: bool = True
    ) -> None:
        options = ["--latency-ms", str(LATENCY_MS)]
        super().__init__(
            kafka.bootstrap,
            folder,
            numbers={
                name: {"profile": one.profile, "rate_per_s": one.rate_per_s, "burst": one.burst}
                for name, one in numbers.items()
            },
            settings=SETTINGS,
            webhooks=has_webhooks,
            partitions=PARTITIONS,
            session_timeout_s=SESSION_TIMEOUT_S,
            simulator=options,
        )
        self._cluster, self._links, self._limits = kafka, links, numbers
        self._doors = {name: pair.client for name, pair in zip(INGRESSES, choose_ports(len(INGRESSES)), strict=True)}
        self._api_links: dict[str, int] = {}
        self._wanted: dict[str, Worker] = {}
        self.exits: list[Exit] = []

    # -- workers -----------------------------------------------------------------------------------------------------
    def spawn(self, role: str, name: str | None = None) -> None:
        """Start a role, and again whenever it ends, until `dismiss`."""
        name = name or role
        self._wanted[name] = Worker(role)
        self._start(name)

    def dismiss(self, name: str) -> None:
        """Send a worker SIGTERM and do not start it again."""
        self._wanted.pop(name, None)
        if self.processes.is_running(name):
            self.processes.kill(name, signal.SIGTERM)

    def take_out(self, name: str) -> None:
        """Send webhooks to another ingress from now on, as a Service without this one among its endpoints would."""
        (other, *_) = (one for one in self.running("ingress") if one != name)
        self._send_webhooks_to(other)

    def put_back(self, name: str) -> None:
        """An ingress is ready: webhooks may come to it again."""
        if name in INGRESSES:
            self._send_webhooks_to(name)

    def exit_code(self, name: str, *, since_s: float) -> int | None:
        """How a worker ended after that time; None: it did not."""
        return next((one.code for one in self.exits if one.name == name and one.at_s >= since_s), None)

    def signal(self, name: str, sig: int) -> int:
        """Send a worker a signal and go on; returns its pid."""
        self.processes.kill(name, sig)
        return self.processes.pid(name)

    def is_running(self, name: str) -> bool:
        """Whether the worker has a process now."""
        return self.processes.is_running(name)

    def running(self, role: str) -> list[str]:
        """Names of the workers of a role that run now."""
        return [name for name, one in self._wanted.items() if one.role == role and self.is_running(name)]

    def supervise(self) -> None:
        """Note who ended and start again what is due.

        Raises:
            AssertionError: the simulator ended: nothing can be judged any more.
        """
        for name, code in self.processes.poll().items():
            self.exits.append(Exit(monotonic(), name, code))
            assert name != SIMULATOR, f"the simulator exited with {code}\n{self._tail(name)}"
            worker = self._wanted.get(name)
            if worker is not None:
                worker.wait_s = restart_wait_s(worker.wait_s, monotonic() - worker.started_s)
                worker.due_s = monotonic() + worker.wait_s
        for name, worker in self._wanted.items():
            if worker.due_s is not None and monotonic() >= worker.due_s:
                self._start(name)

    def check_running(self) -> None:
        """Workers may end here: they are started again."""
        self.supervise()

    def events(self) -> list[dict[str, Any]]:
        """As `World`; a reader that a broker's end confused is replaced, and reads from the beginning."""
        give_up_at = monotonic() + READ_TIMEOUT_S
        while True:
            try:
                return super().events()
            except (KafkaException, AssertionError):
                if monotonic() >= give_up_at:
                    raise
                self._events.clear()
                self._reader = TopicReader(self.kafka, self.topic("outbound-events"))

    def api_link(self, name: str) -> str:
        """Name of a worker's link to the API."""
        return f"{name}/api"

    def logs_of(self, name: str) -> list[Path]:
        """All logs of a worker, oldest first."""
        old = sorted(self._folder.glob(f"{name}.[0-9]*.log"))
        return [path for path in (*old, self._log(name)) if path.exists()]

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory of each worker that runs."""
        found = {}
        for name in self._wanted:
            try:
                status = Path(f"/proc/{self.processes.pid(name)}/status").read_text()
            except (OSError, KeyError):
                continue
            lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
            if lines:
                found[name] = int(lines[0].split()[1]) * 1024
        return found

    # -- inside ------------------------------------------------------------------------------------------------------
    def _send_webhooks_to(self, ingress: str) -> None:
        url = f"http://{HOST}:{self._doors[ingress]}/webhook/{{number}}"
        self.api.control(settings={"webhook_url": url})

    def _start(self, name: str) -> None:
        worker = self._wanted[name]
        worker.starts += 1
        worker.started_s, worker.due_s = monotonic(), None
        log = self._log(name)
        if log.exists():
            log.replace(self._folder / f"{name}.{worker.starts - 1:03d}.log")
        self._ports.pop(name, None)
        argv = ["nice", "-n", str(ROLE_NICENESS), *WAPIPE, "--config", str(self.config), worker.role]
        kept = {key: value for key, value in os.environ.items() if not key.upper().startswith("WAPIPE_")}
        variables = {**kept, "PYTHONPATH": str(ROOT), **self._variables(name)}
        self.processes.spawn(name, argv, variables, log_path=log)

    def _variables(self, name: str) -> dict[str, str]:
        found = {"WAPIPE_HTTP__PORT": "0", "WAPIPE_STORAGE__DATA_DIR": str(self._folder / "data" / name)}
        if name in WORKERS:
            found["WAPIPE_KAFKA__BOOTSTRAP_SERVERS"] = self._cluster.bootstrap_of(name)
            for number, one in self._limits.items():
                base_url = f"http://{HOST}:{self._api_port(name)}" + ("/v24.0" if one.profile == "cloud" else "")
                found[f"WAPIPE_NUMBERS__{number}__BASE_URL"] = base_url
        else:
            found["WAPIPE_INGRESS__PORT"] = str(self._doors[name])
        return found

    def _api_port(self, name: str) -> int:
        port = self._api_links.get(name)
        if port is None:
            port = self._api_links[name] = choose_ports(1)[0].client
            server_port = int(self.api.url.rsplit(":", 1)[1])
            self._links.open(self.api_link(name), port, server_port, is_noted=True)
        return port

    def start_simulator(self, options: Sequence[str]) -> Api:
        """As `Stage`, with the limits of the run's numbers; webhooks are tried until they are taken."""
        api = super().start_simulator(options)
        senders: dict[str, Any] = {
            name: {"rate_per_s": one.rate_per_s, "burst": one.burst} for name, one in self._limits.items()
        }
        api.control(settings={"senders": senders, "webhook_tries": WEBHOOK_TRIES, "webhook_delays_ms": WEBHOOKS_MS})
        return api

    def _write_settings(self) -> None:
        super()._write_settings()
        written, replicas = self.config.read_text(), self._cluster.count
        payloads = f'opt_out_payloads = {{ {STOP_PAYLOAD} = {{ category = "marketing" }} }}\n'
        safety = f"replication_factor = {replicas}\nmin_insync_replicas = {replicas // 2 + 1}\n"
        written = written.replace("[policy]\n", f"[policy]\n{payloads}", 1)
        self.config.write_text(written.replace("[kafka]\n", f"[kafka]\n{safety}", 1))
