"""The chart, rendered by a real helm: valid objects, restricted pods, settings that load, guards that speak."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from pipeline.cli.main import COMMANDS
from pipeline.config import load
from pipeline.streams.topics import TOPICS
from tests.support import chart
from tests.support.bad_values import BAD
from tests.support.kubernetes import problems

KUBERNETES = ("1.29.0", "1.36.0")
CRDS = {"ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule", "HTTPRoute", "KafkaTopic"}
"""Kinds whose schemas Kubernetes does not have."""
VOLUMES = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
"""What Pod Security `restricted` lets be mounted, as far as we need it."""
RENDERED = {case: chart.rendered(chart.values_of(case)) for case in chart.CASES}


@functools.cache
def _objects(case: str) -> list[dict[str, Any]]:
    return list(chart.objects_of(RENDERED[case]))


def _pods(case: str) -> list[tuple[str, dict[str, Any]]]:
    return [(one["metadata"]["name"], pod) for one in _objects(case) for pod in _pod_specs(one)]


def _pod_specs(node: Any) -> Iterator[dict[str, Any]]:
    """Every pod's spec anywhere in an object: of a workload, a Job, or what a CronJob makes."""
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for value in node.values():
            yield from _pod_specs(value)


def test_six_cases_are_kept() -> None:
    """Every way to install that README names has a values file."""
    assert set(chart.CASES) == {"default", "minimal", "full", "strimzi", "keda", "external-secrets"}


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    """Every setting of the program can be set in `config`; topics are its own: else `python -m tests.support.chart`."""
    assert chart.VALUES_SCHEMA.read_text() == chart.schema_text()
    assert chart.TOPICS_FILE.read_text() == chart.topics_yaml()


@pytest.mark.parametrize("case", chart.CASES)
def test_it_renders_as_before(case: str) -> None:
    """A change of what is rendered is seen in review: the golden copy is renewed with it."""
    assert RENDERED[case] == (chart.GOLDEN / f"{case}.yaml").read_text()


@pytest.mark.parametrize("case", chart.CASES)
def test_lint_finds_nothing(case: str) -> None:
    """`helm lint --strict` has nothing to say."""
    report = helm_python.lint(chart.CHART, chart.values_of(case), strict=True)
    assert [one for one in report["messages"] if one["severity"] > 1] == []
    assert report["total_charts_linted"] == 1


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("case", chart.CASES)
def test_every_object_is_valid(case: str, version: str) -> None:
    """Each object passes the strict schema of its kind, in the oldest and a new Kubernetes; none is passed over."""
    judged = [one for one in _objects(case) if one["kind"] not in CRDS]
    assert {one["metadata"]["name"]: problems(one, version) for one in judged if problems(one, version)} == {}
    assert {"ConfigMap", "Service", "StatefulSet", "Deployment"} <= {one["kind"] for one in judged}


def test_a_planted_fault_is_found() -> None:
    """The judge of the test above knows a misspelt field, a number written as text, and a kind that there is not."""
    [gate] = [one for one in _objects("default") if one["kind"] == "StatefulSet"]
    for path, value in (("spec/replicaz", 1), ("spec/replicas", "2")):
        broken = copy.deepcopy(gate)
        *parents, last = path.split("/")
        functools.reduce(dict.__getitem__, parents, broken)[last] = value
        assert problems(broken, KUBERNETES[1]), path
    with pytest.raises(FileNotFoundError):
        problems({**gate, "kind": "StatefulSets"}, KUBERNETES[1])


@pytest.mark.parametrize("case", chart.CASES)
def test_names_are_unique_and_pods_are_selected(case: str) -> None:
    """No two objects are the same, and every selector fits the pods of exactly its role."""
    names = [(one["kind"], one["metadata"]["name"]) for one in _objects(case)]
    assert len(names) == len(set(names))
    labels = [
        one["spec"]["template"]["metadata"]["labels"] for one in _objects(case) if "template" in one.get("spec", {})
    ]
    for one in _objects(case):
        if one["kind"] in {"Service", "PodDisruptionBudget"}:
            spec = one["spec"]["selector"]
            wanted = spec.get("matchLabels", spec)
            assert sum(wanted.items() <= found.items() for found in labels) == 1, one["metadata"]["name"]


