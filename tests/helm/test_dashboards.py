"""The dashboards that ship: they load, ask for what exists, and show what the one on call asks for first."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from tests.support.promql import DASHBOARDS, declared, expressions, panels, strangers

EXPRESSIONS = [(name, title, expr) for name in DASHBOARDS for title, expr in expressions(name)]
# The console's own figures are for who suspects the console: nothing that is sent depends on it.
NOT_SHOWN = {
    "wapipe_rerouted_total", "wapipe_console_logins_total", "wapipe_console_requests_total", "wapipe_console_streams",
    "wapipe_read_model_behind", "wapipe_read_model_bytes", "wapipe_read_model_records_total",
}  # fmt: skip
"""Metrics for a search only; every other one has a panel."""


def _loaded(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARDS[name].read_text())
    return loaded


def test_there_are_three() -> None:
    """Each has a uid of its own that does not change, so links to it last."""
    assert {name: _loaded(name)["uid"] for name in DASHBOARDS} == {
        "overview": "wapipe-overview",
        "sender": "wapipe-sender",
        "ingress-and-consent": "wapipe-ingress-and-consent",
    }


@pytest.mark.parametrize(("name", "title", "expr"), EXPRESSIONS)
def test_an_expression_names_what_there_is(name: str, title: str, expr: str) -> None:
    """It parses, and every metric and label of it is declared in the code or set by the scrape."""
    assert strangers(expr) == []


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_are_declared_and_used(name: str) -> None:
    """Any Grafana can take it: the data source is a variable, and no expression uses one that there is not."""
    text = DASHBOARDS[name].read_text()
    variables = {one["name"] for one in _loaded(name)["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__all"}
    assert used == variables
    assert set(re.findall(r'"datasource": (\{[^}]*\}?"?\})', text)) == {
        '{"type": "prometheus", "uid": "${DS_PROMETHEUS}"}'
    }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_can_be_told_apart_and_do_not_overlap(name: str) -> None:
    """Ids and titles are unique, each panel says what it shows and in what unit, and the grid has no collision."""
    found = panels(name)
    assert len({panel["id"] for panel in found}) == len({panel["title"] for panel in found}) == len(found)
    cells = Counter(
        (x, y)
        for at in (panel["gridPos"] for panel in found)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24
    for panel in found:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


def test_every_metric_is_shown() -> None:
    """What the code counts can be seen somewhere."""
    text = " ".join(expr for _, _, expr in EXPRESSIONS)
    silent = {name for name in declared() if name not in text and not name.endswith(("_sum", "_count"))}
    assert silent == NOT_SHOWN
