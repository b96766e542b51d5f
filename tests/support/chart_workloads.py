"""From rendered manifests to `Workload`s: the pods of a release, with what is mounted into them, and its Services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.support.workload import Probe, Unmapped, Workload, require_known

POD_RUN: Final = {"containers", "volumes", "restartPolicy", "terminationGracePeriodSeconds"}
POD_HELD: Final = {
    "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "imagePullSecrets", "securityContext",
    "topologySpreadConstraints", "nodeSelector", "tolerations", "affinity",
}  # fmt: skip
"""Rights and places: tests of the chart and of the cluster judge them."""
CONTAINER_RUN: Final = {
    "name", "command", "args", "env", "ports", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle",
    "volumeMounts",
}  # fmt: skip
CONTAINER_HELD: Final = {"image", "imagePullPolicy", "resources", "securityContext"}
VOLUME_RUN: Final = {"name", "configMap", "secret", "emptyDir", "persistentVolumeClaim"}
PROBE_RUN: Final = {"httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"}
READY_WITHIN_S: Final = 90.0
"""Kubernetes waits for readiness for ever; a test does not."""

Secrets = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Release:
    """The objects of a release.

    Attributes:
        secrets: What the cluster has besides: contents by Secret and key.
    """

    objects: Sequence[Mapping[str, Any]]
    secrets: Secrets

    def workloads(self) -> list[Workload]:
        """Every pod of it, hooks first, replicas one by one.

        Raises:
            Unmapped: a pod has something that cannot be run here.
        """
        found = [one for one in self.objects if "template" in one.get("spec", {})]
        hooks = [one for one in found if "helm.sh/hook" in one["metadata"].get("annotations", {})]
        first = tuple(_name_of(one, None) for one in hooks)
        made = [self._workload(one, None, ()) for one in hooks]
        for one in (one for one in found if one not in hooks):
            made += [self._workload(one, index, first) for index in range(one["spec"]["replicas"])]
        return made

    def services(self) -> dict[str, tuple[str, int]]:
        """By `name:port` of each Service: network and port of the first pod behind it.

        Raises:
            Unmapped: nobody is behind it.
        """
        found = {}
        for service in (one for one in self.objects if one["kind"] == "Service"):
            for port in service["spec"]["ports"]:
                address = f"{service['metadata']['name']}:{port['port']}"
                found[address] = self._behind(address, service["spec"]["selector"], port["targetPort"])
        return found

    def routes(self) -> dict[str, str]:
        """By path of each rule of an Ingress: `name:port` of the Service that it leads to."""
        found = {}
        for one in (one for one in self.objects if one["kind"] == "Ingress"):
            for rule in one["spec"]["rules"]:
                for path in rule["http"]["paths"]:
                    service = path["backend"]["service"]
                    port = self._port_of(service["name"], service["port"])
                    found[path["path"]] = f"{service['name']}:{port}"
        return found

    def _port_of(self, service: str, port: Mapping[str, Any]) -> int:
        for one in self.objects:
            if one["kind"] == "Service" and one["metadata"]["name"] == service:
                for known in one["spec"]["ports"]:
                    if port.get("name") == known["name"] or port.get("number") == known["port"]:
                        return int(known["port"])
        raise Unmapped(f"an Ingress leads to {service} {dict(port)}, which is no Service's")

    def _behind(self, address: str, selector: Mapping[str, str], target: str | int) -> tuple[str, int]:
        for one in self.objects:
            template = one.get("spec", {}).get("template")
            if template is not None and selector.items() <= template["metadata"]["labels"].items():
                [container] = template["spec"]["containers"]
                return _name_of(one, 0), _port(f"{address}", container, target)
        raise Unmapped(f"{address}: no pod is behind it")

    def _workload(self, owner: Mapping[str, Any], index: int | None, after: Sequence[str]) -> Workload:
        name, pod = _name_of(owner, index), owner["spec"]["template"]["spec"]
        require_known(name, pod.keys(), POD_RUN, POD_HELD)
        if len(pod["containers"]) != 1:
            raise Unmapped(f"{name}: {len(pod['containers'])} containers")
        [container] = pod["containers"]
        require_known(f"{name}, container", container.keys(), CONTAINER_RUN, CONTAINER_HELD)
        volumes = {one["name"]: one for one in pod["volumes"]}
        claims = {one["metadata"]["name"] for one in owner["spec"].get("volumeClaimTemplates", ())}
        files, folders = dict[str, str](), list[str]()
        for mount in container["volumeMounts"]:
            require_known(f"{name}, mount", mount.keys(), {"name", "mountPath", "readOnly"}, ())
            content = None if mount["name"] in claims else self._content(name, volumes, mount["name"])
            if content is None:
                folders.append(mount["mountPath"])
            else:
                files |= {f"{mount['mountPath']}/{key}": text for key, text in content.items()}
        return Workload(
            name=name,
            args=tuple(map(str, container.get("args", ()))),
            network=name,
            command=tuple(container.get("command", ())),
            env={one["name"]: _value(name, one) for one in container["env"]},
            files=files,
            folders=tuple(folders),
            ports=tuple(one["containerPort"] for one in container.get("ports", ())),
            probes=_probes(name, container),
            ends=owner["kind"] == "Job",
            grace_s=pod.get("terminationGracePeriodSeconds", 30),
            pre_stop_s=_pre_stop_s(name, container.get("lifecycle", {})),
            after=dict.fromkeys(after, False),
        )

    def _content(self, who: str, volumes: Mapping[str, Any], name: str) -> Mapping[str, str] | None:
        """Contents of a volume by file name; None: it is empty, and may be written."""
        if name not in volumes:
            raise Unmapped(f"{who}: there is no volume {name}")
        volume = volumes[name]
        require_known(f"{who}, volume", volume.keys(), VOLUME_RUN, ())
        if "configMap" in volume:
            wanted = volume["configMap"]["name"]
            for one in self.objects:
                if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", wanted):
                    content: Mapping[str, str] = one["data"]
                    return content
            raise Unmapped(f"{who}: there is no ConfigMap {wanted}")
        if "secret" in volume:
            wanted = volume["secret"]["secretName"]
            if wanted not in self.secrets:
                raise Unmapped(f"{who}: there is no Secret {wanted}")
            return self.secrets[wanted]
        if "persistentVolumeClaim" in volume:
            wanted = volume["persistentVolumeClaim"]["claimName"]
            made = {one["metadata"]["name"] for one in self.objects if one["kind"] == "PersistentVolumeClaim"}
            if wanted not in made:
                raise Unmapped(f"{who}: there is no claim {wanted}")
        return None


def _name_of(owner: Mapping[str, Any], index: int | None) -> str:
    name = str(owner["metadata"]["name"])
    return name if index is None else f"{name}-{index}"


def _value(who: str, variable: Mapping[str, Any]) -> str:
    require_known(f"{who}, env {variable['name']}", variable.keys(), {"name", "value"}, ())
    return str(variable["value"])


def _port(who: str, container: Mapping[str, Any], port: str | int) -> int:
    if isinstance(port, int):
        return port
    for one in container.get("ports", ()):
        if one["name"] == port:
            return int(one["containerPort"])
    raise Unmapped(f"{who}: no port is called {port}")


def _probes(who: str, container: Mapping[str, Any]) -> dict[str, Probe]:
    found = {}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if name not in container:
            continue
        probe = container[name]
        require_known(f"{who}, {name}", probe.keys(), PROBE_RUN, ())
        require_known(f"{who}, {name}", probe["httpGet"].keys(), {"path", "port"}, ())
        within_s = probe["periodSeconds"] * probe.get("failureThreshold", 3)
        found[name] = Probe(
            path=probe["httpGet"]["path"],
            port=_port(f"{who}, {name}", container, probe["httpGet"]["port"]),
            timeout_s=probe.get("timeoutSeconds", 1),
            within_s=READY_WITHIN_S if name == "readinessProbe" else within_s,
        )
    return found


def _pre_stop_s(who: str, lifecycle: Mapping[str, Any]) -> float:
    require_known(f"{who}, lifecycle", lifecycle.keys(), {"preStop"}, ())
    pre_stop = lifecycle.get("preStop", {})
    require_known(f"{who}, preStop", pre_stop.keys(), {"sleep"}, ())
    return float(pre_stop.get("sleep", {}).get("seconds", 0))
