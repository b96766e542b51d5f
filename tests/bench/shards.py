"""SHARDS: one number on four lanes and four sender processes: the limit together, and a halt that one of them meets."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pipeline.streams.partition import shard_of
from tests.bench import backlog
from tests.bench.conform import done
from tests.bench.measure import cpu_s
from tests.bench.progress import reach
from tests.bench.rows import Row
from tests.support.campaign import people
from tests.support.world import NUMBER, World

LANES: Final = 4
SECONDS, TAIL_S = 40, 12
"""At the limit, and what is left for the halt."""
SETTLE_S, IDLE_S = 4.0, 5.0
JITTER_S = 0.1
PAUSE_S = 0.25
"""A lane that is silent for so long has heard of the halt: at its share of the rate it sends every few ms."""
HALTED_S = 4.0
WAIT_S = 600.0
THROTTLED = {"code": 130429, "status": 429}
GOAL_PER_S = 1000


def shards(kafka: str, folder: Path, rate_per_s: int) -> Iterator[Row]:
    """One number over 4 lanes and 4 processes: its limit, and how soon all lanes hear of a 429 that one of them met."""
    limit = {"rate_per_s": rate_per_s, "burst": rate_per_s}
    numbers = {NUMBER: {"profile": "cloud", **limit, "partitions": list(range(LANES))}}
    api = ("--latency-ms", "20", "--rate", str(rate_per_s), "--burst", str(rate_per_s))
    with World(kafka, folder, numbers=numbers, simulator=api) as world:
        names = [f"sender-{lane + 1}" for lane in range(LANES)]
        for name in names:
            world.spawn("sender", name)
        world.ready()
        pids = [world.processes.pid(name) for name in names]
        idle_cores = _idle_cores(pids)
        for lane, crowd in enumerate(_crowds()):
            drafts = backlog.admitted(NUMBER, f"s{lane}", crowd, shard=lane)
            backlog.fill(world, "ready-normal", drafts, rate_per_s * (SECONDS + TAIL_S) // LANES, partition=lane)
        used_s, began_s, before = _used(pids), time.monotonic(), done(world)
        reach(world, "all lanes", lambda: done(world), rate_per_s * SECONDS, WAIT_S)
        used_s, took_s, taken = _used(pids) - used_s, time.monotonic() - began_s, done(world) - before
        halted = _one_is_refused(world)
        rows, stats = world.api.messages(), world.api.stats()
    free = [row for row in rows if row["t_ns"] < halted["t_ns"]]
    seconds = (free[-1]["t_ns"] - free[0]["t_ns"]) / 1e9
    envelope = rate_per_s * (1 - JITTER_S) + rate_per_s * seconds
    heard = heard_s(rows, halted)
    busy_ms = 1000 * (used_s - idle_cores * took_s) / taken
    yield {
        "rate, messages/s": rate_per_s,
        "lanes and processes": LANES,
        "messages": len(free),
        "refused by the limit": sum(row["status"] == 429 and not row["fault"] for row in free),
        "excess": round(stats["senders"][NUMBER]["excess"], 2),
        "used of the limit": round(len(free) / envelope, 4),
        "halt: last request of each other lane, s": " ".join(f"{one:.2f}" for one in heard.values()),
        "cores of all senders, idle": round(idle_cores, 3),
        "cores of all senders, busy": round(used_s / took_s, 3),
        "CPU ms per message beyond that": round(busy_ms, 3),
        f"cores at {GOAL_PER_S}/s, reckoned": round(idle_cores + busy_ms * GOAL_PER_S / 1000, 2),
        "API late at worst, s": round(stats["max_lag_s"], 3),
    }


def _crowds() -> list[list[str]]:
    everybody = people(4000)
    return [[one for one in everybody if shard_of(one, LANES) == lane] for lane in range(LANES)]


def _used(pids: Sequence[int]) -> float:
    return sum(map(cpu_s, pids))


def _idle_cores(pids: Sequence[int]) -> float:
    time.sleep(SETTLE_S)
    used = _used(pids)
    time.sleep(IDLE_S)
    return (_used(pids) - used) / IDLE_S


def _one_is_refused(world: World) -> dict[str, Any]:
    """Let the API refuse one message on lane 0 for the number's rate; its row in the ledger."""
    victim = next(one for one in people(1000, start=9000) if shard_of(one, LANES) == 0)
    world.api.control(force={victim: THROTTLED})
    urgent = backlog.admitted(NUMBER, "halt", [victim], category="authentication")
    backlog.fill(world, "ready-urgent", urgent, 1, partition=0)

    def refusals() -> list[dict[str, Any]]:
        return [row for row in world.api.messages() if _to(row) == victim and row["status"] == THROTTLED["status"]]

    world.until(lambda: bool(refusals()), "the refusal", WAIT_S)
    time.sleep(HALTED_S)
    return refusals()[0]


def _to(row: dict[str, Any]) -> str:
    to: str = row["to"]
    return to.removeprefix("+")


def heard_s(rows: Sequence[dict[str, Any]], halted: dict[str, Any]) -> dict[int, float]:
    """Seconds from a refusal to the last request of each other lane before it paused; inf: it never did."""
    times: dict[int, list[int]] = {lane: [] for lane in range(LANES)}
    for row in rows:
        if row["t_ns"] >= halted["t_ns"]:
            times[shard_of(_to(row), LANES)].append(row["t_ns"])
    own = shard_of(_to(halted), LANES)
    return {lane: _last_s(halted["t_ns"], of_lane) for lane, of_lane in times.items() if lane != own}


def _last_s(since_ns: int, times_ns: list[int]) -> float:
    for last, after in pairwise([since_ns, *times_ns]):
        if (after - last) / 1e9 >= PAUSE_S:
            return (last - since_ns) / 1e9
    return float("inf")
