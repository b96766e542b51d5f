"""A Kubernetes control plane without containers: its programs built from their Go modules into the user's cache folder.

`python -m tests.support.cluster_tools` builds what is missing; go's own settings (GOPROXY, GOFLAGS) apply. Nothing else
builds: tests that need a program are skipped where it is absent. Every version stands in this file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.embedded.jars import cache_dir
from pipeline.embedded.locks import FileLock

BUILD_TIMEOUT_S: Final = 7200.0
SHOWN_CHARS: Final = 2000
ENVIRONMENT: Final = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


@dataclass(frozen=True)
class Module:
    """A Go module as the module proxy has it."""

    path: str
    version: str


KUBERNETES: Final = Module("k8s.io/kubernetes", "v1.36.3")
ETCD: Final = Module("go.etcd.io/etcd/server/v3", "v3.6.8")
HELM: Final = Module("helm.sh/helm/v4", "v4.3.1")
KWOK: Final = Module("sigs.k8s.io/kwok", "v0.8.0")
KUBECONFORM: Final = Module("github.com/yannh/kubeconform", "v0.8.0")
KEDA: Final = Module("github.com/kedacore/keda/v2", "v2.21.0")
PROMETHEUS_OPERATOR: Final = Module("github.com/prometheus-operator/prometheus-operator", "v0.85.0")
GATEWAY_API: Final = Module("sigs.k8s.io/gateway-api", "v1.6.3")

PROGRAMS: Final[Mapping[str, tuple[Module, str]]] = {
    "etcd": (ETCD, ""),
    "kubeconform": (KUBECONFORM, "/cmd/kubeconform"),
    "helm": (HELM, "/cmd/helm"),
    "kwok": (KWOK, "/cmd/kwok"),
    "kube-apiserver": (KUBERNETES, "/cmd/kube-apiserver"),
    "kube-controller-manager": (KUBERNETES, "/cmd/kube-controller-manager"),
    "kube-scheduler": (KUBERNETES, "/cmd/kube-scheduler"),
    "kubectl": (KUBERNETES, "/cmd/kubectl"),
}
"""Module and package (below the module) of each program; what is quickly built comes first."""

FILES: Final[Mapping[str, tuple[Module, tuple[str, ...]]]] = {
    "stages": (
        KWOK,
        ("kustomize/stage/pod/fast/*.yaml", "kustomize/stage/node/fast/*.yaml",
         "kustomize/stage/node/heartbeat-with-lease/*.yaml"),
    ),
    "crds-keda": (KEDA, ("config/crd/bases/keda.sh_scaledobjects.yaml",)),
    "crds-prometheus": (
        PROMETHEUS_OPERATOR,
        tuple(f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
              for kind in ("podmonitors", "servicemonitors", "prometheusrules")),
    ),
    "crds-gateway": (GATEWAY_API, ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",)),
}  # fmt: skip
"""Files that modules carry: kwok's stages, which play the kubelet, and the schemas of objects that operators add."""


def root() -> Path:
    """The folder of all that is built here."""
    return cache_dir().parent / "cluster"


def program(name: str) -> Path:
    """Where a program is, or will be once it is built."""
    module, _ = PROGRAMS[name]
    return root() / f"{name}-{module.version}"


def files(name: str) -> list[Path]:
    """The files of a group of `FILES`, in a fixed order; none before they were fetched."""
    return sorted(_folder(name).glob("*.yaml"))


def missing(*names: str) -> list[str]:
    """Those of these programs and groups of files that are not there yet; of all, if none is named."""
    return [name for name in names or (*PROGRAMS, *FILES) if not _target(name).exists()]


def wrapper(name: str, facts: Mapping[str, Any]) -> str:
    """A go.mod that builds a program whose module says `replace`, which Go heeds in the main module only.

    Args:
        name: One of `PROGRAMS`.
        facts: Its module's own go.mod, as `go mod edit -json` tells it.
    """
    module, _ = PROGRAMS[name]
    lines = ["module local/tools", f"go {facts['Go']}", f"require {module.path} {module.version}"]
    lines += [f"godebug {one['Key']}={one['Value']}" for one in facts.get("Godebug") or ()]
    for old, new in _replacements(module, facts):
        lines.append(f"replace {old} => {new}")
        if new.startswith(f"{old} "):
            lines.append(f"require {new}")
    return "\n".join(lines) + "\n"


