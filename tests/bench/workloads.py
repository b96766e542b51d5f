"""The workloads: each builds a world of its own, runs, and returns its figures by name.

Names follow the list of workloads that peers were measured on: W1 open throttle, W2 conformance, W3/W4 spells,
W7 one-time codes behind a backlog, W9 idle, W10 restore of the gate's tables, W11 the ingress, W3B a limit lower than
configured; W11FLAT, W11DEATHS, TAKEOVER, SCOPES, PAIR, PLAN, PLANCOSTS and CONSOLE are our own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer

from tests.bench.console import console
from tests.bench.ingress import w11, w11_deaths, w11_flat
from tests.bench.measure import cpu_s, peak_mib, percentile
from tests.bench.plan import plan, plan_costs
from tests.bench.reference import plain_loop
from tests.bench.restore import restore
from tests.bench.scopes import pair, scopes, w3b
from tests.bench.takeover import takeover
from tests.support.campaign import EXPRESS, Ids, Request, campaign, people
from tests.support.world import NUMBER, World

Figures = dict[str, float | int | str]
OPEN = {NUMBER: {"profile": "v1", "rate_per_s": 20_000, "burst": 4_000, "max_in_flight": 200}}
V1 = {NUMBER: {"profile": "v1"}}
WAIT_S = 600.0


def _reach(world: World, topic: str, count: int) -> float:
    """Seconds until a topic holds so many records."""
    began = time.monotonic()
    world.until(lambda: world.count(topic) >= count, f"{topic} holds {count}", WAIT_S)
    return time.monotonic() - began


def w1(kafka: str, folder: Path, count: int) -> Figures:
    """Open throttle: what a message costs gate and sender, against a plain loop on the same machine."""
    with World(kafka, folder, numbers=OPEN, simulator=("--latency-ms", "0")) as world:
        world.api.control(settings={"enforce": False})
        world.spawn("gate")
        world.ready("gate")
        recipients = people(2000)
        world.grant(recipients)
        requests = campaign(count, [NUMBER], recipients, Ids())
        gate = world.processes.pid("gate")
        used = cpu_s(gate)
        world.produce(requests)
        gate_s = _reach(world, "ready-normal", count)
        gate_cpu = cpu_s(gate) - used
        gate_mib = peak_mib(gate)
        world.kill("gate", 15)
        world.spawn("sender")
        sender = world.processes.pid("sender")
        world.ready("sender")
        used = cpu_s(sender)
        sender_s = _reach(world, "outbound-events", 2 * count)
        sender_cpu, sender_mib = cpu_s(sender) - used, peak_mib(sender)
        world.kill("sender", 15)
        loop_s, loop_cpu = plain_loop(world, count)
    return {
        "messages": count,
        "gate per CPU-second": round(count / gate_cpu),
        "gate messages/s (wall, with loader)": round(count / gate_s),
        "gate peak MiB": round(gate_mib),
        "sender per CPU-second": round(count / sender_cpu),
        "sender messages/s (wall)": round(count / sender_s),
        "sender peak MiB": round(sender_mib),
        "loop per CPU-second": round(count / loop_cpu),
        "loop messages/s (wall)": round(count / loop_s),
        "sender CPU / loop CPU": round(sender_cpu / loop_cpu, 2),
    }


def w2(kafka: str, folder: Path, count: int) -> Figures:
    """Conformance: 50/s with bursts to 150, two gates, two senders."""
    return _conform(kafka, folder, count, lambda _world: None)


def w3(kafka: str, folder: Path, count: int) -> Figures:
    """W2 with 10 s of nothing but 429."""
    return _conform(kafka, folder, count, _spell("429"))


def w4(kafka: str, folder: Path, count: int) -> Figures:
    """W2 with 10 s of nothing but 503."""
    return _conform(kafka, folder, count, _spell("503"))


def _spell(kind: str) -> Callable[[World], None]:
    def begin(world: World) -> None:
        world.api.control(spell={"kind": kind, "in_s": 8, "for_s": 10})

    return begin


def _conform(kafka: str, folder: Path, count: int, before: Callable[[World], None]) -> Figures:
    recipients = people(400)
    with World(kafka, folder, numbers=V1) as world:
        for name in ("gate-1", "gate-2"):
            world.spawn("gate", name)
        for name in ("sender-1", "sender-2"):
            world.spawn("sender", name)
        world.ready()
        world.grant(recipients)
        requests = campaign(count, [NUMBER], recipients, Ids())
        time.sleep(4)
        before(world)
        world.produce(requests)
        world.until_terminal(requests, timeout_s=WAIT_S)
        verdict = world.judge(requests)
        spells = world.api.stats()["spells"]
    return {
        "messages": count,
        "problems": "; ".join(verdict.problems()) or "none",
        "excess": round(verdict.excess, 2),
        "utilisation": round(verdict.utilisation, 4),
        "first 140 s": round(verdict.first_s or 0.0, 3),
        "seconds": round(verdict.seconds, 1),
        "requests in the spell": sum(spell["requests"] for spell in spells) if spells else 0,
    }


def w7(kafka: str, folder: Path, count: int) -> Figures:
    """One-time codes by the express entrance while a bulk backlog is judged and sent."""
    recipients = people(2000)
    with World(kafka, folder, numbers=V1) as world:
        for role in ("gate", "sender"):
            world.spawn(role)
        world.ready()
        world.grant(recipients)
        ids = Ids()
        world.produce(campaign(count, [NUMBER], recipients, ids, category="marketing"))
        waits = _time_to_post(world, campaign(200, [NUMBER], recipients, ids, category="authentication"), 0.2, EXPRESS)
    return {
        "bulk backlog": count,
        "codes": len(waits),
        "produce → POST p50 ms": round(percentile(waits, 0.5) * 1000, 1),
        "p99 ms": round(percentile(waits, 0.99) * 1000, 1),
        "max ms": round(max(waits) * 1000, 1),
    }


def w9(kafka: str, folder: Path, count: int) -> Figures:
    """Idle: one message now and then."""
    recipients = people(count)
    with World(kafka, folder, numbers=V1) as world:
        for role in ("gate", "sender"):
            world.spawn(role)
        world.ready()
        world.grant(recipients)
        time.sleep(4)
        pids = {role: world.processes.pid(role) for role in ("gate", "sender")}
        used = {role: cpu_s(pid) for role, pid in pids.items()}
        time.sleep(10)
        idle = {role: (cpu_s(pid) - used[role]) * 10 for role, pid in pids.items()}
        waits = _time_to_post(world, campaign(count, [NUMBER], recipients, Ids()), 0.15, "outbound-requests")
    return {
        "messages": len(waits),
        "produce → POST p50 ms": round(percentile(waits, 0.5) * 1000, 1),
        "p99 ms": round(percentile(waits, 0.99) * 1000, 1),
        "idle CPU of gate, %": round(idle["gate"], 1),
        "idle CPU of sender, %": round(idle["sender"], 1),
    }


def _time_to_post(world: World, requests: list[Request], every_s: float, entrance: str) -> list[float]:
    """Seconds from handing each request to the producer until the simulator read it."""

    producer = Producer({"bootstrap.servers": world.kafka, "partitioner": "murmur2_random", "linger.ms": 0})
    producer.list_topics(world.topic(entrance), timeout=10)
    written: dict[str, int] = {}
    for request in requests:
        written[request["request_id"]] = time.monotonic_ns()
        producer.produce(world.topic(entrance), orjson.dumps(request), request["to"])
        producer.flush(10)
        time.sleep(every_s)
    world.until_terminal(requests, timeout_s=60)
    zero = int(world.api.stats()["started_monotonic_ns"])
    posted = {row["text"]: zero + row["t_ns"] for row in world.api.messages()}
    return [(posted[name] - at) / 1e9 for name, at in written.items() if name in posted]


Workload = Callable[[str, Path, int], Figures]
WORKLOADS: dict[str, tuple[Workload, int, int]] = {
    "W1": (w1, 20_000, 4_000),
    "W2": (w2, 3_000, 800),
    "W3": (w3, 1_500, 900),
    "W3B": (w3b, 6_000, 900),
    "W4": (w4, 1_500, 900),
    "W7": (w7, 50_000, 5_000),
    "W9": (w9, 400, 100),
    "W10": (restore, 1_000_000, 50_000),
    "W11": (w11, 50_000, 2_000),
    "W11FLAT": (w11_flat, 600, 20),
    "W11DEATHS": (w11_deaths, 100_000, 4_000),
    "SCOPES": (scopes, 50_000, 6_000),
    "PAIR": (pair, 5_000, 1_000),
    "TAKEOVER": (takeover, 100_000, 10_000),
    "PLAN": (plan, 4_000, 600),
    "PLANCOSTS": (plan_costs, 2_000, 400),
    "CONSOLE": (console, 5_000_000, 100_000),
}
"""By name: the workload, its size, its size with --quick."""


def describe(name: str) -> str:
    """First sentence about a workload."""
    text: Any = WORKLOADS[name][0].__doc__
    return str(text).split("\n", 1)[0]
