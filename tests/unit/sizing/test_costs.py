"""The data file: whole, with its provenance, and in step with README and with the code that it is about."""

from __future__ import annotations

import re
from datetime import date

import pytest
from pydantic import ValidationError

from pipeline.config import KafkaSettings, Settings
from pipeline.config.numbers import MAX_LANE_PARTITION
from pipeline.sender.lane import READY_WINDOW_HIGH
from pipeline.sender.optouts import KEEP_MS
from pipeline.sender.suppressions import MAX_PEOPLE as SUPPRESSED_MAX
from pipeline.sender.ticker import MARK_EVERY, TICK_S
from pipeline.sender.withdrawn import MAX_PEOPLE as OPTED_OUT_MAX
from pipeline.sizing import cluster, fleet, limits
from pipeline.sizing.costs import Curve, costs
from pipeline.streams import follow, restore
from pipeline.streams.topics import BY_NAME
from tests.bench.workloads import WORKLOADS
from tests.support.readme import README

COSTS = costs()
"""README's "What it costs" is one table: a quote has to stand in it."""
TABLE = README.read_text().split("## What it costs", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("name", [name for name, one in COSTS.figures.items() if one.readme is not None])
def test_readme_says_what_the_data_file_says(name: str) -> None:
    """A figure that README quotes is quoted there as the data file has it."""
    figure = COSTS.figures[name]
    assert figure.readme is not None
    assert figure.readme in README.read_text()
    if figure.unit.endswith(("CPU-second", "per second")) or name == "takeover_s":
        assert figure.readme in TABLE
        assert f"{figure.value:,g}" in figure.readme


def test_every_figure_can_be_measured_anew() -> None:
    """Each measured figure names workloads that exist."""
    commands = [one.command for one in COSTS.figures.values()] + [one.command for one in COSTS.curves.values()]
    for command in (*commands, COSTS.traffic.command):
        workloads = re.findall(r"\b([A-Z][A-Z0-9]+)\b", command.removeprefix("python -m tests.bench"))
        if command.startswith("python"):
            assert workloads
            assert [one for one in workloads if one not in WORKLOADS] == []


def test_every_topic_has_its_traffic() -> None:
    """No topic is left out of the sums, and none is counted that there is not."""
    assert set(COSTS.traffic.topics) == set(BY_NAME)
    assert set(cluster.FOLLOWED) | set(cluster.READERS) <= set(BY_NAME)


def test_what_the_plan_takes_for_fixed_is_what_the_code_does() -> None:
    """Bounds and intervals that the model repeats are those of the roles: a change there is noticed here."""
    assert cluster.MARK_EVERY_S == MARK_EVERY * TICK_S
    assert cluster.ENDS_ASKED_PER_S == 1 / follow.ENDS_EVERY_S
    assert cluster.FETCHES_PER_S == 1000 / follow.FETCH_WAIT_MS
    assert fleet.PEOPLE_MAX == OPTED_OUT_MAX == SUPPRESSED_MAX
    assert fleet.KEPT_S * 1000 == KEEP_MS
    assert fleet.READY_WINDOW == READY_WINDOW_HIGH
    assert Settings().sender.dedupe_window_s == fleet.DEDUPE_S
    assert limits.LANES_MAX == MAX_LANE_PARTITION + 1
    most = next(rule.le for rule in KafkaSettings.model_fields["recipient_partitions"].metadata if hasattr(rule, "le"))
    assert most == limits.RECIPIENT_PARTITIONS_MAX
    assert COSTS.assumed("session_timeout_s") == Settings().kafka.session_timeout_s
    cached = restore.BLOCK_CACHE_BYTES + restore.WRITE_BUFFERS * restore.WRITE_BUFFER_BYTES
    assert COSTS.figure("gate_partition_cache_bytes") == cached


def test_curves_end_where_the_figures_are() -> None:
    """A process with its core used up does what its figure says."""
    assert COSTS.curves["sender"].rate_at(1.0) == pytest.approx(COSTS.figure("sender_per_cpu_s"))
    assert COSTS.curves["ingress"].rate_at(1.0) == pytest.approx(COSTS.figure("ingress_per_s"))
    both_s = 1 / COSTS.figure("gate_per_cpu_s") + 3 / COSTS.figure("gate_inbound_per_cpu_s")
    assert COSTS.curves["gate"].rate_at(1.0) == pytest.approx(1 / both_s, rel=0.01)


def _curve(*points: tuple[float, float]) -> Curve:
    return Curve(points=points, about="", command="", date=date(2026, 1, 1), machine="")


def test_a_curve_reads_both_ways() -> None:
    """Cores at a rate and the rate at so many cores are each other's inverse, beyond the last point, too."""
    curve = _curve((0, 0.1), (10, 0.3), (100, 0.9))
    for rate in (0.0, 5.0, 10.0, 55.0, 100.0, 300.0):
        assert curve.rate_at(curve.cores(rate)) == pytest.approx(rate)
    assert curve.cores(10) == 0.3
    assert curve.cores(55) == pytest.approx(0.6)
    assert curve.rate_at(0.05) == 0


@pytest.mark.parametrize("points", [((0, 0.1),), ((1, 0.1), (2, 0.2)), ((0, 0.2), (10, 0.1)), ((0, 0.1), (0, 0.2))])
def test_a_curve_that_does_not_rise_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    """Points out of order, or none at rest, are a mistake in the file."""
    with pytest.raises(ValidationError):
        _curve(*points)
