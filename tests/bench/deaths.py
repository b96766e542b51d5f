"""W6 and W6T: the worker ends at random points, by SIGKILL or by SIGTERM, and is started again at once."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.bench.conform import BURST, RATE_PER_S, SETTLE_S, Run, done, judged, until_quiet
from tests.bench.progress import reach
from tests.bench.reference import end, start
from tests.bench.rows import Row
from tests.support.campaign import Ids, campaign, people
from tests.support.stage import STOP_TIMEOUT_S
from tests.support.world import NUMBER, ONE_V1, World

DEATHS: Final = 3
ROLES: Final = ("gate", "sender")
WAIT_S = 600.0


def w6(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Gate and sender killed together at three random points of a campaign, each time started again at once."""
    return _both(kafka, folder, count, signal.SIGKILL)


def w6t(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """W6 with SIGTERM: they may finish what they hold."""
    return _both(kafka, folder, count, signal.SIGTERM)


def _both(kafka: str, folder: Path, count: int, sig: signal.Signals) -> Iterator[Row]:
    for run in (_pipeline, _loop):
        where = folder / run.__name__
        where.mkdir()
        yield run(kafka, where, count, sig)


def points(count: int, seed: int = 1) -> list[int]:
    """After how many accepted messages the worker ends: one point at random in each third of what is not the burst."""
    chance, first = random.Random(seed), min(BURST, count // 2)
    step = (count - first) / (DEATHS + 1)
    return [round(first + step * (turn + chance.random())) for turn in range(DEATHS)]


def _pipeline(kafka: str, folder: Path, count: int, sig: signal.Signals) -> Row:
    crowd = people(400)
    requests = campaign(count, [NUMBER], crowd, Ids())
    with World(kafka, folder, numbers=ONE_V1, webhooks=True) as world:
        for role in ROLES:
            world.spawn(role)
        world.ready(timeout_s=WAIT_S)
        world.grant(crowd, WAIT_S)
        time.sleep(SETTLE_S)
        world.produce(requests)

        def die() -> None:
            for role in ROLES:
                world.processes.kill(role, sig)
            for role in ROLES:
                assert world.processes.wait(role, STOP_TIMEOUT_S) is not None
                world.spawn(role)

        died_ns = _deaths(world, "wapipe", count, die)
        return _row("wapipe", judged(world, requests, is_loop=False), died_ns)


def _loop(kafka: str, folder: Path, count: int, sig: signal.Signals) -> Row:
    requests = campaign(count, [NUMBER], people(400), Ids())
    with World(kafka, folder, numbers=ONE_V1) as world, ExitStack() as last:
        children: list[subprocess.Popen[bytes]] = [start(world, 0, RATE_PER_S, BURST)]
        last.callback(lambda: end(children[-1]))
        world.produce(requests)

        def die() -> None:
            children[-1].send_signal(sig)
            children[-1].wait(STOP_TIMEOUT_S)
            children.append(start(world, 0, RATE_PER_S, BURST))

        died_ns = _deaths(world, "loop", count, die)
        until_quiet(world)
        return _row("loop", judged(world, requests, is_loop=True), died_ns)


def _deaths(world: World, what: str, count: int, die: Callable[[], None]) -> list[int]:
    """Let it happen at each point, then wait for the rest; when it happened, ns on the simulator's clock."""
    died_ns = []
    for number, point in enumerate(points(count)):
        reach(world, f"{what}, end {number + 1}", lambda: done(world), point, WAIT_S)
        died_ns.append(int(world.api.stats()["now_ns"]))
        die()
    reach(world, f"{what}, the rest", lambda: done(world), count, WAIT_S)
    return died_ns


def _row(what: str, run: Run, died_ns: list[int]) -> Row:
    arrivals = [row["t_ns"] for row in run.rows]
    silences = [max(0, *_gaps([at, *(one for one in arrivals if one > at)][:2])) / 1e9 for at in died_ns]
    return {
        "what": what,
        "messages": run.verdict.requests,
        "ends": len(died_ns),
        "lost": run.verdict.lost,
        "duplicates": run.verdict.duplicates,
        "order violations": run.verdict.order_violations,
        "refused by the limit": run.verdict.limit_refusals,
        "excess": round(run.verdict.excess, 2),
        "silence, s": " ".join(f"{one:.1f}" for one in silences),
        "done, s": round(run.times_s[-1], 1),
    }


def _gaps(times: list[int]) -> list[int]:
    return [later - earlier for earlier, later in pairwise(times)]
