"""W12 and W12NUMBERS: what grows with the backlog or with the numbers, and what must not.

The same few thousand messages are measured in front of each backlog, and the plain loop's right after: CPU is compared
as multiples of the loop's, so that how fast the machine is at the moment is taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.bench import backlog
from tests.bench.conform import done
from tests.bench.measure import cpu_s, peak_mib, rss_mib
from tests.bench.progress import reach
from tests.bench.reference import end, start
from tests.bench.rows import Row
from tests.bench.throughput import OPEN
from tests.support.stage import Stage
from tests.support.world import NUMBER, World

PARTS: Final = (500, 50, 5, 1)
"""Backlogs, as parts of the largest."""
WARM_PART, MEASURED_PART = 5, 2
"""Of the smallest backlog: sent before the measurement, sent in it."""
NUMBER_PARTS: Final = (100, 10, 1)
RATE_PER_S = 10
BURST = 20
MARGIN = 1.0
SECONDS = 60
SENDERS: Final = ("sender-1", "sender-2")
LATENCY_MS = "20"
WAIT_S = 1800.0


def w12(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Growth: CPU per message and memory, by backlog, on one number."""
    smallest = max(1000, count // PARTS[0])
    for part in PARTS:
        waiting = max(smallest, count // part)
        where = folder / f"backlog-{part}"
        where.mkdir()
        with World(kafka, where, numbers=OPEN, simulator=("--latency-ms", "0")) as world:
            yield _behind(world, waiting, smallest // WARM_PART, smallest // MEASURED_PART)


def w12_numbers(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Growth: CPU per message, memory and each number's own limit, by numbers of 10/s each, on two senders.

    Without the loop: it has one limit for all that it reads.
    """
    for numbers in sorted({max(1, count // part) for part in NUMBER_PARTS}):
        where = folder / f"numbers-{numbers}"
        where.mkdir()
        yield _numbers(kafka, where, numbers)


def _behind(world: World, waiting: int, warm: int, measured: int) -> Row:
    """Gate, sender and loop, one after the other, each in front of the whole backlog."""
    world.api.control(settings={"enforce": False})
    world.spawn("gate")
    world.ready(timeout_s=WAIT_S)
    world.grant(backlog.CROWD, WAIT_S)
    world.kill("gate", 15)
    backlog.fill(world, "outbound-requests", backlog.requests(NUMBER, "g"), waiting)
    backlog.fill(world, "ready-bulk", backlog.admitted(NUMBER, "s", category="marketing"), waiting, partition=0)
    gate = _role(world, "gate", lambda: world.count("ready-normal"), warm, measured)
    world.api.control(reset=True)
    sender = _role(world, "sender", lambda: done(world), warm, measured)
    world.api.control(reset=True)
    child = start(world)
    try:
        loop_ms = _per_message_ms(world, "loop", child.pid, lambda: done(world), warm, measured)
        loop_mib = rss_mib(child.pid)
    finally:
        end(child)
    return {
        "backlog": waiting,
        "gate CPU ms": round(gate[0], 3),
        "gate / loop": round(gate[0] / loop_ms, 2),
        "gate MiB": round(gate[1]),
        "sender CPU ms": round(sender[0], 3),
        "sender / loop": round(sender[0] / loop_ms, 2),
        "sender MiB": round(sender[1]),
        "loop CPU ms": round(loop_ms, 3),
        "loop MiB": round(loop_mib),
    }


def _role(world: World, role: str, count: Callable[[], int], warm: int, measured: int) -> tuple[float, float]:
    """CPU milliseconds per message, and peak MiB after all of them."""
    world.spawn(role)
    pid = world.processes.pid(role)
    cost_ms = _per_message_ms(world, role, pid, count, warm, measured)
    mib = peak_mib(pid)
    world.kill(role, 15)
    return cost_ms, mib


def _per_message_ms(stage: Stage, what: str, pid: int, count: Callable[[], int], warm: int, measured: int) -> float:
    reach(stage, f"{what}, warm", count, warm, WAIT_S)
    used, before = cpu_s(pid), count()
    reach(stage, what, count, before + measured, WAIT_S)
    used, after = cpu_s(pid) - used, count()
    return 1000 * used / (after - before)


def _numbers(kafka: str, folder: Path, numbers: int) -> Row:
    """So many numbers, each with its own backlog of a minute at its limit."""
    ids = [str(int(NUMBER) + n) for n in range(numbers)]
    settings = {one: {"profile": "cloud", "rate_per_s": RATE_PER_S, "burst": BURST} for one in ids}
    each = BURST + RATE_PER_S * SECONDS
    limit = ("--latency-ms", LATENCY_MS, "--rate", str(RATE_PER_S), "--burst", str(BURST))
    with World(kafka, folder, numbers=settings, simulator=limit) as world:
        for lane, one in enumerate(ids):
            backlog.fill(world, "ready-normal", backlog.admitted(one, f"n{lane}"), each, partition=lane)
        for name in SENDERS:
            world.spawn(name.split("-")[0], name)
        pids = [world.processes.pid(name) for name in SENDERS]
        reach(world, f"{numbers} numbers, begun", lambda: len(world.api.stats()["senders"]), numbers, WAIT_S)
        used, before = sum(map(cpu_s, pids)), done(world)
        took_s = reach(world, f"{numbers} numbers", lambda: done(world), each * numbers, WAIT_S)
        used, after = sum(map(cpu_s, pids)) - used, done(world)
        mib = [peak_mib(pid) for pid in pids]
        stats = world.api.stats()
    senders = stats["senders"].values()
    shares = [_used(one) for one in senders]
    return {
        "numbers": numbers,
        "messages": each * numbers,
        "cores of both senders": round(used / took_s, 3),
        "CPU ms per message": round(1000 * used / max(1, after - before), 3),
        "sender MiB": round(max(mib)),
        "numbers above their limit": sum(one["excess"] > 0 for one in senders),
        "refused": sum(sum(one["refused"].values()) for one in senders),
        "worst excess": round(max(one["excess"] for one in senders), 2),
        "used of the limit, worst": round(min(shares), 4),
        "used of the limit, mean": round(sum(shares) / len(shares), 4),
        "API late at worst, s": round(stats["max_lag_s"], 3),
    }


def _used(sender: dict[str, float]) -> float:
    seconds = (sender["last_ns"] - sender["first_ns"]) / 1e9
    return sender["accepted"] / (BURST - MARGIN + RATE_PER_S * seconds)
