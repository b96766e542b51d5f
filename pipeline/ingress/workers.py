"""Several ingress processes on one port: started, watched and ended by a parent that serves nothing but their health.

The kernel shares new connections out among sockets that listen on one port (SO_REUSEPORT, socket(7)). Each worker is a
whole `Ingress` in a process of its own (`worker.py`); it tells the parent once a second how it is, by a socket pair,
and drains when the parent asks it to, or is gone. Metrics come together through prometheus-client's files of several
processes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys
import tempfile
from types import TracebackType
from typing import Any, Final, Self

import orjson
import structlog
from prometheus_client import CollectorRegistry, multiprocess

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import EXIT_CONFIG, EXIT_CRASHED, EXIT_DONE, EXIT_NO_BROKER, ConfigError
from pipeline.health import Health
from pipeline.ingress.worker import REPORT_EVERY_S
from pipeline.metrics import exposition_of

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that makes prometheus-client count in files; a worker finds it set when it starts."""
SILENT_S: Final = 10 * REPORT_EVERY_S
RESTARTS_MAX: Final = 5
RESTARTS_WITHIN_S: Final = 60.0
RESTART_AFTER_S: Final = 1.0
STOP_S: Final = 30.0
"""A worker's drain (15 s), its producer's flush (10 s), and what is left of a turn of its loop."""
FINAL: Final = frozenset({EXIT_NO_BROKER, EXIT_CONFIG})
"""Starting such a worker anew at once would change nothing."""

log = structlog.get_logger(__name__)


class Worker:
    """One process, as its parent sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.heard_s = steady_s()
        self.report: dict[str, Any] = {"ready": {"start": "not yet"}, "alive": {}}

    def stalls(self, now_s: float) -> dict[str, str]:
        """What is wrong with it, by name."""
        silent_s = now_s - self.heard_s
        said: dict[str, str] = self.report["alive"]
        return said if silent_s <= SILENT_S else {**said, "report": f"nothing for {silent_s:.0f} s"}


class Workers:
    """The parent. A context: on its way out every worker is ended.

    Attributes:
        health: Ready when all workers are; alive while all of them report.
        port: Where they listen.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, settings: Settings) -> None:
        self.health = Health(("workers",))
        self._settings = settings
        self._reserved = _reserve(settings.ingress.host, settings.ingress.port)
        self.port: int = self._reserved.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory(prefix="wapipe-ingress-")
        self._workers: dict[int, Worker] = {}
        self._stop = asyncio.Event()
        self._exit_code = EXIT_DONE
        self._restarts_s: list[float] = []

    def __enter__(self) -> Self:
        """Nothing runs before `run`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the port, and remove the files."""
        self._reserved.close()
        self._folder.cleanup()

    def exposition(self) -> bytes:
        """The metrics of all workers together, counters of ended ones included."""
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, self._folder.name)  # type: ignore[no-untyped-call]
        return exposition_of(registry)

    async def run(self, health_port: int) -> int:
        """Run until SIGTERM or SIGINT has drained all workers, or one cannot be kept up; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        ingress = self._settings.ingress
        keepers = [asyncio.create_task(self._keep_up(index)) for index in range(ingress.workers)]
        log.info(
            "ingress_listening", host=ingress.host, port=self.port, path=ingress.path, health_port=health_port,
            workers=len(keepers),
        )  # fmt: skip
        while not self._stop.is_set():
            self._judge(steady_s())
            await _within(self._stop, REPORT_EVERY_S)
        self.health.miss("draining", "asked to stop")
        for worker in self._workers.values():
            _signal(worker.process, signal.SIGTERM)
        _, late = await asyncio.wait(keepers, timeout=STOP_S)
        if late:
            log.error("workers_killed", workers=sorted(self._workers))
            self._exit_code = EXIT_CRASHED
            for worker in self._workers.values():
                _signal(worker.process, signal.SIGKILL)
        await asyncio.gather(*keepers)
        return self._exit_code

    # -- workers -----------------------------------------------------------------------------------------------------
    async def _keep_up(self, index: int) -> None:
        """Run a worker, and another one in its place when it ends unasked, until that was tried too often."""
        while not self._stop.is_set():
            code = await self._run_one(index)
            if self._stop.is_set():
                self._exit_code = self._exit_code or (EXIT_CRASHED if code else EXIT_DONE)
                return
            now_s = steady_s()
            self._restarts_s = [at for at in self._restarts_s if now_s - at < RESTARTS_WITHIN_S] + [now_s]
            if code in FINAL or len(self._restarts_s) > RESTARTS_MAX:
                log.error("worker_given_up", worker=index, exit_code=code)
                self._exit_code = code if code in FINAL else EXIT_CRASHED
                self._stop.set()
                return
            log.error("worker_restarted", worker=index, exit_code=code)
            await _within(self._stop, RESTART_AFTER_S)

    async def _run_one(self, index: int) -> int:
        """Run one process to its end; returns its exit code."""
        ours, theirs = socket.socketpair()
        level = logging.getLevelName(logging.getLogger().level)
        told = (str(theirs.fileno()), str(self.port), str(index), level)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pipeline.ingress.worker", *told,
                pass_fds=(theirs.fileno(),), env={**os.environ, METRICS_FOLDER: self._folder.name},
            )  # fmt: skip
        self._workers[index] = worker = Worker(process)
        reader, writer = await asyncio.open_connection(sock=ours)
        if self._stop.is_set():
            _signal(process, signal.SIGTERM)
        try:
            writer.write(pickle.dumps(self._settings))
            async for line in reader:
                worker.report = orjson.loads(line)
                worker.heard_s = steady_s()
        except ConnectionError:
            pass  # it has ended; its exit code says how
        finally:
            writer.close()
        code = await process.wait()
        del self._workers[index]
        multiprocess.mark_process_dead(process.pid, self._folder.name)  # type: ignore[no-untyped-call]
        return code

    def _judge(self, now_s: float) -> None:
        """Tell the parent's health what the workers said last."""
        unready = {} if len(self._workers) == self._settings.ingress.workers else {"workers": "not all are running"}
        for index, worker in self._workers.items():
            name, stalls = f"worker {index}", worker.stalls(now_s)
            unready |= {f"{name}, {condition}": why for condition, why in worker.report["ready"].items()}
            if stalls:
                self.health.report_stall(name, _joined(stalls))
            else:
                self.health.clear_stall(name)
        if unready:
            self.health.miss("workers", _joined(unready))
        else:
            self.health.meet("workers")


def _joined(reasons: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in reasons.items())


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def _reserve(host: str, port: int) -> socket.socket:
    """Take a port for the workers without listening on it, so that `port = 0` is one number for all of them.

    Raises:
        ConfigError: it is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    reserved = socket.socket(family, kind, protocol)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as exc:
        reserved.close()
        raise ConfigError(
            f"ingress.port: cannot listen on {host}:{port} ({exc.strerror or exc}); choose another ingress.port"
        ) from exc
    return reserved
