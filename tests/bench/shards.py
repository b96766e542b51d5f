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
BURST_S = 2.0
"""After so long a lane has spent its burst."""
SPELL: Final = {"kind": "429", "for_s": 0.004, "since": "now", "retry_after": 3}
TRIES = 10
HIT_S, HALTED_S = 0.3, 5.0
PAUSE_S = 0.5
"""A lane that is silent for so long has heard of the halt: at its share of the rate it sends every few ms."""
WAIT_S = 600.0
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
        world.ready(timeout_s=WAIT_S)
        pids = [world.processes.pid(name) for name in names]
        idle_cores = _idle_cores(pids)
        for lane, crowd in enumerate(_crowds()):
            drafts = backlog.admitted(NUMBER, f"s{lane}", crowd, shard=lane)
            backlog.fill(world, "ready-normal", drafts, rate_per_s * (SECONDS + TAIL_S) // LANES, partition=lane)
        used_s, began_s, before = _used(pids), time.monotonic(), done(world)
        reach(world, "all lanes", lambda: done(world), rate_per_s * SECONDS, WAIT_S)
        used_s, took_s, taken = _used(pids) - used_s, time.monotonic() - began_s, done(world) - before
        halted_ns = _some_are_refused(world)
        rows, stats = world.api.messages(), world.api.stats()
    counted, seconds = steady(rows, halted_ns)
    heard = heard_s(rows, halted_ns)
    busy_ms = 1000 * (used_s - idle_cores * took_s) / taken
    yield {
        "rate, messages/s": rate_per_s,
        "lanes and processes": LANES,
        "messages": counted,
        "refused by the limit": sum(row["status"] == 429 and not row["fault"] for row in rows),
        "excess": round(stats["senders"][NUMBER]["excess"], 2),
        "used of rate·t, once all lanes run": round(counted / (rate_per_s * seconds), 4),
        "halt: last request of lanes that met no 429, s": " ".join(f"{one:.2f}" for one in heard.values()) or "none",
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


def _some_are_refused(world: World) -> int:
    """Let the API refuse what comes within a few milliseconds; when it first did, ns on its clock."""
    for _ in range(TRIES):
        world.api.control(spell=SPELL)
        time.sleep(HIT_S)
        refused: list[int] = [row["t_ns"] for row in world.api.messages() if row["fault"]]
        if refused:
            time.sleep(HALTED_S)
            return min(refused)
    raise AssertionError(f"no request came within {TRIES} spells of {SPELL['for_s']} s")


def _lane(row: dict[str, Any]) -> int:
    return shard_of(str(row["to"]).removeprefix("+"), LANES)


def steady(rows: Sequence[dict[str, Any]], until_ns: int) -> tuple[int, float]:
    """Requests, and seconds, from when all lanes had begun and spent their bursts."""
    first = {_lane(row): row["t_ns"] for row in reversed(rows)}
    from_ns = max(first.values()) + round(BURST_S * 1e9)
    counted = sum(from_ns <= row["t_ns"] < until_ns for row in rows)
    return counted, (until_ns - from_ns) / 1e9


def heard_s(rows: Sequence[dict[str, Any]], halted_ns: int) -> dict[int, float]:
    """Seconds from the first refusal to the last request before its pause of each lane that met none; inf: no pause."""
    met = {_lane(row) for row in rows if row["fault"]}
    return {
        lane: _last_s(halted_ns, [row["t_ns"] for row in rows if row["t_ns"] >= halted_ns and _lane(row) == lane])
        for lane in range(LANES)
        if lane not in met
    }


def _last_s(since_ns: int, times_ns: list[int]) -> float:
    for last, after in pairwise([since_ns, *times_ns]):
        if (after - last) / 1e9 >= PAUSE_S:
            return (last - since_ns) / 1e9
    return float("inf")
