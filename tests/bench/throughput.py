"""W1: what a message costs when nothing holds it back, at an API that answers at once and at one that takes 50 ms."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import cpu_s, peak_mib
from tests.bench.progress import reach
from tests.bench.reference import end, start, start_cpu_s
from tests.bench.rows import Row
from tests.support.campaign import Ids, Request, asked, campaign, people
from tests.support.judge import judge
from tests.support.world import NUMBER, World

LATENCIES_MS = (0, 50)
IN_FLIGHT = 64
"""As many as the loop has: at 50 ms neither gets above 1,280/s."""
OPEN = {NUMBER: {"profile": "v1", "rate_per_s": 20_000, "burst": 4_000, "max_in_flight": IN_FLIGHT}}
WAIT_S = 600.0


@dataclass(slots=True)
class Cost:
    """What a process used for a number of messages."""

    count: int
    wall_s: float
    used_s: float
    mib: float
    connections: int = 0

    @property
    def ms(self) -> float:
        """CPU milliseconds per message."""
        return 1000 * self.used_s / self.count

    def row(self, what: str, latency_ms: int, loop: Cost, order: int | None) -> Row:
        """As a row, beside the loop's."""
        return {
            "what": what,
            "latency, ms": latency_ms,
            "messages/s": round(self.count / self.wall_s),
            "CPU-s per 1,000": round(self.ms, 3),
            "per CPU-second": round(1000 / self.ms),
            "CPU / loop": round(self.ms / loop.ms, 2),
            "peak MiB": round(self.mib),
            "connections": self.connections or None,
            "order violations": order,
        }


def w1(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Open throttle: what a message costs gate and sender, against a plain loop on the same machine."""
    for latency_ms in LATENCIES_MS:
        where = folder / str(latency_ms)
        where.mkdir()
        with World(kafka, where, numbers=OPEN, simulator=("--latency-ms", str(latency_ms))) as world:
            world.api.control(settings={"enforce": False})
            crowd = people(2000)
            requests = campaign(count, [NUMBER], crowd, Ids())
            gate = _gate(world, requests, crowd)
            sender = _sender(world, count)
            sender_order = _order(world, requests)
            world.api.control(reset=True)
            loop = _loop(world, count)
            yield gate.row("gate", latency_ms, loop, None)
            yield sender.row("sender", latency_ms, loop, sender_order)
            yield loop.row("loop", latency_ms, loop, _order(world, requests))


def _gate(world: World, requests: list[Request], crowd: list[str]) -> Cost:
    world.spawn("gate")
    world.ready("gate")
    world.grant(crowd, WAIT_S)
    pid = world.processes.pid("gate")
    used = cpu_s(pid)
    world.produce(requests)
    wall_s = reach(world, "gate", lambda: world.count("ready-normal"), len(requests), WAIT_S)
    cost = Cost(len(requests), wall_s, cpu_s(pid) - used, peak_mib(pid))
    world.kill("gate", 15)
    return cost


def _sender(world: World, count: int) -> Cost:
    world.spawn("sender")
    pid = world.processes.pid("sender")
    world.ready("sender")
    used = cpu_s(pid)
    wall_s = reach(world, "sender", lambda: world.count("outbound-events"), 2 * count, WAIT_S)
    cost = Cost(count, wall_s, cpu_s(pid) - used, peak_mib(pid), _connections(world))
    world.kill("sender", 15)
    return cost


def _loop(world: World, count: int) -> Cost:
    """The loop goes on without a count, so that its connections are there to be counted; its start is taken off."""
    child = start(world)
    try:
        began_s = time.monotonic()
        reach(world, "loop", lambda: world.api.stats()["accepted"], count, WAIT_S)
        took_s = time.monotonic() - began_s
        return Cost(count, took_s, cpu_s(child.pid) - start_cpu_s(), peak_mib(child.pid), _connections(world))
    finally:
        end(child)


def _connections(world: World) -> int:
    """To the API, without the one that asks."""
    connections: int = world.api.stats()["connections"]
    return connections - 1


def _order(world: World, requests: list[Request]) -> int:
    rows, stats = world.api.messages(), world.api.stats()
    return judge([asked(one) for one in requests], rows, [], stats).order_violations
