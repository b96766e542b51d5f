"""Expressions of alerts and dashboards: parsed, and compared with what the code declares and its targets carry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import promql_parser
import yaml
from prometheus_client.metrics import MetricWrapperBase

from pipeline.metrics import Metrics

ROOT: Final = Path(__file__).parents[2]
ALERTS_FILE: Final = ROOT / "helm" / "files" / "alerts.yaml"
RUNBOOK: Final = ROOT / "helm" / "RUNBOOK.md"
DASHBOARDS: Final = {path.stem: path for path in sorted((ROOT / "helm" / "files" / "dashboards").glob("*.json"))}
"""Dashboard files by name."""
TARGET_LABELS: Final = frozenset({"role", "instance", "namespace"})
"""What a scrape adds to every series: the chart's monitors, or docker-compose.yml."""
GRAFANA: Final = {"$__rate_interval": "1m", "$__all": ".*"}


def alerts() -> list[dict[str, Any]]:
    """All alerting rules that ship."""
    return [rule for group in yaml.safe_load(ALERTS_FILE.read_text())["groups"] for rule in group["rules"]]


def panels(dashboard: str) -> list[dict[str, Any]]:
    """The panels of a dashboard."""
    found: list[dict[str, Any]] = json.loads(DASHBOARDS[dashboard].read_text())["panels"]
    return found


def expressions(dashboard: str) -> Iterator[tuple[str, str]]:
    """Panel title and expression, as Prometheus gets it with "All" chosen for every variable."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield panel["title"], substituted(target["expr"])


def substituted(expr: str) -> str:
    """An expression without Grafana's variables, which are no PromQL."""
    for name, value in GRAFANA.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".*", expr)


def declared() -> Mapping[str, frozenset[str]]:
    """Labels of each series that the code declares, by its name on the wire."""
    found: dict[str, frozenset[str]] = {}
    for family in vars(Metrics()).values():
        if not isinstance(family, MetricWrapperBase):
            continue
        labels = frozenset(family._labelnames)
        if family._type == "histogram":
            found[f"{family._name}_bucket"] = labels | {"le"}
            found |= dict.fromkeys((f"{family._name}_sum", f"{family._name}_count"), labels)
        else:
            found[f"{family._name}_total" if family._type == "counter" else family._name] = labels
    return found


def strangers(expr: str) -> list[str]:
    """What an expression names that does not exist: metrics, labels in matchers, labels to group or match by.

    Raises:
        ValueError: it is no PromQL.
    """
    known, found, used = declared(), [], set[str]()
    selectors, groupings = _parts(promql_parser.parse(expr))
    for name, matched in selectors:
        if name not in known:
            found.append(name)
            continue
        used |= known[name] | TARGET_LABELS
        found += [f"{name}{{{label}}}" for label in sorted(matched - known[name] - TARGET_LABELS)]
    return found + [f"by ({label})" for label in sorted(groupings - used)]


def _parts(node: Any) -> tuple[list[tuple[str, set[str]]], set[str]]:
    """Every selector (name, labels that it matches) and every label to group or join by, anywhere below."""
    if isinstance(node, promql_parser.VectorSelector):
        return [(str(node.name), {matcher.name for matcher in node.matchers.matchers})], set()
    modifier = getattr(node, "modifier", None)
    matching = getattr(modifier, "matching", modifier)
    groupings = set(getattr(matching, "labels", None) or ())
    selectors: list[tuple[str, set[str]]] = []
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    for child in [*children, *(getattr(node, "args", None) or ())]:
        if child is not None:
            below = _parts(child)
            selectors += below[0]
            groupings |= below[1]
    return selectors, groupings
