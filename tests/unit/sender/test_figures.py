"""Figures of a number that has several lanes here: sums, the oldest of all, and every reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from pipeline.metrics import Metrics
from pipeline.sender.figures import Figures
from pipeline.sender.lane import Lane

NOW_MS = 100_000
ONE, OTHER = "200000000000001", "200000000000002"


def lane(number: str, backlog: int, oldest_ms: int | None, rate_per_s: float) -> Lane:
    """What the figures look at of a lane."""
    limit = SimpleNamespace(rate_per_s=rate_per_s)
    return cast(
        "Lane",
        SimpleNamespace(
            number=number, limit=limit, bucket=SimpleNamespace(limit=limit, tokens=lambda _now_s: 5.0),
            backlog=[0, backlog, 0], oldest_source_ms=lambda: [None, oldest_ms, None],
            jobs=dict.fromkeys(range(backlog)),
        ),
    )  # fmt: skip


def test_lanes_of_one_number_are_told_of_together() -> None:
    """Backlog, tokens, rate and time to drain add up, the oldest message is that of all; a stopped lane has no rate."""
    lanes = [lane(ONE, 30, 90_000, 10), lane(ONE, 10, 70_000, 10), lane(OTHER, 7, None, 50)]
    stopped = lanes[1]
    metrics = Metrics()
    Figures(metrics, lambda asked: {"operator"} if asked is stopped else set()).show(lanes, 1.0, NOW_MS)

    def value(name: str, number: str = ONE, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"wapipe_{name}", {"number": number, **labels})

    assert value("ready_backlog", priority="normal") == 40
    assert value("oldest_ready_seconds", priority="normal") == 30
    assert value("bucket_tokens") == 10
    assert value("rate_limit_per_second") == 10
    assert value("seconds_to_drain") == 2
    assert (value("number_stopped", reason="operator"), value("number_stopped", OTHER, reason="operator")) == (1, 0)
    assert value("oldest_ready_seconds", OTHER, priority="normal") == 0
