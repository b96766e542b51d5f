"""W5: order, where each person gets three messages in a row and one request in twenty fails for the moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.conform import conform
from tests.bench.rows import Row
from tests.support.campaign import Ids, people, request
from tests.support.world import NUMBER

IN_A_ROW = 3
LATENCY = ("--latency-ms", "50", "--latency-sigma", "0.8")
FAULTS = {"kind": "500", "probability": 0.05, "for_s": 3600, "since": "now"}


def w5(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Order: 1,000 people, latency log-normal (median 50 ms), 5 % of the requests fail with 500."""
    ids, crowd = Ids(), people(max(1, count // IN_A_ROW))
    requests = [request(next(ids), NUMBER, to) for to in crowd for _ in range(IN_A_ROW)]
    for is_loop in (False, True):
        run = conform(
            kafka, folder / str(is_loop), requests, 1 if is_loop else 2, LATENCY, is_loop=is_loop, spell=FAULTS
        )
        yield {
            "what": "loop" if is_loop else "wapipe",
            "messages": len(requests),
            "people": len(crowd),
            "failed for the moment": sum(run.verdict.refused.values()),
            "order violations": run.verdict.order_violations,
            "lost": run.verdict.lost,
            "duplicates": run.verdict.duplicates,
            "excess": round(run.verdict.excess, 2),
            "done, s": round(run.times_s[-1], 1),
        }
