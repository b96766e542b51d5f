"""The chart on a real Kubernetes: judged by its API server, installed, scaled, upgraded, rolled back, uninstalled.

The control plane is real and its nodes are played (see `tests.support.cluster`), so no container runs: what a pod does
is the business of the integration tests. Strimzi's schema is not to be had as a module: its KafkaTopics are judged in
`tests/helm`, the rest of that case here.
"""

from __future__ import annotations

import copy
import functools
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import chart, cluster_tools
from tests.support.broker import wait_until
from tests.support.cluster import Cluster, restricted_namespace

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(cluster_tools.missing()), reason="the control plane is not built (make cluster-tools)"),
]

SETTLED_TIMEOUT_S = 120.0
RELEASE, FULL = chart.RELEASE, f"{chart.RELEASE}-wapipe"
OWN_ACCOUNT = "messaging"
"""The service account that one case expects to be there."""
ROLES = f"app.kubernetes.io/instance={chart.RELEASE},app.kubernetes.io/component!=topics"
"""Selects the pods that are to run, and not the one that makes the topics."""
FAULTS: dict[str, tuple[str, str, str, Any, str]] = {
    "a misspelt field": ("default", "StatefulSet", "spec/replicaz", 1, "replicaz: field not declared"),
    "a bad quantity": (
        "default", "StatefulSet", "spec/template/spec/containers/0/resources/limits/memory", "1Gib",
        "quantities must match",
    ),
    "a misspelt field of KEDA": (
        "keda", "ScaledObject", "spec/minReplicaCountt", 1, "minReplicaCountt: field not declared",
    ),
    "a number for KEDA": (
        "keda", "ScaledObject", "spec/triggers/0/metadata/lagThreshold", 5000, "expected string",
    ),
    "a misspelt field of a rule": (
        "full", "PrometheusRule", "spec/groups/0/rules/0/exprr", "1", "exprr: field not declared",
    ),
    "a route to nowhere": (
        "strimzi", "HTTPRoute", "spec/rules/0/backendRefs/0/port", 99999, "less than or equal to 65535",
    ),
}  # fmt: skip
"""Case, kind, path, value, and words of what the API server must say."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane for all tests of this file; each has a namespace of its own."""
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    print(f"\ncontrol plane, {len(running.get('node', ''))} nodes: up in {running.started_s:.1f} s")
    yield running
    running.close()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace in which Pod Security enforces `restricted`; what a failed test leaves in it goes with it."""
    name = f"t{uuid.uuid4().hex[:8]}"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": OWN_ACCOUNT, "namespace": name}}
    cluster.apply(restricted_namespace(name), account)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def helm(cluster: Cluster, namespace: str) -> Callable[..., str]:
    """Runs helm in the namespace and gives its output; it must succeed, and waits until everything is ready."""

    def run(command: str, *arguments: str | Path) -> str:
        wait = ("--wait", f"--timeout={SETTLED_TIMEOUT_S:.0f}s")
        done = cluster.helm(command, RELEASE, *map(str, arguments), "-n", namespace, *wait)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@functools.cache
def _objects(case: str) -> list[dict[str, Any]]:
    """What the chart makes of a case, but for the kind whose schema is not here."""
    rendered = chart.objects_of((chart.GOLDEN / f"{case}.yaml").read_text())
    return [one for one in rendered if one["kind"] != "KafkaTopic"]


def _dry_run(cluster: Cluster, namespace: str, objects: list[dict[str, Any]]) -> tuple[int, list[str], str]:
    """Exit code, what was accepted, and what was said against it."""
    judge = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-")
    done = cluster.kubectl(*judge, objects=objects)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("case", chart.CASES)
def test_the_api_server_takes_every_object(cluster: Cluster, namespace: str, case: str) -> None:
    """Strictly validated by Kubernetes and by the operators' own schemas, with no warning of Pod Security."""
    objects = _objects(case)
    code, accepted, said = _dry_run(cluster, namespace, objects)
    assert (code, said) == (0, "")
    assert len(accepted) == len(objects)


@pytest.mark.parametrize("name", FAULTS)
def test_the_api_server_finds_planted_faults(cluster: Cluster, namespace: str, name: str) -> None:
    """The judge of the test above knows what each kind may hold, those of the operators included."""
    case, kind, path, value, words = FAULTS[name]
    broken = copy.deepcopy(next(one for one in _objects(case) if one["kind"] == kind))
    at: Any = broken
    *parents, last = path.split("/")
    for part in parents:
        at = at[int(part) if part.isdigit() else part]
    at[last] = value
    code, _, said = _dry_run(cluster, namespace, [broken])
    assert code != 0
    assert words in said


