"""The go.mod that builds a program of somebody else's module: what it must say again, and what it must not."""

from __future__ import annotations

from tests.support.cluster_tools import ETCD, KUBERNETES, wrapper


def test_folders_of_kubernetes_become_its_published_modules() -> None:
    """What its own tree has in folders is taken from the proxy, of the same release, and go's switches stay."""
    facts = {
        "Go": "1.26.0",
        "Godebug": [{"Key": "default", "Value": "go1.26"}],
        "Require": [{"Path": "k8s.io/api", "Version": "v0.0.0"}],
        "Replace": [{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}}],
    }
    library = f"v0.{KUBERNETES.version.removeprefix('v1.')}"
    assert wrapper("kube-apiserver", facts).splitlines() == [
        "module local/tools",
        "go 1.26.0",
        f"require k8s.io/kubernetes {KUBERNETES.version}",
        "godebug default=go1.26",
        f"replace k8s.io/api => k8s.io/api {library}",
        f"require k8s.io/api {library}",
    ]


def test_forks_are_kept_and_sister_folders_are_not() -> None:
    """A replacement by another module stands as it is; one by a folder that has a version of its own is dropped."""
    facts = {
        "Go": "1.25",
        "Require": [{"Path": "go.etcd.io/etcd/api/v3", "Version": "v3.6.8"}],
        "Replace": [
            {"Old": {"Path": "go.etcd.io/etcd/api/v3"}, "New": {"Path": "../api"}},
            {"Old": {"Path": "a.example/b", "Version": "v1.0.0"}, "New": {"Path": "c.example/d", "Version": "v1.0.1"}},
        ],
    }
    assert wrapper("etcd", facts).splitlines()[2:] == [
        f"require {ETCD.path} {ETCD.version}",
        "replace a.example/b v1.0.0 => c.example/d v1.0.1",
    ]