def _replacements(module: Module, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    required = {one["Path"]: one["Version"] for one in facts.get("Require") or ()}
    for one in facts.get("Replace") or ():
        old, new = one["Old"], one["New"]
        if "Version" in new:
            yield " ".join(filter(None, (old["Path"], old.get("Version")))), f"{new['Path']} {new['Version']}"
        elif required.get(old["Path"]) == "v0.0.0":
            # A folder of Kubernetes' own tree: its release 1.x.y publishes that as a module of version 0.x.y.
            yield old["Path"], f"{old['Path']} v0.{module.version.removeprefix('v1.')}"


def _folder(name: str) -> Path:
    module, _ = FILES[name]
    return root() / f"{name}-{module.version}"


def _target(name: str) -> Path:
    return program(name) if name in PROGRAMS else _folder(name)


def _go(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["go", *arguments], check=False, cwd=cwd, env={**os.environ, **ENVIRONMENT}, timeout=BUILD_TIMEOUT_S,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        said = (done.stdout + done.stderr)[-SHOWN_CHARS:]
        sys.exit(f"go {' '.join(arguments)} exited with {done.returncode}:\n{said}")
    return done.stdout


def _source(module: Module, cwd: Path) -> Path:
    """The folder of a module's files in Go's cache."""
    return Path(json.loads(_go("mod", "download", "-json", f"{module.path}@{module.version}", cwd=cwd))["Dir"])


def _build(name: str, work: Path) -> Path:
    module, package = PROGRAMS[name]
    facts = json.loads(_go("mod", "edit", "-json", str(_source(module, work) / "go.mod"), cwd=work))
    (work / "go.mod").write_text(wrapper(name, facts))
    stamps = {"helm.sh/helm/v4/internal/version.version": HELM.version} if module is HELM else {}
    if module is KUBERNETES:
        # Without its version the API server panics at start.
        _, major, minor, _ = module.version.replace("v", ".").split(".")
        values = {"gitVersion": module.version, "gitMajor": major, "gitMinor": minor}
        stamps = {f"k8s.io/component-base/version.{key}": value for key, value in values.items()}
    flags = " ".join(["-s -w", *(f"-X {key}={value}" for key, value in stamps.items())])
    built = work / name
    _go("build", "-mod=mod", "-trimpath", "-ldflags", flags, "-o", str(built), module.path + package, cwd=work)
    return built


def _fetch(name: str, work: Path) -> Path:
    module, patterns = FILES[name]
    source, folder = _source(module, work), work / name
    folder.mkdir()
    for pattern in patterns:
        found = [path for path in sorted(source.glob(pattern)) if path.name != "kustomization.yaml"]
        if not found:
            sys.exit(f"{module.path}@{module.version} has no {pattern}")
        for path in found:
            shutil.copyfile(path, folder / path.name)
    return folder


def main() -> None:
    """Build what is missing, one after the other; a half-built one is never used."""
    if shutil.which("go") is None:
        sys.exit("go is not on PATH")
    root().mkdir(parents=True, exist_ok=True)
    lock = FileLock(root() / "lock")
    if not lock.acquire(BUILD_TIMEOUT_S):
        sys.exit(f"another process holds {lock.path}: end it, or remove that file")
    try:
        for name in missing():
            begun_at = time.monotonic()
            work = root() / f"{name}.partial"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            (_build if name in PROGRAMS else _fetch)(name, work).rename(_target(name))
            shutil.rmtree(work)
            print(f"{_target(name).name:32} {time.monotonic() - begun_at:7.1f} s", flush=True)
    finally:
        lock.release()


if __name__ == "__main__":
    main()
