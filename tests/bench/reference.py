"""The plain loop, run and measured: what a figure of time is a ratio to."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.measure import cpu_s
from tests.support.stage import ROLE_NICENESS, ROOT, START_TIMEOUT_S, STOP_TIMEOUT_S
from tests.support.world import World

LOOK_S = 0.05
ROLE_PATH = "/v1/messages"


def start_cpu_s() -> float:
    """CPU-seconds that the plain loop takes to start: with few messages they would count as theirs."""
    before = _children_cpu_s()
    subprocess.run([sys.executable, "-c", "import tests.bench.loop"], cwd=ROOT, check=True, timeout=START_TIMEOUT_S)
    return _children_cpu_s() - before


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plain_loop(world: World, count: int) -> tuple[float, float]:
    """Post the first `count` requests of a world with the plain loop, without a limit.

    Returns:
        Seconds, and CPU-seconds.
    """
    child = start(world, count)
    began, used = time.monotonic(), 0.0
    while child.poll() is None:
        used = cpu_s(child.pid)
        time.sleep(LOOK_S)
    return time.monotonic() - began, used


def start(world: World, count: int = 0, *limit: float, topic: str = "outbound-requests") -> subprocess.Popen[bytes]:
    """Start a plain loop.

    Args:
        count: It ends after so many requests; 0: when it is ended.
        limit: Rate per second and burst; without: none.
    """
    niceness = ["nice", "-n", str(ROLE_NICENESS)]  # as the roles
    argv = [
        *niceness, sys.executable, "-m", "tests.bench.loop", world.kafka, world.topic(topic), world.api.url + ROLE_PATH,
    ]  # fmt: skip
    return subprocess.Popen([*argv, str(count), *map(str, limit)], cwd=ROOT)


@contextmanager
def plain_loops(world: World, workers: int, *limit: float) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many plain loops of one group, each of which believes in the whole limit; ended at the end."""
    children = [start(world, 0, *limit) for _ in range(workers)]
    try:
        yield children
    finally:
        for child in children:
            end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a plain loop as a supervisor does."""
    child.terminate()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(STOP_TIMEOUT_S)
