"""The alerts that ship: their expressions name what exists, each says what to do, each is tested both ways."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promql import ALERTS_FILE, RUNBOOK, alerts, strangers

RULE_TESTS = Path(__file__).parent / "alerts_test.yaml"
ALERTS = {rule["alert"]: rule for rule in alerts()}
SECTIONS = re.findall(r"(?m)^## (\w+)$", RUNBOOK.read_text())
promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    promtool is None, reason="promtool is not here (Debian: apt-get install prometheus)"
)


def _promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert promtool
    return subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ALERTS)
def test_its_expression_names_what_there_is(name: str) -> None:
    """It parses, and every metric and label of it is declared in the code or set by the scrape."""
    assert strangers(ALERTS[name]["expr"]) == []


def test_what_does_not_exist_is_found() -> None:
    """The judge of the test above knows a strange metric, matcher or grouping, and what is no PromQL."""
    assert strangers("sum(wapipe_sent_total)") == ["wapipe_sent_total"]
    assert strangers('rate(wapipe_statuses_total{state="read"}[5m]) > 0') == ["wapipe_statuses_total{state}"]
    assert strangers("sum by (numbr) (wapipe_ready_backlog)") == ["by (numbr)"]
    assert strangers("wapipe_ready_backlog unless on (numbr) wapipe_number_stopped") == ["by (numbr)"]
    with pytest.raises(ValueError, match=r"(?i)parse|unclosed|unexpected"):
        strangers("sum(wapipe_ready_backlog")


@pytest.mark.parametrize("name", ALERTS)
def test_it_says_how_bad_what_and_where_to_read_on(name: str) -> None:
    """Severity, a wait against flapping, a summary, a description, and a section of the runbook."""
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["for"]
    assert len(rule["annotations"]["summary"]) <= 120
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"RUNBOOK.md#{name.lower()}"
    assert name in SECTIONS


def test_every_section_of_the_runbook_has_an_alert() -> None:
    """The runbook has the alerts in their order, and nothing that no alert leads to."""
    assert list(ALERTS) == SECTIONS


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_says_what_it_means_where_to_look_and_what_to_do(name: str) -> None:
    """Whoever is woken finds the three answers in the same place each time."""
    text = RUNBOOK.read_text().split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]
    assert [word for word in ("**Means**", "**Look**", "**Do**") if word not in text] == []


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    """The table that promtool runs leaves no alert out."""
    checks: list[dict[str, Any]] = [
        check for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for check in test["promql_expr_test"]
    ]
    for fires in (True, False):
        expressions = " ".join(check["expr"] for check in checks if bool(check["exp_samples"]) is fires)
        assert [name for name in ALERTS if f'"{name}"' not in expressions] == [], fires


@needs_promtool
def test_promtool_has_nothing_to_say() -> None:
    """The very file that ships passes Prometheus' own check, templates in annotations included."""
    done = _promtool("check", "rules", "--lint-fatal", ALERTS_FILE)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    """Prometheus' own engine, over made-up series: see alerts_test.yaml."""
    done = _promtool("test", "rules", RULE_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
