"""A picture of a number's requests against its limit. matplotlib, the extra `plot`, is imported when it is needed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from pipeline.clock import rfc3339
from pipeline.errors import ConfigError
from pipeline.operations.arrivals import Arrivals, allowed, per_second

FORMATS: Final = (".png", ".svg")
INCHES: Final = (9.0, 5.6)
DOTS_PER_INCH: Final = 130
SENT, LIMIT, REFUSED = "#1f6fb2", "#c2571a", "#b3261e"


def draw(arrivals: Arrivals, title: str, begin_ms: int, end_ms: int, out: Path) -> float:
    """Draw requests since the beginning beside what was allowed, and requests per second beside the rate.

    Args:
        begin_ms: Left end, on the broker's clock.
        end_ms: Right end.
        out: Ends in `.png` or `.svg`.

    Returns:
        By how many requests the limit was exceeded at worst; 0: never.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError as exc:
        raise ConfigError("a plot needs matplotlib, which is not installed: pip install 'wapipe[plot]'") from exc
    most = allowed(arrivals)
    counts = list(range(1, len(most) + 1))
    over = max((count - bound for count, bound in zip(counts, most, strict=True)), default=0.0)
    figure = figures.Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    seconds = [(at_ms - begin_ms) / 1000 for at_ms in arrivals.at_ms]
    _cumulated(above, seconds, counts, most)
    _by_second(below, arrivals, begin_ms, end_ms)
    figure.suptitle(f"{title}: {len(counts):,} requests, {_verdict(over)}", fontsize=11)
    below.set_xlabel(f"seconds since {rfc3339(begin_ms)}")
    below.set_xlim(0, (end_ms - begin_ms) / 1000)
    figure.savefig(out)
    return max(0.0, over)


def _verdict(over: float) -> str:
    return "never above the limit" if over <= 0 else f"{over:.1f} above the limit at worst"


def _cumulated(axes: Any, seconds: list[float], counts: list[int], most: list[float]) -> None:
    if counts:
        axes.fill_between(seconds, counts, most, step="post", color=LIMIT, alpha=0.15, linewidth=0)
        axes.step(seconds, most, where="post", color=LIMIT, linewidth=1, label="allowed: rate·t + burst")
        axes.step(seconds, counts, where="post", color=SENT, linewidth=1.5, label="requests")
        axes.legend(loc="upper left", frameon=False)
    axes.set_ylabel("requests so far")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)


def _by_second(axes: Any, arrivals: Arrivals, begin_ms: int, end_ms: int) -> None:
    counts = per_second(arrivals.at_ms, begin_ms, end_ms)
    middles = [at + 0.5 for at in range(len(counts))]
    axes.bar(middles, counts, width=1.0, color=SENT, alpha=0.8, label="requests per second")
    rate = f"limit {arrivals.rate_per_s:g}/s, bursts to {arrivals.burst}"
    axes.axhline(arrivals.rate_per_s, color=LIMIT, linewidth=1, label=rate)
    if arrivals.refused_ms:
        refused = [(at_ms - begin_ms) / 1000 for at_ms in arrivals.refused_ms]
        axes.plot(refused, [0] * len(refused), "v", color=REFUSED, clip_on=False, label="429 or 503")
    axes.set_ylabel("per second")
    axes.set_ylim(0, 1.3 * max(arrivals.rate_per_s, *counts))  # room for the legend
    axes.legend(loc="upper right", frameon=False, fontsize=8, ncols=3)
    axes.grid(alpha=0.25)