def test_a_pod_that_is_not_restricted_never_starts(cluster: Cluster, namespace: str) -> None:
    """The namespace of these tests would stop a pod that asks for more: that ours run there says something."""
    role = copy.deepcopy(next(one for one in _objects("default") if one["kind"] == "Deployment"))
    pod = role["spec"]["template"]["spec"]
    pod["serviceAccountName"] = OWN_ACCOUNT
    del pod["containers"][0]["securityContext"]
    done = cluster.kubectl("apply", "-n", namespace, "-f", "-", objects=[role])
    assert 'would violate PodSecurity "restricted' in done.stderr
    wait_until(
        lambda: any("is forbidden: violates PodSecurity" in one["message"] for one in cluster.get("event", namespace)),
        "the pod to be refused", SETTLED_TIMEOUT_S,
    )  # fmt: skip
    assert cluster.get("pod", namespace) == []


def _wanted(case: str) -> dict[str, int]:
    """Pods of each role that must be Ready; where an autoscaler decides, its least number (KEDA itself is not here)."""
    found = {}
    least = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]["minReplicas"]
        for one in _objects(case)
        if one["kind"] == "HorizontalPodAutoscaler"
    }
    for one in _objects(case):
        if one["kind"] in {"Deployment", "StatefulSet"}:
            role = one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
            found[role] = one["spec"].get("replicas", least.get(one["metadata"]["name"], 1))
    return found


def _ready(cluster: Cluster, namespace: str) -> dict[str, int]:
    """Pods that are Ready, by role."""
    found = Counter[str]()
    for pod in cluster.get("pod", namespace, ROLES):
        conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
        if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
            found[pod["metadata"]["labels"]["app.kubernetes.io/component"]] += 1
    return dict(found)


def _names(cluster: Cluster, namespace: str, kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in cluster.get(kind, namespace)}


def _uids(cluster: Cluster, namespace: str, kind: str) -> dict[str, str]:
    """Identities by name; of pods, those of the roles."""
    found = cluster.get(kind, namespace, ROLES if kind == "pod" else "")
    return {one["metadata"]["name"]: one["metadata"]["uid"] for one in found}


def _gone(cluster: Cluster, namespace: str) -> bool:
    kinds = "pod,service,configmap,statefulset,deployment,job,networkpolicy,poddisruptionbudget,serviceaccount,secret"
    left = cluster.get(f"{kinds},scaledobject,podmonitor,servicemonitor,prometheusrule,httproute,ingress", namespace)
    # What Kubernetes itself puts into every namespace, and these tests.
    return {one["metadata"]["name"] for one in left} <= {"kube-root-ca.crt", "default", OWN_ACCOUNT}


@pytest.mark.parametrize("case", chart.CASES)
def test_it_installs_runs_and_leaves_only_the_gates_volumes(
    cluster: Cluster, namespace: str, helm: Callable[..., str], case: str
) -> None:
    """Pods become Ready, the topics Job completes, claims are bound; uninstalling keeps those and nothing else."""
    helm("install", chart.CHART, "-f", chart.CASES[case], *(["--set=topics.provisioning=none"] * (case == "strimzi")))
    wait_until(lambda: _ready(cluster, namespace) == _wanted(case), f"pods of {case}", SETTLED_TIMEOUT_S)
    claims = {f"data-{FULL}-gate-{index}" for index in range(_wanted(case)["gate"])}
    console = {f"{FULL}-console"} if "console" in _wanted(case) else set()
    assert {
        one["metadata"]["name"] for one in cluster.get("pvc", namespace) if one["status"]["phase"] == "Bound"
    } == claims | console
    events = cluster.get("event", namespace)
    by_job = any((one["involvedObject"]["kind"], one["reason"]) == ("Job", "Completed") for one in events)
    assert by_job is (case not in {"minimal", "strimzi"})
    helm("uninstall")
    wait_until(lambda: _gone(cluster, namespace), "everything else to be gone", SETTLED_TIMEOUT_S)
    # What the console keeps can be read from Kafka again.
    wait_until(lambda: _names(cluster, namespace, "pvc") == claims, "the console's volume to go", SETTLED_TIMEOUT_S)


