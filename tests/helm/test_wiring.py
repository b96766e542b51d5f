"""The mapping of `tests/integration/test_wiring.py`: what it does not know is an error, and never left out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import chart, compose_workloads
from tests.support.chart_workloads import Release
from tests.support.wiring import Wiring
from tests.support.workload import ROOT, Unmapped, image_of

IMAGE = image_of((ROOT / "Dockerfile").read_text())
OBJECTS = list(chart.objects_of(chart.rendered(chart.values_of("minimal"))))
SECRETS = {"tokens": {"token": "any"}}
OUTSIDE = {"kafka:9092": "127.0.0.1:9", "https://graph.facebook.com": "http://127.0.0.1:9"}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def _wired(folder: Path, objects: list[dict[str, Any]], outside: dict[str, str] | None = None) -> Wiring:
    release = Release(objects, SECRETS)
    return Wiring(folder, IMAGE, release.workloads(), release.services(), OUTSIDE if outside is None else outside)


def _composed(folder: Path, document: dict[str, Any]) -> Wiring:
    workloads = compose_workloads.workloads_of(document, given={"kafka"})
    services = compose_workloads.services_of(document, workloads)
    return Wiring(folder, IMAGE, workloads, services, {"kafka:9092": "127.0.0.1:9"})


def _pod(objects: list[dict[str, Any]], role: str) -> dict[str, Any]:
    [found] = [one for one in objects if "template" in one.get("spec", {}) and one["metadata"]["name"].endswith(role)]
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


def test_the_image_says_what_runs() -> None:
    """Entry point and environment are those of the Dockerfile's last stage."""
    assert IMAGE.entry_point == ("wapipe",)
    assert IMAGE.env["WAPIPE_STORAGE__DATA_DIR"] == "/var/lib/wapipe"


def test_what_is_declared_can_be_mapped(tmp_path: Path) -> None:
    """The cases below fail by what is changed in them, and by nothing else."""
    _wired(tmp_path / "chart", copy.deepcopy(OBJECTS))
    _composed(tmp_path / "compose", COMPOSE)


def _drop_port(pod: dict[str, Any]) -> None:
    pod["containers"][0]["ports"] = pod["containers"][0]["ports"][1:]


def _put(path: str, value: Any) -> Any:
    def change(pod: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        at: Any = pod["containers"][0]
        for name in parents:
            at = at[int(name)] if name.isdigit() else at[name]
        at[last] = value

    return change


CHANGES = {
    "a container's key that nobody runs": (_put("workingDir", "/srv"), "workingDir"),
    "a probe that is no HTTP call": (_put("livenessProbe/exec", {"command": ["true"]}), "exec"),
    "a probe at a port where nobody listens": (_put("readinessProbe/httpGet/port", 9999), "nobody listens"),
    "a probe at a port without a name": (_drop_port, "no port is called http"),
    "a port where nobody listens": (_put("ports/0/containerPort", 9101), "nobody listens"),
    "a variable from elsewhere": (
        _put("env", [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {}}}]), "valueFrom",
    ),
    "settings that are not mounted": (_put("env/0/value", "/etc/wapipe/wapipe.toml"), "not mounted"),
    "a mount without a volume": (_put("volumeMounts/0/name", "settings"), "no volume settings"),
    "another program": (_put("command", ["sh", "-c"]), "sh"),
    "another hook at its end": (_put("lifecycle", {"postStart": {}}), "postStart"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_cannot_be_mapped_is_an_error(name: str, tmp_path: Path) -> None:
    """A pod that was changed so that the mapping does not cover it, or nothing would answer, is refused by name."""
    change, said = CHANGES[name]
    objects = copy.deepcopy(OBJECTS)
    change(_pod(objects, "-sender"))
    with pytest.raises(Unmapped, match=said):
        _wired(tmp_path, objects)


def test_what_the_cluster_lacks_is_an_error(tmp_path: Path) -> None:
    """A Secret that nobody made, and an address that nobody uses."""
    with pytest.raises(Unmapped, match="no Secret tokens"):
        Release(copy.deepcopy(OBJECTS), {}).workloads()
    with pytest.raises(Unmapped, match="nobody speaks to elsewhere:1"):
        _wired(tmp_path, copy.deepcopy(OBJECTS), {**OUTSIDE, "elsewhere:1": ""})


def test_a_service_without_pods_is_an_error(tmp_path: Path) -> None:
    """A selector that fits no pod would leave its callers without an answer."""
    objects = copy.deepcopy(OBJECTS)
    [service] = [one for one in objects if one["kind"] == "Service" and one["metadata"]["name"].endswith("-ingress")]
    service["spec"]["selector"]["app.kubernetes.io/component"] = "door"
    with pytest.raises(Unmapped, match="no pod is behind it"):
        _wired(tmp_path, objects)


@pytest.mark.parametrize(
    ("service", "key", "value", "said"),
    [
        ("gate", "entrypoint", ["wapipe"], "entrypoint"),
        ("gate", "ports", ["127.0.0.1:8090:8090"], "nobody listens"),
        ("gate", "volumes", ["./data:/var/lib/wapipe"], "data"),
        ("simulator", "command", ["simulator", "--host", "127.0.0.1", "--port", "8085"], "listens on 127.0.0.1 only"),
    ],
)
def test_so_it_is_for_compose(service: str, key: str, value: Any, said: str, tmp_path: Path) -> None:
    """A service's key, port or volume that has no counterpart; one that others could not reach."""
    document = copy.deepcopy(COMPOSE)
    document["services"][service][key] = value
    with pytest.raises(Unmapped, match=said):
        _composed(tmp_path, document)
