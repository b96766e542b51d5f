"""What a workload tells: rows, as a table for people and as one JSON line each for machines. Pure but for `machine`.

A row is figures by name. A value that is a list is for the plots only and does not stand in the table.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from rich.table import Table

from pipeline.embedded.jars import KAFKA_VERSION

Value = float | int | str | None | list[tuple[float, float]]
Row = dict[str, Value]
POINTS_MAX: Final = 300
LIBRARIES: Final = ("aiohttp", "confluent-kafka", "faust-streaming")


def table(title: str, rows: Sequence[Row]) -> Table:
    """One row stands upright, figure by figure; several stand below each other, under the names of all of them."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, list)))
    made = Table(title=title, title_justify="left", show_header=len(rows) > 1)
    if len(rows) == 1:
        made.add_column("figure")
        made.add_column("value", justify="right")
        for name in names:
            made.add_row(name, shown(rows[0][name]))
        return made
    for name in names:
        made.add_column(name, justify="left" if any(isinstance(row.get(name), str) for row in rows) else "right")
    for row in rows:
        made.add_row(*(shown(row.get(name)) for name in names))
    return made


def shown(value: Value) -> str:
    """A value as people read it; None (it makes no sense in this row) is a dash."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def line(workload: str, scale: float, row: Row, about: Mapping[str, object]) -> str:
    """A row as one line of JSON, with the machine that it was measured on."""
    return json.dumps({"workload": workload, "scale": scale, **about, "figures": row})


def machine() -> dict[str, object]:
    """When, where and by what: date, load averages of 1, 5 and 15 minutes, cores, versions."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": [round(one, 1) for one in os.getloadavg()],
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(), "kafka": KAFKA_VERSION, **{one: version(one) for one in LIBRARIES},
        },
    }  # fmt: skip


def thinned(points: Sequence[tuple[float, float]], points_max: int = POINTS_MAX) -> list[tuple[float, float]]:
    """At most so many of the points, evenly, the first and the last among them."""
    if len(points) <= points_max:
        return list(points)
    step = (len(points) - 1) / (points_max - 1)
    return [points[round(turn * step)] for turn in range(points_max)]
