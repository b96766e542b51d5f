"""The workloads: each builds a world of its own, runs, and yields its rows as they come.

Names follow the list of workloads that peers were measured on: W1 open throttle, W2 conformance, W3/W4 spells, W3B a
limit lower than configured, W5 order, W6/W6T kills and clean restarts, W7 one-time codes behind a backlog, W8 opt-outs,
W9 idle, W10 restore of the gate's tables, W11 the ingress, W12 and W12NUMBERS growth; SHARDS, W11FLAT, W11DEATHS,
TAKEOVER, SCOPES, PAIR, PLAN, PLANCOSTS, CONSOLE and CONSOLELIVE are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.conform import w2, w3, w4
from tests.bench.console import console
from tests.bench.console_live import console_live
from tests.bench.deaths import w6, w6t
from tests.bench.growth import w12, w12_numbers
from tests.bench.ingress import w11, w11_deaths, w11_flat
from tests.bench.latency import w7, w9
from tests.bench.optouts import w8
from tests.bench.ordering import w5
from tests.bench.plan import plan, plan_costs
from tests.bench.restore import restore
from tests.bench.rows import Row
from tests.bench.scopes import pair, scopes, w3b
from tests.bench.shards import shards
from tests.bench.takeover import takeover
from tests.bench.throughput import w1

Workload = Callable[[str, Path, int], Iterator[Row]]
"""From `bootstrap.servers`, a folder of its own and a size."""


def _one(measure: Callable[[str, Path, int], Any]) -> Workload:
    """A workload of one row."""

    def run(kafka: str, folder: Path, count: int) -> Iterator[Row]:
        yield measure(kafka, folder, count)

    run.__doc__ = measure.__doc__
    return run


WORKLOADS: dict[str, tuple[Workload, int]] = {
    "W1": (w1, 20_000),
    "W2": (w2, 4_000),
    "W3": (w3, 1_500),
    "W3B": (_one(w3b), 6_000),
    "W4": (w4, 1_500),
    "W5": (w5, 3_000),
    "W6": (w6, 3_000),
    "W6T": (w6t, 3_000),
    "W7": (w7, 1_000_000),
    "W8": (w8, 3_000),
    "W9": (w9, 400),
    "W10": (restore, 10_000_000),
    "W11": (_one(w11), 50_000),
    "W12": (w12, 5_000_000),
    "W12NUMBERS": (w12_numbers, 100),
    "SHARDS": (shards, 300),
    "W11FLAT": (_one(w11_flat), 600),
    "W11DEATHS": (_one(w11_deaths), 100_000),
    "SCOPES": (_one(scopes), 50_000),
    "PAIR": (_one(pair), 5_000),
    "TAKEOVER": (_one(takeover), 100_000),
    "PLAN": (_one(plan), 4_000),
    "PLANCOSTS": (_one(plan_costs), 2_000),
    "CONSOLE": (_one(console), 5_000_000),
    "CONSOLELIVE": (console_live, 2_000),
}
"""By name: the workload and its size, that of its largest row."""


def describe(name: str) -> str:
    """First sentence about a workload."""
    return str(WORKLOADS[name][0].__doc__).split("\n", 1)[0]
