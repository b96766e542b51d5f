"""The chart in the hands of the programs that people use: helm and kubeconform themselves."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import chart, cluster_tools
from tests.support.bad_values import BAD
from tests.support.kubernetes import standalone_schemas

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        bool(cluster_tools.missing("helm", "kubeconform")),
        reason="helm and kubeconform are not built (make cluster-tools)",
    ),
]

KUBERNETES = "1.36.0"
OPERATORS = {"ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule", "HTTPRoute", "KafkaTopic"}
"""Kinds that Kubernetes has no schema of: `test_cluster.py` has the real ones judged, all but KafkaTopic."""


def _run(name: str, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [cluster_tools.program(name), *arguments], check=False, input=stdin, timeout=60, capture_output=True, text=True
    )


def _helm_template(values: Path) -> subprocess.CompletedProcess[str]:
    return _run("helm", "template", chart.RELEASE, chart.CHART, "-n", chart.NAMESPACE, "-f", values)


@pytest.mark.parametrize("case", chart.CASES)
def test_helm_renders_what_its_library_does(case: str) -> None:
    """The golden copies are what `helm install` sends: same objects, same fields."""
    done = _helm_template(chart.CASES[case])
    assert done.returncode == 0, done.stderr

    def by_name(manifests: str) -> dict[tuple[str, str], dict[str, Any]]:
        return {(one["kind"], one["metadata"]["name"]): one for one in chart.objects_of(manifests)}

    assert by_name(done.stdout) == by_name((chart.GOLDEN / f"{case}.yaml").read_text())


@pytest.mark.parametrize("case", chart.CASES)
def test_helm_lint_finds_nothing(case: str) -> None:
    """`helm lint --strict` passes."""
    done = _run("helm", "lint", "--strict", chart.CHART, "-f", chart.CASES[case])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("name", BAD)
def test_helm_says_what_to_change(name: str, tmp_path: Path) -> None:
    """Who installs values that cannot work reads the key that is to blame."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(BAD[name].values()))
    done = _helm_template(path)
    assert done.returncode != 0
    assert BAD[name].said in done.stderr


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where kubeconform finds the schemas of one Kubernetes."""
    return standalone_schemas(KUBERNETES, tmp_path_factory.mktemp("schemas"))


def _summary(objects: list[dict[str, Any]], schemas: str) -> tuple[dict[str, int], str]:
    """What kubeconform counts, and all that it says."""
    done = _run(
        "kubeconform", "-strict", "-summary", "-output=json", f"-kubernetes-version={KUBERNETES}",
        f"-schema-location={schemas}", f"-skip={','.join(sorted(OPERATORS))}", stdin=yaml.safe_dump_all(objects),
    )  # fmt: skip
    counts: dict[str, int] = json.loads(done.stdout)["summary"]
    return counts, done.stdout + done.stderr


@pytest.mark.parametrize("case", chart.CASES)
def test_kubeconform_finds_every_object_valid(case: str, schemas: str) -> None:
    """Strict, on local schemas; what it passes over are the operators' kinds and nothing else."""
    objects = list(chart.objects_of((chart.GOLDEN / f"{case}.yaml").read_text()))
    foreign = sum(one["kind"] in OPERATORS for one in objects)
    counts, said = _summary(objects, schemas)
    assert counts == {"valid": len(objects) - foreign, "invalid": 0, "errors": 0, "skipped": foreign}, said
    assert counts["valid"] >= 7


def test_kubeconform_finds_planted_faults(schemas: str) -> None:
    """A misspelt field, a number written as text, and a kind without a schema are none of them passed over."""
    golden = (chart.GOLDEN / "default.yaml").read_text()
    [gate] = [one for one in chart.objects_of(golden) if one["kind"] == "StatefulSet"]
    broken = [copy.deepcopy(gate) for _ in range(2)]
    broken[0]["spec"]["replicaz"] = 1
    broken[1]["spec"]["replicas"] = "2"
    counts, said = _summary([gate, *broken, {**gate, "kind": "StatefulSets"}], schemas)
    assert counts == {"valid": 1, "invalid": 2, "errors": 1, "skipped": 0}, said
