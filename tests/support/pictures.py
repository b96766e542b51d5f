"""`python -m tests.support.pictures`: README's picture of the Overview dashboard, from a real Prometheus.

Runs `wapipe demo`, lets a Prometheus scrape its processes, asks it for the panels' own expressions, and draws them.
Grafana is not needed for that; its panels have the same expressions and titles.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from tests.support.prometheus import EVERY, Prometheus, targets_of
from tests.support.promql import ROOT, panels, substituted

PICTURE: Final = ROOT / "helm" / "pictures" / "overview.png"
SHOWN: Final = (
    "Oldest message", "In and out", "Rate against limit", "Numbers that stand still", "Backlog", "Time to drain",
    "Outcomes", "Unsent, by reason",
)  # fmt: skip
COLUMNS: Final = 2
RATE_WINDOW: Final = "10s"
"""A demo lasts a minute; Grafana takes four times the scrape interval at least."""
START_TIMEOUT_S: Final = 300.0
DEMO_TIMEOUT_S: Final = 600.0
LOOK_EVERY_S: Final = 0.2
UNITS: Final = {"s": "seconds", "reqps": "per second", "short": "messages", "none": ""}


def draw(series: Mapping[str, list[tuple[str, list[tuple[float, float]]]]], units: Mapping[str, str]) -> None:
    """Draw panels.

    Args:
        series: By panel: label and points (seconds, value) of each line.
        units: By panel, as Grafana calls them.
    """
    rows = -(-len(series) // COLUMNS)
    figure = Figure(figsize=(11, 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, sharex=True)
    for axis, (title, lines) in zip(axes.flat, series.items(), strict=True):
        for label, points in lines:
            axis.plot(*zip(*points, strict=True), label=label, linewidth=1.2, marker="." if len(points) == 1 else None)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylabel(UNITS[units[title]], fontsize=8)
        axis.tick_params(labelsize=8)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="upper left", framealpha=0.6)
    for axis in axes[-1]:
        axis.set_xlabel("seconds", fontsize=8)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=80, metadata={"Software": None})


def _label(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)


def _asked(prometheus: Prometheus, panel: Mapping[str, Any], begin_s: float, end_s: float) -> Any:
    lines = []
    for target in panel["targets"]:
        expr = substituted(target["expr"].replace("$__rate_interval", RATE_WINDOW))
        for one in prometheus.over(expr, begin_s, end_s):
            points = [(float(at_s) - begin_s, float(value)) for at_s, value in one["values"]]
            lines.append((_label(target["legendFormat"], one["metric"]), points))
    return lines


def _demo(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", "demo"],
            cwd=ROOT,
            env={**os.environ, "WAPIPE_STORAGE__DATA_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def main() -> None:
    """Run the demo, watch it, and draw."""
    with tempfile.TemporaryDirectory(prefix="wapipe-pictures-") as name:
        folder = Path(name)
        log = folder / "out"
        demo = _demo(folder, log)
        try:
            give_up_s = time.monotonic() + START_TIMEOUT_S
            while not {"gate", "sender", "ingress"} <= targets_of(log.read_text()).keys():
                assert demo.poll() is None, log.read_text()
                assert time.monotonic() < give_up_s, "the demo does not come up"
                time.sleep(LOOK_EVERY_S)
            prometheus = Prometheus(folder / "prometheus", targets_of(log.read_text()), {"groups": []})
            try:
                begin_s = time.time()
                assert demo.wait(DEMO_TIMEOUT_S) == 0, log.read_text()
                shown = {panel["title"]: panel for panel in panels("overview") if panel["title"] in SHOWN}
                series = {title: _asked(prometheus, shown[title], begin_s, time.time()) for title in SHOWN}
            finally:
                prometheus.close()
        finally:
            demo.kill()
            demo.wait()
        assert all(series.values()), f"no data every {EVERY}: {[title for title in SHOWN if not series[title]]}"
        draw(series, {title: panel["fieldConfig"]["defaults"]["unit"] for title, panel in shown.items()})


if __name__ == "__main__":
    main()
