"""Within the limit: W2 (conformance), W3 and W4 (nothing but 429, nothing but 503 for a while), each beside the loop.

A worker is a gate and a sender; of the loop, a process that believes in the whole limit, as nobody tells it of others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.progress import reach
from tests.bench.reference import plain_loops
from tests.bench.rows import Row, thinned
from tests.support.campaign import Ids, Request, asked, campaign, people
from tests.support.judge import FIRST, Verdict, judge
from tests.support.world import NUMBER, ONE_V1, World

RATE_PER_S, BURST, MARGIN = 50, 150, 5
PEOPLE = 400
WORKERS: Final = (1, 3, 5, 6)
LOOP_WORKERS: Final = (1, 3)
SPELLS_S: Final = (10, 30)
SPELL_IN_S = 8
SETTLE_S = 4.0
WAIT_S = 600.0
QUIET_S = 12.0
"""Once loops are silent for so long, longer than their back-off and than a session of their group, they are done."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a campaign.

    Attributes:
        rows: Requests to the messages endpoint, in order of arrival.
    """

    verdict: Verdict
    rows: list[dict[str, Any]]
    stats: dict[str, Any]

    @property
    def times_s(self) -> list[float]:
        """Arrivals, from the first on."""
        return [(row["t_ns"] - self.rows[0]["t_ns"]) / 1e9 for row in self.rows]


def w2(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Conformance: 50/s with bursts to 150, by 1, 3, 5 and 6 workers."""
    for is_loop, workers in [*((False, n) for n in WORKERS), *((True, n) for n in LOOP_WORKERS)]:
        run = conform(kafka, folder / f"{is_loop}{workers}", _requests(count), workers, is_loop=is_loop)
        yield _conformed(run, workers, is_loop=is_loop)


def _conformed(run: Run, workers: int, *, is_loop: bool) -> Row:
    verdict, times_s = run.verdict, run.times_s
    taken = [second for second, row in zip(times_s, run.rows, strict=True) if row["accepted"]]
    return {
        "what": "loop" if is_loop else "wapipe",
        "workers": workers,
        "messages": verdict.requests,
        "refused": verdict.limit_refusals,
        "excess": round(verdict.excess, 2),
        "used of 150 + 50·t": round(len(taken) / (BURST + RATE_PER_S * taken[-1]), 4),
        "used of 145 + 50·t": round(len(taken) / (BURST - MARGIN + RATE_PER_S * taken[-1]), 4),
        f"first {FIRST}, s": None if verdict.first_s is None else round(verdict.first_s, 3),
        "duplicates": verdict.duplicates,
        "lost": verdict.lost,
        "order": verdict.order_violations,
        "problems": "-" if is_loop else "; ".join(verdict.problems()) or "none",
        "API late at worst, s": round(verdict.read_lag_s, 3),
        "arrivals": thinned([(round(second, 3), number + 1.0) for number, second in enumerate(times_s)]),
    }


def w3(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """W2 with 10 s and with 30 s of nothing but 429."""
    return _spells(kafka, folder, count, "429")


def w4(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """W2 with 10 s and with 30 s of nothing but 503."""
    return _spells(kafka, folder, count, "503")


def _spells(kafka: str, folder: Path, count: int, kind: str) -> Iterator[Row]:
    for for_s in SPELLS_S:
        for is_loop in (False, True):
            spell = {"kind": kind, "in_s": SPELL_IN_S, "for_s": for_s, "since": "first_message"}
            where, workers = folder / f"{for_s}{is_loop}", 1 if is_loop else 2
            run = conform(kafka, where, _requests(count), workers, is_loop=is_loop, spell=spell)
            yield _halted(run, kind, for_s, is_loop=is_loop)


def _halted(run: Run, kind: str, for_s: float, *, is_loop: bool) -> Row:
    verdict, times_s = run.verdict, run.times_s
    taken = [second for second, row in zip(times_s, run.rows, strict=True) if row["accepted"]]
    end_s = SPELL_IN_S + for_s
    after = [second for second in taken if second >= end_s]
    ideal_s = (verdict.requests - 2 * BURST) / RATE_PER_S + for_s  # the bucket is full at the begin, and again after it
    return {
        "what": "loop" if is_loop else "wapipe",
        f"{kind} for, s": for_s,
        "messages": verdict.requests,
        "requests in it": sum(spell["requests"] for spell in run.stats["spells"]),
        "first taken after it, s": round(after[0] - end_s, 2) if after else None,
        "done, s": round(taken[-1], 1),
        "ideal, s": round(ideal_s, 1),
        "refused by the limit": verdict.limit_refusals,
        "excess": round(verdict.excess, 2),
        "duplicates": verdict.duplicates,
        "lost": verdict.lost,
        "order": verdict.order_violations,
        "problems": "-" if is_loop else "; ".join(verdict.problems()) or "none",
        "arrivals": thinned([(round(second, 3), number + 1.0) for number, second in enumerate(taken)]),
    }


def _requests(count: int) -> list[Request]:
    return campaign(count, [NUMBER], people(PEOPLE), Ids())


def conform(
    kafka: str, folder: Path, requests: list[Request], workers: int, latency: Sequence[str] = ("--latency-ms", "20"),
    *, is_loop: bool = False, spell: Mapping[str, Any] | None = None,
) -> Run:  # fmt: skip
    """A campaign on one number of 50/150, until all of it is done."""
    folder.mkdir(parents=True)
    who = f"{'loop' if is_loop else 'wapipe'}, {workers} workers"
    with World(kafka, folder, numbers=ONE_V1, simulator=latency) as world, ExitStack() as loops:
        if not is_loop:
            spawn_workers(world, workers)
            world.grant(list(dict.fromkeys(one["to"] for one in requests)), WAIT_S)
            time.sleep(SETTLE_S)
        if spell is not None:
            world.api.control(spell=spell)
        world.produce(requests)
        if is_loop:
            loops.enter_context(plain_loops(world, workers, RATE_PER_S, BURST))
        reach(world, who, lambda: done(world), len(requests), WAIT_S)
        if is_loop:
            until_quiet(world)
        return judged(world, requests, is_loop=is_loop)


def done(world: World) -> int:
    """Messages that the API has taken since the last reset."""
    taken: int = world.api.stats()["accepted"]
    return taken


def until_quiet(world: World) -> None:
    """Wait until loops send no more: what they sent twice counts as done before all is."""
    seen, since_s = -1, time.monotonic()

    def is_quiet() -> bool:
        nonlocal seen, since_s
        sent = int(world.api.stats()["requests"])
        if sent != seen:
            seen, since_s = sent, time.monotonic()
        return time.monotonic() - since_s >= QUIET_S

    world.until(is_quiet, "the loops are silent", WAIT_S)


def judged(world: World, requests: list[Request], *, is_loop: bool) -> Run:
    """Wait until each has its terminal event, if it gets one, and judge."""
    if not is_loop:
        world.until_terminal(requests, timeout_s=WAIT_S)
    rows, stats = world.api.messages(), world.api.stats()
    verdict = judge([asked(one) for one in requests], rows, [] if is_loop else world.events(), stats)
    return Run(verdict, rows, stats)


def spawn_workers(world: World, workers: int) -> None:
    """So many gates and senders, ready."""
    for number in range(workers):
        world.spawn("gate", f"gate-{number + 1}")
        world.spawn("sender", f"sender-{number + 1}")
    world.ready(timeout_s=WAIT_S)
