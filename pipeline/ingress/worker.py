"""One of several ingress processes: the entry of the child, and what it tells its parent.

Started as `python -m pipeline.ingress.worker FD PORT INDEX LEVEL` by `workers.py`, never by hand. The parent sends the
settings through the socket `FD` once, and nothing more: when it becomes readable again, the parent is gone.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import sys
from typing import Final

import orjson
import structlog
import uvloop

from pipeline.config import Settings
from pipeline.errors import PipelineError
from pipeline.ingress.process import Ingress
from pipeline.logs import configure
from pipeline.tracing import OFF, Tracing, tracing_of

REPORT_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


def main(fd: int, port: int, index: int, level: str) -> int:
    """Run one ingress in this process; returns its exit code.

    Args:
        fd: Socket to the parent.
        port: The one that all workers listen on.
        index: Which worker it is.
        level: Lowest level that is logged.
    """
    instance = f"{socket.gethostname()}:{os.getpid()}"
    configure("ingress", instance, level)
    with socket.socket(fileno=fd) as parent:
        with parent.makefile("rb") as received:
            settings: Settings = pickle.load(received)  # noqa: S301  from the process that started this one
        tracing = OFF
        try:
            tracing = tracing_of("ingress", instance)
            return uvloop.run(_run(settings, port, index, parent, tracing))
        except PipelineError as exc:
            log.error("worker_failed", error=str(exc))  # noqa: TRY400  the error is a sentence for an operator
            return exc.exit_code
        finally:
            tracing.close()


async def _run(settings: Settings, port: int, index: int, parent: socket.socket, tracing: Tracing) -> int:
    ingress = Ingress(settings, port, index, is_shared=True, tracing=tracing)
    loop = asyncio.get_running_loop()

    def orphaned() -> None:
        loop.remove_reader(parent)
        ingress.stop()

    loop.add_reader(parent, orphaned)
    reports = asyncio.create_task(_report(ingress, parent))
    try:
        return await ingress.run()
    finally:
        loop.remove_reader(parent)
        reports.cancel()


async def _report(ingress: Ingress, parent: socket.socket) -> None:
    """Say once a second how it is, until cancelled; a parent that does not listen is gone."""
    while True:
        ingress.health.beat()
        report = {"ready": ingress.health.readiness(), "alive": ingress.health.liveness()}
        try:
            parent.sendall(orjson.dumps(report) + b"\n")
        except OSError:
            ingress.stop()
            return
        await asyncio.sleep(REPORT_EVERY_S)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