@pytest.mark.parametrize("case", chart.CASES)
def test_pods_are_restricted(case: str) -> None:
    """What Pod Security `restricted` asks for, and that no pod can write its own files or talk to Kubernetes."""
    for name, pod in _pods(case):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert "sysctls" not in pod["securityContext"], name
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "ephemeralContainers"} & pod.keys(), name
        assert all(set(volume) & VOLUMES for volume in pod["volumes"]), name
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            # Nothing else is set there that could take back what the pod says.
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert not [port for port in container.get("ports", ()) if "hostPort" in port], name
            assert container["resources"]["limits"]["memory"], name


@pytest.mark.parametrize("case", chart.CASES)
def test_the_settings_load(case: str, tmp_path: Path) -> None:
    """The file that pods get is one that the program takes, with the values' own settings in it."""
    texts = [
        one["data"]["wapipe.toml"]
        for one in _objects(case)
        if one["kind"] == "ConfigMap" and "wapipe.toml" in one["data"]
    ]
    assert texts
    for index, text in enumerate(texts):
        path = tmp_path / f"{index}.toml"
        path.write_text(text)
        settings = load(path, {})
        config = chart.values_of(case).get("config", {})
        assert set(settings.numbers) == set(config.get("numbers", {}))
        assert settings.kafka.client == config.get("kafka", {}).get("client", {})
        assert not any(isinstance(value, float) for value in settings.kafka.client.values()), "librdkafka takes none"
        assert settings.http.port == 9100
        assert str(settings.storage.data_dir) == "/var/lib/wapipe"


@pytest.mark.parametrize("case", chart.CASES)
def test_pods_run_commands_of_the_program_with_probes_that_it_serves(case: str) -> None:
    """Arguments are commands, probes ask the health port, mounts have volumes, and roles have time to drain."""
    for name, pod in _pods(case):
        [container] = pod["containers"]
        assert container["args"][0] in COMMANDS, name
        volumes = {volume["name"] for volume in pod["volumes"]} | ({"data"} if name.endswith("gate") else set())
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name
        if container["args"][0] == "topics":
            continue
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["http"] == 9100
        paths = {
            probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
        assert pod["terminationGracePeriodSeconds"] >= 60


def test_strimzi_topics_are_the_programs() -> None:
    """One KafkaTopic per topic, with its prefix, its partitions and its policy."""
    topics = {one["spec"]["topicName"]: one["spec"] for one in _objects("strimzi") if one["kind"] == "KafkaTopic"}
    assert set(topics) == {f"msg.{topic.name}" for topic in TOPICS}
    assert topics["msg.consent"]["partitions"] == 12
    assert topics["msg.ready-bulk"]["partitions"] == 2
    assert topics["msg.account-state"]["partitions"] == 1
    assert topics["msg.consent"]["config"]["cleanup.policy"] == "compact"
    assert topics["msg.send-ledger"]["config"]["retention.ms"] == str(240 * 3_600_000)


def test_keda_scales_the_gate_only_and_with_texts() -> None:
    """A throttled sender has lag for a good reason: nothing scales it; all metadata values are strings."""
    [scaled] = [one for one in _objects("keda") if one["kind"] == "ScaledObject"]
    assert scaled["spec"]["scaleTargetRef"]["name"].endswith("-gate")
    assert all(
        isinstance(value, str) for trigger in scaled["spec"]["triggers"] for value in trigger["metadata"].values()
    )
    assert scaled["spec"]["minReplicaCount"] >= 1
    [gate] = [one for one in _objects("keda") if one["kind"] == "StatefulSet"]
    assert "replicas" not in gate["spec"], "the autoscaler's number would be reset at each upgrade"


def test_no_secret_is_in_what_is_rendered() -> None:
    """Secrets are referred to by name; none is made, and none stands in a ConfigMap."""
    for case, text in RENDERED.items():
        assert "kind: Secret\n" not in text, case
        assert not re.search(r"(?i)(password|token|secret)\s*=\s*\"(?!/)", text), case


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_work_is_refused_with_what_to_change(name: str) -> None:
    """Values that would install something broken never render; the message names the key."""
    with pytest.raises(helm_python.HelmError) as refused:
        chart.rendered(BAD[name].values())
    assert BAD[name].said in str(refused.value)
