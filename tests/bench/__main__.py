"""`python -m tests.bench [W1 W2 …] [--quick]`: prints a table and a JSON line per workload, on an embedded Kafka."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pipeline.embedded.broker import EmbeddedKafka
from tests.bench.workloads import WORKLOADS, describe


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(WORKLOADS), case_sensitive=False))
@click.option("--quick", is_flag=True, help="Small sizes: to see that it runs, not to quote.")
@click.option("--records", type=click.IntRange(1), help="Another size, for all workloads named.")
def main(names: tuple[str, ...], *, quick: bool, records: int | None) -> None:
    """Run workloads and print their figures; without names: all of them."""
    console = Console(file=sys.stdout)
    for name in names or tuple(WORKLOADS):
        workload, whole, small = WORKLOADS[name.upper()]
        with tempfile.TemporaryDirectory(prefix="wapipe-bench-") as folder:
            data = Path(folder)
            with EmbeddedKafka(data / "kafka") as kafka:
                (data / "world").mkdir()
                figures = workload(kafka.bootstrap, data / "world", records or (small if quick else whole))
        table = Table(title=f"{name}: {describe(name)}", title_justify="left", show_header=False)
        table.add_column("figure")
        table.add_column("value", justify="right")
        for figure, value in figures.items():
            table.add_row(figure, f"{value:,}" if isinstance(value, int) else str(value))
        console.print(table)
        print(json.dumps({"workload": name, "quick": quick, **figures}))


if __name__ == "__main__":
    main()
