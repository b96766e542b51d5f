"""`wapipe plan` as a shell calls it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.unit.cli.conftest import Run

SMALL = ("plan", "--numbers", "3", "--rate", "80", "--messages-per-day", "2e6", "--recipients", "5e5")


def test_plan_says_what_it_takes(run: Run) -> None:
    """Processes, topics, limits, drain time; no broker is asked; columns line up."""
    result = run(*SMALL, config=None)
    assert result.exit_code == 0, result.output
    for word in ("gate", "sender", "ingress", "broker", "PARTITIONS", "MEMORY", "drain in", "2 h 18 min"):
        assert word in result.stdout
    rows = [text for text in result.stdout.splitlines() if text.startswith(("PROCESSES", "gate ", "sender ", "all "))]
    header = rows[0]
    assert all(row[header.index("COUNT") - 1] == " " and row[header.index("COUNT")] != " " for row in rows[:3])


def test_plan_reads_the_retention_of_the_settings(run: Run, settings_file: Path) -> None:
    """A shorter `kafka.retention_h` is less disk."""
    before = orjson.loads(run(*SMALL, "--json").stdout)["disk_bytes"]
    text = settings_file.read_text()
    settings_file.write_text(text.replace("[kafka]", "[kafka]\nretention_h = {send-ledger = 24}"))
    assert orjson.loads(run(*SMALL, "--json").stdout)["disk_bytes"] < before


def test_plan_beyond_a_limit_exits_65(run: Run) -> None:
    """A demand at which something stops is named, with what to do, and exits 65."""
    result = run("plan", "--numbers", "100", "--rate", "1000", config=None)
    assert result.exit_code == 65
    assert "stops at" in result.stdout
    assert "membership of the gates" in result.stdout


def test_plan_simulates(run: Run) -> None:
    """--simulate adds three runs; the same seed prints the same."""
    args = (*SMALL, "--simulate", "--json")
    first = run(*args, config=None)
    assert first.exit_code == 0, first.output
    assert [one["fails"] for one in orjson.loads(first.stdout)["simulated"]] == ["nothing", "a sender", "a broker"]
    assert run(*args, config=None).stdout == first.stdout
    assert "LONGEST SILENCE" in run(*SMALL, "--simulate", config=None).stdout


def test_plan_shows_where_its_figures_come_from(run: Run) -> None:
    """--costs lists each figure with its command and date, each assumption with its source."""
    result = run("plan", "--costs", config=None)
    assert result.exit_code == 0
    assert "python -m tests.bench W1" in result.stdout
    assert "KIP-578" in result.stdout
    assert orjson.loads(run("plan", "--costs", "--json", config=None).stdout)["figures"]["sender_per_cpu_s"]["value"]


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--numbers", "3"), "--rate"),
        (("--rate", "3"), "--numbers"),
        (("--numbers", "1", "--rate", "1", "--messages-per-day", "1e9"), "messages_per_day"),
        (("--numbers", "100", "--rate", "50000", "--simulate", "--simulate-numbers", "100"), "fewer"),
    ],
)
def test_plan_with_options_that_do_not_go_exits_64(run: Run, args: tuple[str, ...], word: str) -> None:
    """What is missing or cannot be is named."""
    result = run("plan", *args, config=None)
    assert result.exit_code == 64
    assert word in result.stderr
