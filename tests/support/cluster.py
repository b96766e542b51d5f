"""A Kubernetes cluster on loopback: the real control plane, with nodes whose kubelets kwok plays. No container runs.

Pods are admitted, scheduled and become Ready, Jobs complete, claims are bound: all by the real controllers. What a
container would do is not seen here. Each process is ended by `close`, in the order that lets each end by itself.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipeline.embedded.layout import HOST, choose_ports
from tests.support import cluster_tools
from tests.support.broker import wait_until

START_TIMEOUT_S: Final = 240.0
"""A machine of two cores under load; alone it takes 5 s."""
COMMAND_TIMEOUT_S: Final = 300.0
END_TIMEOUT_S: Final = 20.0
NODES, VOLUMES_PER_CLASS = 3, 24
DEFAULT_CLASS, OTHER_CLASS = "standard", "fast"
POD_SECURITY: Final = "pod-security.kubernetes.io"


class Cluster:
    """A control plane of its own in a folder, with nodes, volumes, and the schemas of KEDA's and other objects.

    Attributes:
        started_s: Seconds until it answered and its nodes were ready.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        begun_at = time.monotonic()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        self.started_s = time.monotonic() - begun_at

    def kubectl(self, *arguments: str, objects: Sequence[Mapping[str, Any]] = ()) -> subprocess.CompletedProcess[str]:
        """Run kubectl; these objects are what it reads on stdin."""
        return self._command("kubectl", arguments, yaml.safe_dump_all(objects) if objects else "")

    def helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm, with a home of its own."""
        return self._command("helm", arguments, "")

    def get(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind in a namespace, as they are now."""
        done = self.kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return found

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Make objects that a test needs."""
        done = self.kubectl("apply", "--server-side", "-f", "-", objects=objects)
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        """End every process: what asks the API first, then the API, then its store."""
        for name, process in reversed(self._processes):
            process.terminate()
            try:
                # The API server holds on to open watches; nothing here needs its last words.
                process.wait(END_TIMEOUT_S if name == "etcd" else END_TIMEOUT_S / 4)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_TIMEOUT_S)
        self._processes.clear()

    def _start(self) -> None:
        ports = choose_ports(3)
        client, peer = ports[0].client, ports[0].controller
        self._api = f"https://{HOST}:{ports[1].client}"
        self._write_keys()
        self._run(
            "etcd", "--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls=http://{HOST}:{client}", f"--advertise-client-urls=http://{HOST}:{client}",
            f"--listen-peer-urls=http://{HOST}:{peer}", f"--initial-advertise-peer-urls=http://{HOST}:{peer}",
            f"--initial-cluster=default=http://{HOST}:{peer}",
        )  # fmt: skip
        self._run(
            "kube-apiserver", f"--etcd-servers=http://{HOST}:{client}", f"--bind-address={HOST}",
            f"--advertise-address={HOST}", f"--secure-port={ports[1].client}", "--cert-dir=certs",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=sa.key",
            "--service-account-signing-key-file=sa.key", "--service-cluster-ip-range=10.0.0.0/24",
            "--token-auth-file=tokens.csv", "--authorization-mode=RBAC", "--endpoint-reconciler-type=none",
        )  # fmt: skip
        self._wait(lambda: self.kubectl("get", "--raw", "/readyz").returncode == 0, "the API server to be ready")
        local = ["--kubeconfig=kubeconfig", "--leader-elect=false", f"--bind-address={HOST}"]
        self._run(
            "kube-controller-manager", *local, "--service-account-private-key-file=sa.key",
            f"--secure-port={ports[1].controller}", "--cert-dir=certs-controllers",
            # A busy machine may be late with the nodes' heartbeats; none of them ever fails here.
            "--node-monitor-grace-period=30m",
        )  # fmt: skip
        self._run("kube-scheduler", *local, f"--secure-port={ports[2].client}", "--cert-dir=certs-scheduler")
        self._run(
            "kwok", "--kubeconfig=kubeconfig", "--config=stages.yaml", "--manage-all-nodes=true", "--server-address="
        )
        self._furnish()

    def _write_keys(self) -> None:
        """A key for the tokens of service accounts, and one administrator, known by a token."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self._folder / "sa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
        token = secrets.token_hex()
        (self._folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
        named = {
            # The server makes its certificate by itself, and nobody but this host can reach it.
            "clusters": [{"name": "test", "cluster": {"server": self._api, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        }
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "test", **named}
        (self._folder / "kubeconfig").write_text(yaml.safe_dump(config))
        stages = [path.read_text() for path in cluster_tools.files("stages")]
        (self._folder / "stages.yaml").write_text("\n---\n".join(stages))

    def _furnish(self) -> None:
        """Nodes, volumes of two classes, and the schemas of objects that operators add."""
        self.apply(*_nodes(), *_storage())
        crds = [path for name in cluster_tools.FILES if name.startswith("crds") for path in cluster_tools.files(name)]
        done = self.kubectl("apply", "--server-side", *(f"--filename={path}" for path in crds))
        assert done.returncode == 0, done.stderr
        done = self.kubectl("wait", "--for=condition=Established", "crd", "--all", f"--timeout={START_TIMEOUT_S:.0f}s")
        assert done.returncode == 0, done.stderr
        done = self.kubectl("wait", "--for=condition=Ready", "node", "--all", f"--timeout={START_TIMEOUT_S:.0f}s")
        assert done.returncode == 0, done.stderr

    def _run(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [cluster_tools.program(name), *arguments],
                cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._processes.append((name, process))

    def _wait(self, is_true: Any, what: str) -> None:
        def checked() -> bool:
            for name, process in self._processes:
                log = self._folder / f"{name}.log"
                assert process.poll() is None, f"{name} ended by itself:\n{log.read_text()[-2000:]}"
            return bool(is_true())

        wait_until(checked, what, START_TIMEOUT_S)

    def _command(self, name: str, arguments: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
        home = {"HOME": str(self._folder), "KUBECONFIG": str(self._folder / "kubeconfig"), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [cluster_tools.program(name), *arguments], check=False, cwd=self._folder, env=home, input=stdin,
            timeout=COMMAND_TIMEOUT_S, capture_output=True, text=True,
        )  # fmt: skip


def restricted_namespace(name: str) -> dict[str, Any]:
    """A namespace that admits no pod which is not `restricted`, and says so for what makes pods, too."""
    labels = {f"{POD_SECURITY}/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _nodes() -> list[dict[str, Any]]:
    room = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"node-{index}",
                "labels": {
                    "kubernetes.io/hostname": f"node-{index}",
                    "kubernetes.io/os": "linux",
                    "topology.kubernetes.io/zone": f"zone-{index}",
                },
            },
            "status": {"allocatable": room, "capacity": room},
        }
        for index in range(NODES)
    ]


def _storage() -> list[dict[str, Any]]:
    """Two storage classes with volumes made beforehand: nothing here makes any."""
    made: list[dict[str, Any]] = []
    for name in (DEFAULT_CLASS, OTHER_CLASS):
        default = {"storageclass.kubernetes.io/is-default-class": str(name == DEFAULT_CLASS).lower()}
        made.append(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": name, "annotations": default},
                "provisioner": "kubernetes.io/no-provisioner",
            }
        )
        made += [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{name}-{index}"},
                "spec": {
                    "storageClassName": name,
                    "capacity": {"storage": "20Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": f"/nowhere/{name}-{index}"},
                },
            }
            for index in range(VOLUMES_PER_CLASS)
        ]
    return made
