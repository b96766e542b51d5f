"""Draws what the lines of a benchmark tell: `python -m tests.bench.plots LINES FOLDER`, one SVG per picture.

A picture is drawn of the newest run of its workload; one whose workload is not among the lines is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.conform import BURST, RATE_PER_S
from tests.bench.workloads import describe

mpl.rcParams["svg.hashsalt"] = "wapipe"  # the same lines make the same file
SIZE_INCHES: Final = (8.0, 4.2)
LOOP_STYLE: Final = "--"
Line = dict[str, Any]


def newest(lines: Iterable[str], workload: str) -> list[Line]:
    """Figures of a workload's rows, each by what distinguishes it from others, the newest of its kind only."""
    found: dict[str, Line] = {}
    for text in lines:
        one = json.loads(text)
        if one["workload"] == workload:
            figures: Line = one["figures"]
            found[kind(figures)] = figures
    return list(found.values())


def kind(figures: Line) -> str:
    """What a row is about: who, and how much of what was given to them."""
    about = ("what", "workers", "429 for, s", "503 for, s", "latency, ms", "backlog", "numbers")
    return " ".join(str(figures[name]) for name in about if name in figures)


def arrivals(axes: Axes, rows: Sequence[Line]) -> None:
    """W2: requests by time, against what the limit allows."""
    end_s = max(row["arrivals"][-1][0] for row in rows)
    axes.plot([0, end_s], [BURST, BURST + RATE_PER_S * end_s], color="black", linewidth=1, label="150 + 50·t: allowed")
    for row in rows:
        style = LOOP_STYLE if row["what"] == "loop" else "-"
        times, counts = zip(*row["arrivals"], strict=True)
        workers = f"{row['workers']} worker{'s' if row['workers'] > 1 else ''}"
        axes.plot(times, counts, style, label=f"{row['what']}, {workers}: {row['refused']} refused")
    axes.set(xlabel="seconds from the first request", ylabel="requests at the API")


def halted(axes: Axes, rows: Sequence[Line]) -> None:
    """W3, W4: messages taken by time, through a spell."""
    for row in rows:
        style = LOOP_STYLE if row["what"] == "loop" else "-"
        times, counts = zip(*row["arrivals"], strict=True)
        [spell] = [f"{row[name]} s of {name[:3]}" for name in row if name.endswith(" for, s")]
        axes.plot(
            times, counts, style, label=f"{row['what']}, {spell}: done {row['done, s']} s, ideal {row['ideal, s']} s"
        )
    axes.set(xlabel="seconds from the first request", ylabel="messages taken")


def growth(axes: Axes, rows: Sequence[Line]) -> None:
    """W12: CPU per message, as a multiple of the plain loop's, by backlog."""
    measured = [row for row in rows if "gate / loop" in row]
    backlogs = [row["backlog"] for row in measured]
    for role in ("gate", "sender"):
        axes.plot(backlogs, [row[f"{role} / loop"] for row in measured], "o-", label=f"{role}: CPU / that of the loop")
    axes.set(xscale="log", ylim=(0, None), xlabel="messages waiting", ylabel="CPU per message / plain loop")
    memory = axes.twinx()
    for role in ("gate", "sender"):
        memory.plot(backlogs, [row[f"{role} MiB"] for row in measured], ".:", label=f"{role}: MiB")
    memory.set(ylim=(0, None), ylabel="peak MiB")
    memory.legend(loc="lower right")


PICTURES: Final[dict[str, Callable[[Axes, Sequence[Line]], None]]] = {
    "W2": arrivals, "W3": halted, "W4": halted, "W12": growth,
}  # fmt: skip


@click.command()
@click.argument("lines", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(lines: Path, folder: Path) -> None:
    """Draw the pictures of LINES into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = lines.read_text().splitlines()
    for workload, draw in PICTURES.items():
        rows = newest(texts, workload)
        if rows:
            path = folder / f"{workload.lower()}.svg"
            _save(path, f"{workload}: {describe(workload)}", draw, rows)
            print(path)


def _save(path: Path, title: str, draw: Callable[[Axes, Sequence[Line]], None], rows: Sequence[Line]) -> None:
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    draw(axes, rows)
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize="small")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
