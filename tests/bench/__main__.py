"""`python -m tests.bench [W1 W2 …] [--scale 0.1]`: a table and JSON lines per workload, on a Kafka of its own."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from pipeline.embedded.broker import EmbeddedKafka
from tests.bench.progress import Progress
from tests.bench.rows import Row, line, machine, table
from tests.bench.workloads import WORKLOADS, describe

LINES = Path(".wapipe/bench.jsonl")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(WORKLOADS), case_sensitive=False))
@click.option("--scale", type=click.FloatRange(0, min_open=True), default=1.0, help="Part of the sizes, e.g. 0.1.")
@click.option("--records", type=click.IntRange(1), help="Another size, for all workloads named.")
@click.option("--out", type=click.Path(path_type=Path), default=LINES, help=f"Gets the lines, too.  [{LINES}]")
def main(names: tuple[str, ...], *, scale: float, records: int | None, out: Path) -> None:
    """Run workloads and print their figures; without names: all of them.

    Tables and lines of JSON go to stdout, progress to stderr. A line is written as soon as its row is measured.
    """
    chosen = [name.upper() for name in names or WORKLOADS]
    out.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress("workloads", len(chosen))
    for number, name in enumerate(chosen):
        progress.at(number)
        size = records or max(1, round(WORKLOADS[name][1] * scale))
        rows, lines = _run(name, size, scale if records is None else size / WORKLOADS[name][1], out)
        Console(width=None if sys.stdout.isatty() else 250).print(table(f"{name}: {describe(name)}", rows))
        print(*lines, sep="\n", flush=True)
    progress.end()


def _run(name: str, size: int, scale: float, out: Path) -> tuple[list[Row], list[str]]:
    rows, lines = list[Row](), list[str]()
    with tempfile.TemporaryDirectory(prefix="wapipe-bench-") as folder:
        data = Path(folder)
        with EmbeddedKafka(data / "kafka") as kafka:
            (data / "world").mkdir()
            for row in WORKLOADS[name][0](kafka.bootstrap, data / "world", size):
                rows.append(row)
                lines.append(line(name, scale, row, machine()))
                with out.open("a") as lines_so_far:
                    lines_so_far.write(f"{lines[-1]}\n")
    return rows, lines


if __name__ == "__main__":
    main()
