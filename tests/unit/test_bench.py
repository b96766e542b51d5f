"""What the benchmarks tell is told right: rows, progress, ready-made backlogs, silences, pictures. No Kafka."""

from __future__ import annotations

import io
import json
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from rich.console import Console

from pipeline.records.ready import parse_ready
from pipeline.streams.partition import shard_of
from tests.bench import backlog, plots
from tests.bench.deaths import DEATHS, points
from tests.bench.progress import Progress, left_s, told
from tests.bench.rows import Row, line, machine, table, thinned
from tests.bench.shards import LANES, heard_s, steady
from tests.support.campaign import people
from tests.support.world import NUMBER


def printed(rows: list[Row]) -> str:
    """A table as text."""
    out = io.StringIO()
    Console(file=out, width=120).print(table("W0: a title", rows))
    return out.getvalue()


def test_a_single_row_stands_upright() -> None:
    """One row is a list of figures, with commas in large numbers."""
    text = printed([{"messages": 20_000, "problems": "none"}])
    assert [cell for cell in ("messages", "20,000", "none") if cell not in text] == []
    assert "value" not in text  # there is no line of headings


def test_rows_that_differ_share_a_table_in_which_what_makes_no_sense_is_a_dash() -> None:
    """The columns are those of all rows; series for the plots are not among them."""
    text = printed([{"what": "wapipe", "excess": -5.0, "arrivals": [(0.0, 1.0)]}, {"what": "loop"}])
    assert "excess" in text
    assert "arrivals" not in text
    assert [row.split("│")[1:3] for row in text.splitlines() if "loop" in row] == [[" loop   ", "      - "]]


def test_a_line_holds_the_row_and_the_machine() -> None:
    """A figure can be traced to its day, load and versions."""
    told = json.loads(line("W2", 0.5, {"excess": -4.9}, machine()))
    assert (told["workload"], told["scale"], told["figures"]) == ("W2", 0.5, {"excess": -4.9})
    assert len(told["load"]) == 3
    assert {"python", "kafka", "aiohttp"} <= told["versions"].keys()


def test_a_long_series_is_thinned_between_its_ends() -> None:
    """A plot needs no more points than it has room for, but its first and last."""
    series = [(float(n), float(n)) for n in range(10_000)]
    kept = thinned(series, 300)
    assert len(kept) == 300
    assert (kept[0], kept[-1]) == (series[0], series[-1])
    assert thinned(series[:10], 300) == series[:10]


def test_progress_tells_what_is_left() -> None:
    """Time left is what the rest takes at the pace so far; without a pace nothing is claimed."""
    assert left_s(250, 1000, 10.0) == 30.0
    assert left_s(0, 1000, 10.0) is None
    assert told("sender", 250, 1000, 10.0) == "sender: 250 of 1,000 after 10 s, 30 s left"


def test_progress_into_a_file_is_seldom_and_in_whole_lines() -> None:
    """A log of a run is not flooded."""
    out = io.StringIO()
    progress = Progress("sender", 100, out)
    for done in range(100):
        progress.at(done)
    progress.end()
    assert out.getvalue().startswith("sender: done in ")
    assert out.getvalue().count("\n") == 1


def test_ready_records_made_by_the_million_are_what_a_sender_reads() -> None:
    """A record that is put together from bytes parses as a gate's own, and each has its own id, person and place."""
    made = [
        parse_ready(orjson.loads(draft.value or b""))
        for draft in islice(backlog.admitted(NUMBER, shard=2, category="marketing"), 3)
    ]
    assert [one.request_id for one in made] == ["b-0000000", "b-0000001", "b-0000002"]
    assert [one.recipient for one in made] == list(backlog.CROWD[:3])
    assert [one.source[2] for one in made] == [0, 1, 2]
    assert {(one.lane, one.priority) for one in made} == {(f"{NUMBER}#2", "bulk")}
    assert [one.record["request"]["message"] for one in made] != [made[0].record["request"]["message"]] * 3


def test_the_ends_of_w6_lie_within_the_campaign() -> None:
    """Each comes after the burst and before all is sent, in order, and the same with every run."""
    for count in (60, 600, 3000):
        chosen = points(count)
        assert chosen == points(count) == sorted(chosen)
        assert len(chosen) == DEATHS
        assert 0 < chosen[0] <= chosen[-1] < count


def arrival(lane: int, at_s: float, fault: str = "") -> dict[str, Any]:
    """A request of somebody whose messages go by that lane."""
    to = next(one for one in people(100) if shard_of(one, LANES) == lane)
    return {"t_ns": round(at_s * 1e9), "to": to, "fault": fault}


def test_shards_tell_how_long_other_lanes_went_on() -> None:
    """What counts is the last request before a pause; a lane that was silent at once heard at once, one that never
    paused never did, and one that was refused itself needed no hearing."""
    running = [arrival(3, 1.0 + n * 0.1) for n in range(40)]
    others = [arrival(1, 0.9), arrival(1, 1.1), arrival(1, 1.2), arrival(1, 4.0), arrival(2, 4.0)]
    rows = sorted([arrival(0, 1.0, "429"), *others, *running], key=lambda row: row["t_ns"])
    heard = heard_s(rows, rows[1]["t_ns"])
    assert heard[1] == pytest.approx(0.2)
    assert (heard[2], heard[3]) == (0.0, float("inf"))
    assert 0 not in heard


def test_shards_count_from_when_all_lanes_run() -> None:
    """A lane that begins late does not count against the limit before it has spent its burst."""
    rows = [arrival(lane, begin_s + n * 0.1) for lane, begin_s in enumerate((0.0, 0.0, 0.0, 3.0)) for n in range(200)]
    counted, seconds = steady(sorted(rows, key=lambda row: row["t_ns"]), round(15e9))
    assert seconds == pytest.approx(10.0)
    assert counted == 4 * 100


def test_plots_draw_the_newest_run_of_what_is_there(tmp_path: Path) -> None:
    """A picture per workload among the lines; an older row of the same kind is left out."""
    lines = tmp_path / "lines.jsonl"
    rows: list[Row] = [
        {"what": "wapipe", "workers": 1, "refused": refused, "arrivals": [(0.0, 1.0), (60.0, 3145.0)]}
        for refused in (77, 0)
    ]
    lines.write_text("\n".join(line("W2", 1.0, row, {}) for row in rows))
    done = CliRunner().invoke(plots.main, [str(lines), str(tmp_path / "drawn")], catch_exceptions=False)
    assert done.exit_code == 0
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["w2.svg"]
    assert plots.newest(lines.read_text().splitlines(), "W2") == [json.loads(json.dumps(rows[1]))]
