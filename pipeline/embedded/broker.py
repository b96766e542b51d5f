"""A real Apache Kafka in KRaft mode on loopback: one broker for a laptop, three for fault tests.

Enters: a data folder. Leaves: a bootstrap address, until `stop`. Runs in the caller's thread, which must be the main
one (see `processes.py`); every wait is bounded. Each broker is a JVM of its own, in combined mode (broker and
controller). The folder keeps cluster id, ports and records between starts; a new one is formatted first.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from pipeline.embedded.archive import archive_path, ensure_archive
from pipeline.embedded.jars import ensure_jars, find_program
from pipeline.embedded.layout import (
    BROKER_COUNTS,
    HOST,
    ClusterPlan,
    choose_ports,
    is_port_free,
    load_plan,
    new_cluster_id,
    plan_to_json,
    render_properties,
    server_properties,
)
from pipeline.embedded.locks import FileLock
from pipeline.embedded.processes import Processes
from pipeline.embedded.ready import wait_until_ready
from pipeline.errors import BrokerUnreachable, ConfigError

START_TIMEOUT_S = 90.0  # a loaded machine of two cores takes 20 s for three brokers
STOP_TIMEOUT_S = 15.0
FORMAT_TIMEOUT_S = 60.0
# Writing the class archive is the last thing a JVM does: 5 s on an idle machine.
ARCHIVE_TIMEOUT_S = 120.0
# A predecessor that was killed lets go of its lock and ports within a moment.
PREDECESSOR_WAIT_S = 3.0
HEAP_MB = 384
LOG_TAIL_BYTES = 4096
LOG_TAIL_LINES = 15
_JVM_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


class EmbeddedKafka:
    """Kafka brokers on loopback. Use it as a context manager, or call `start` and `stop`.

    Args:
        data_dir: Keeps everything between starts; made when missing; one user at a time.
        brokers: 1 (replication 1) or 3 (replication 3, `min.insync.replicas` 2).
        heap_mb: Heap of each JVM in megabytes.
        properties: Kafka properties that win over ours.
        jvm_options: Further options for the brokers' JVMs; None means those for a fast start.

    Raises:
        ConfigError: `brokers` is another number, or Kafka cannot take the folder's name.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        brokers: int = 1,
        heap_mb: int = HEAP_MB,
        properties: Mapping[str, str] | None = None,
        jvm_options: Sequence[str] | None = None,
    ) -> None:
        if brokers not in BROKER_COUNTS:
            raise ConfigError(f"the embedded broker runs as 1 or 3 brokers, not {brokers}")
        self._data_dir = data_dir.absolute()
        if "," in str(self._data_dir):
            raise ConfigError(f"Kafka cannot use a data folder with a comma in its name: {self._data_dir}")
        self._count, self._heap_mb = brokers, heap_mb
        self._properties = dict(properties or {})
        self._jvm_options = jvm_options
        self._lock = FileLock(self._data_dir / "lock")
        self._processes = Processes()
        self._plan: ClusterPlan | None = None
        self._java: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Value for `bootstrap.servers`: all brokers, those that are down included.

        Raises:
            RuntimeError: Never started.
        """
        return self._known_plan.bootstrap

    @property
    def pids(self) -> dict[int, int]:
        """Pid by index of the brokers that run now."""
        names = {index: self._name(index) for index in range(self._count)}
        return {i: self._processes.pid(name) for i, name in names.items() if self._processes.is_running(name)}

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start all brokers and wait until each answers a metadata request that names all of them.

        The first start of all also gets the jars and makes the class archive: their own limits apply to that.

        Args:
            timeout_s: Longest wait for the brokers once they have been started.

        Raises:
            ConfigError: Java or Maven is missing or too old, or the data folder is in use or for another number of
                brokers.
            BrokerUnreachable: A broker exited or was not ready in time; the message has its last log lines.
            RuntimeError: Not called from the main thread, or started already.
        """
        if self._processes.names:
            raise RuntimeError("the embedded broker is started already")
        # Step 1: what may take long and needs nothing of this folder.
        class_path = ensure_jars()
        self._java = self._java_command(class_path)
        # Step 2: the folder is ours from here on; whatever fails lets go of it again.
        if not self._lock.acquire(PREDECESSOR_WAIT_S):
            raise ConfigError(f"another process runs a broker on {self._data_dir}: end it, or use another folder")
        try:
            # Step 3: ports as late as possible, so that nobody takes them in between.
            self._plan = self._make_plan()
            self._write_properties(self._plan)
            self._format_new(range(self._count))
            # Step 4: all JVMs at once; none is ready before two of three are.
            for index in range(self._count):
                self._spawn(index)
            give_up_at = time.monotonic() + timeout_s
            for index in range(self._count):
                self._wait_ready(index, self._count, give_up_at - time.monotonic())
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End all brokers: SIGTERM, and SIGKILL after `timeout_s` seconds. Nothing happens if none runs."""
        try:
            self._processes.stop_all(timeout_s)
        finally:
            self._lock.release()

    def kill(self, index: int) -> None:
        """SIGKILL one broker and wait until it is gone, as a crash would have it."""
        self._processes.kill(self._name(index))
        self._processes.wait(self._name(index), STOP_TIMEOUT_S)

    def stop_broker(self, index: int, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End one broker in good order; SIGKILL after `timeout_s` seconds."""
        self._processes.stop(self._name(index), timeout_s)

    def start_broker(self, index: int, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start one broker again, on its ports and records, and wait until it answers a metadata request.

        Raises:
            BrokerUnreachable: It exited or was not ready in time; the message has its last log lines.
            ValueError: It is running.
            RuntimeError: Not called from the main thread, or the cluster was never started.
        """
        plan = self._known_plan
        self._spawn(index)
        self._wait_ready(index, min(2, len(plan.brokers)), timeout_s)

    def check(self) -> None:
        """See whether every broker runs that nobody stopped.

        Raises:
            BrokerUnreachable: One exited; the message has its last log lines.
        """
        for name, code in self._processes.poll().items():
            raise BrokerUnreachable(f"{name} exited with {code}; its log ends with:\n{self._log_tail(name)}")

    def log_path(self, index: int) -> Path:
        """Where this broker's stdout, stderr and warnings go."""
        return self._log_path(self._name(index))

    @property
    def _known_plan(self) -> ClusterPlan:
        if self._plan is None:
            raise RuntimeError("the embedded broker has not been started yet")
        return self._plan

    @staticmethod
    def _name(index: int) -> str:
        return f"broker-{index + 1}"

    def _log_path(self, name: str) -> Path:
        return self._data_dir / name / "broker.log"

    def _kafka_dir(self, index: int) -> Path:
        return self._data_dir / self._name(index) / "kafka"

    def _properties_path(self, index: int) -> Path:
        return self._data_dir / self._name(index) / "server.properties"

    def _java_command(self, class_path: str) -> list[str]:
        java = find_program("java")
        options = [*_JVM_OPTIONS, f"-Xmx{self._heap_mb}m"]
        if self._jvm_options is None:
            archive = archive_path(Path(java).resolve(), class_path)
            if ensure_archive(archive, _train):
                options += ["-Xshare:auto", f"-XX:SharedArchiveFile={archive}"]
        return [java, *options, "-cp", class_path]

    def _make_plan(self) -> ClusterPlan:
        """The folder's plan, or a new one; ports that another program took in the meantime are chosen anew."""
        path = self._data_dir / "broker.json"
        kept = load_plan(path, self._count)
        if kept is not None and self._are_ports_free(kept):
            return kept
        cluster_id = kept.cluster_id if kept is not None else new_cluster_id()
        plan = ClusterPlan(cluster_id, choose_ports(self._count))
        fresh = path.with_suffix(".new")
        fresh.write_text(plan_to_json(plan))
        fresh.replace(path)
        return plan

    @staticmethod
    def _are_ports_free(plan: ClusterPlan) -> bool:
        ports = [port for pair in plan.brokers for port in (pair.client, pair.controller)]
        give_up_at = time.monotonic() + PREDECESSOR_WAIT_S
        while not all(is_port_free(port) for port in ports):
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(0.1)
        return True

    def _write_properties(self, plan: ClusterPlan) -> None:
        for index in range(self._count):
            path = self._properties_path(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            values = server_properties(plan, index, self._kafka_dir(index), self._properties)
            path.write_text(render_properties(values))

    def _format_new(self, indexes: Sequence[int]) -> None:
        """Format the folders of brokers that never ran, side by side; one begun and not ended is done over."""
        new = {f"format-{i + 1}": i for i in indexes if not (self._kafka_dir(i) / "formatted").exists()}
        for name, index in new.items():
            tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", self._known_plan.cluster_id]
            argv = [*self._java, *tool, "-c", str(self._properties_path(index))]
            self._processes.spawn(name, argv, log_path=self._log_path(self._name(index)))
        for name, index in new.items():
            code = self._processes.wait(name, FORMAT_TIMEOUT_S)
            tail = self._log_tail(self._name(index))
            if code != 0 and "UnsupportedClassVersionError" in tail:
                raise ConfigError("this Java is too old for Kafka 4: install Java 17 or newer")
            if code != 0:
                raise BrokerUnreachable(f"Kafka could not format its folder (exit {code}):\n{tail}")
            (self._kafka_dir(index) / "formatted").touch()

    def _spawn(self, index: int) -> None:
        argv = [*self._java, "kafka.Kafka", str(self._properties_path(index))]
        argv[1:1] = self._jvm_options or ()
        self._processes.spawn(self._name(index), argv, log_path=self.log_path(index))

    def _wait_ready(self, index: int, brokers_min: int, timeout_s: float) -> None:
        address = f"{HOST}:{self._known_plan.brokers[index].client}"
        if not wait_until_ready(address, brokers_min, timeout_s, self.check):
            name = self._name(index)
            raise BrokerUnreachable(
                f"{name} was not ready after {timeout_s:.0f} s; its log ends with:\n{self._log_tail(name)}"
            )

    def _log_tail(self, name: str) -> str:
        with self._log_path(name).open("rb") as log:
            log.seek(max(log.seek(0, 2) - LOG_TAIL_BYTES, 0))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


def _train(archive: Path) -> None:
    """Run Kafka once on a throw-away folder so that its JVM leaves a class archive."""
    with tempfile.TemporaryDirectory(prefix="wapipe-") as folder:
        kafka = EmbeddedKafka(Path(folder), jvm_options=[f"-XX:ArchiveClassesAtExit={archive}"])
        kafka.start()
        kafka.stop(ARCHIVE_TIMEOUT_S)
