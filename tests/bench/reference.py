"""The plain loop, run and measured: what a figure of time is a ratio to."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from tests.bench.measure import cpu_s
from tests.support.stage import ROOT, START_TIMEOUT_S
from tests.support.world import World

LOOK_S = 0.05


def start_cpu_s() -> float:
    """CPU-seconds that the plain loop takes to start: with few messages they would count as theirs."""
    before = _children_cpu_s()
    subprocess.run([sys.executable, "-c", "import tests.bench.loop"], cwd=ROOT, check=True, timeout=START_TIMEOUT_S)
    return _children_cpu_s() - before


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plain_loop(world: World, count: int) -> tuple[float, float]:
    """Post the first `count` requests of a world with the plain loop.

    Returns:
        Seconds, and CPU-seconds.
    """
    argv = [sys.executable, "-m", "tests.bench.loop", world.kafka, world.topic("outbound-requests")]
    child = subprocess.Popen([*argv, f"{world.api.url}/v1/messages", str(count)], cwd=ROOT)
    began, used = time.monotonic(), 0.0
    while child.poll() is None:
        used = cpu_s(child.pid)
        time.sleep(LOOK_S)
    return time.monotonic() - began, used