def test_a_new_install_takes_over_the_volumes_of_an_old_one(
    cluster: Cluster, namespace: str, helm: Callable[..., str]
) -> None:
    """The consent that a gate has on its disk is not read from Kafka again after a reinstall."""
    helm("install", chart.CHART, "-f", chart.CASES["default"])
    before = _uids(cluster, namespace, "pvc")
    helm("uninstall")
    helm("install", chart.CHART, "-f", chart.CASES["default"])
    assert _uids(cluster, namespace, "pvc") == before
    assert len(before) == _wanted("default")["gate"]


def test_it_scales_by_values_and_by_hand(cluster: Cluster, namespace: str, helm: Callable[..., str]) -> None:
    """Gates and senders come and go; a gate that is taken away for good takes its volume with it."""
    helm("install", chart.CHART, "-f", chart.CASES["full"])
    helm("upgrade", chart.CHART, "-f", chart.CASES["full"], "--set=gate.replicas=3,sender.replicas=4")
    wanted = {**_wanted("full"), "gate": 3, "sender": 4}
    wait_until(lambda: _ready(cluster, namespace) == wanted, "three gates, four senders", SETTLED_TIMEOUT_S)
    kept = {f"{FULL}-console", *(f"data-{FULL}-gate-{index}" for index in range(3))}
    wait_until(lambda: _names(cluster, namespace, "pvc") == kept, "the volumes of the others to go", SETTLED_TIMEOUT_S)
    for kind, role, replicas in (("statefulset", "gate", 4), ("deployment", "sender", 1)):
        done = cluster.kubectl("scale", "-n", namespace, f"{kind}/{FULL}-{role}", f"--replicas={replicas}")
        assert done.returncode == 0, done.stderr
    wanted = {**_wanted("full"), "gate": 4, "sender": 1}
    wait_until(lambda: _ready(cluster, namespace) == wanted, "four gates, one sender", SETTLED_TIMEOUT_S)


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """The chart as it would be released next: another version of it, and of the program."""
    copied = shutil.copytree(chart.CHART, tmp_path / "chart")
    about = yaml.safe_load((copied / "Chart.yaml").read_text())
    (copied / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "9.0.0", "appVersion": "9.0.0"}))
    return copied


def _images(cluster: Cluster, namespace: str) -> set[str]:
    pods = cluster.get("pod", namespace, ROLES)
    return {one["spec"]["containers"][0]["image"] for one in pods}


def test_the_next_release_rolls_over_this_one_and_back(
    cluster: Cluster, namespace: str, helm: Callable[..., str], next_release: Path
) -> None:
    """Nothing that Kubernetes holds fixed names a version: all pods are replaced, on the same volumes, both ways."""
    helm("install", chart.CHART, "-f", chart.CASES["default"])
    [now] = _images(cluster, namespace)
    pods, claims = _uids(cluster, namespace, "pod"), _uids(cluster, namespace, "pvc")
    helm("upgrade", next_release, "-f", chart.CASES["default"], "--set=config.policy.unreachable_s=86400")
    wait_until(lambda: _images(cluster, namespace) == {"wapipe:9.0.0"}, "the new pods alone", SETTLED_TIMEOUT_S)
    assert not set(pods.values()) & set(_uids(cluster, namespace, "pod").values())
    wait_until(lambda: _ready(cluster, namespace) == _wanted("default"), "all of them ready", SETTLED_TIMEOUT_S)
    helm("rollback", "1")
    wait_until(lambda: _images(cluster, namespace) == {now}, "the old pods again", SETTLED_TIMEOUT_S)
    wait_until(lambda: _ready(cluster, namespace) == _wanted("default"), "those ready", SETTLED_TIMEOUT_S)
    assert _uids(cluster, namespace, "pvc") == claims


def test_what_kubernetes_holds_fixed_is_refused_and_does_no_harm(
    cluster: Cluster, namespace: str, helm: Callable[..., str]
) -> None:
    """Another size of the gates' volumes fails with the reason; the pods stay, and the next upgrade works again."""
    values = ("-f", str(chart.CASES["default"]))
    helm("install", chart.CHART, *values)
    gates = {name: uid for name, uid in _uids(cluster, namespace, "pod").items() if "-gate-" in name}
    refused = cluster.helm(
        "upgrade", RELEASE, str(chart.CHART), *values, "-n", namespace, "--set=gate.persistence.size=16Gi"
    )
    assert refused.returncode != 0
    assert "updates to statefulset spec for fields other than" in refused.stderr
    helm("upgrade", chart.CHART, *values)
    assert gates.items() <= _uids(cluster, namespace, "pod").items()
    assert _ready(cluster, namespace) == _wanted("default")
