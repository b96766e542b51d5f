"""From a Compose file to `Workload`s: the services of no profile, with their configs, volumes and health checks."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from tests.support.workload import Probe, Unmapped, Workload, require_known

RUN: Final = {
    "command", "environment", "configs", "volumes", "tmpfs", "depends_on", "healthcheck", "ports", "network_mode",
    "stop_grace_period", "restart", "image",
}  # fmt: skip
HELD: Final = {"build", "read_only", "cap_drop", "security_opt"}
"""The image and its rights: other tests judge them."""
CHECK_RUN: Final = {"test", "interval", "timeout", "retries", "start_period"}
CONDITIONS: Final = {"service_healthy": True, "service_completed_successfully": False}


def workloads_of(document: Mapping[str, Any], given: Collection[str]) -> list[Workload]:
    """Every service that `docker compose up` starts.

    Args:
        given: Services that somebody else stands in for.

    Raises:
        Unmapped: a service has something that cannot be run here.
    """
    services = {name: one for name, one in document["services"].items() if "profiles" not in one}
    contents = {name: one["content"] for name, one in document["configs"].items()}
    return [_workload(name, one, contents, given) for name, one in services.items() if name not in given]


def services_of(document: Mapping[str, Any], workloads: Collection[Workload]) -> dict[str, tuple[str, int]]:
    """By `name:port`: network and port of a service, for the ports that others are told of."""
    text = repr([document["configs"], [one.get("command") for one in document["services"].values()]])
    return {
        f"{one.name}:{port}": (one.network, int(port))
        for one in workloads
        for port in set(re.findall(rf"\b{re.escape(one.name)}:(\d+)", text))
    }


def _workload(name: str, service: Mapping[str, Any], contents: Mapping[str, str], given: Collection[str]) -> Workload:
    require_known(name, service.keys(), RUN, HELD)
    files = {}
    for config in service.get("configs", ()):
        if config["source"] not in contents:
            raise Unmapped(f"{name}: there is no config {config['source']}")
        files[config["target"]] = contents[config["source"]]
    return Workload(
        name=name,
        args=tuple(map(str, service["command"])),
        network=service.get("network_mode", f"service:{name}").removeprefix("service:"),
        env={key: str(value) for key, value in service.get("environment", {}).items()},
        files=files,
        folders=_folders(name, service),
        ports=tuple(_published(name, port) for port in service.get("ports", ())),
        probes=_checks(name, service),
        ends=service["restart"] == "no",
        grace_s=_seconds(service["stop_grace_period"]),
        after={
            other: CONDITIONS[how["condition"]] for other, how in service["depends_on"].items() if other not in given
        },
    )


def _folders(name: str, service: Mapping[str, Any]) -> tuple[str, ...]:
    found = [one.split(":")[0] for one in service.get("tmpfs", ())]
    for volume in service.get("volumes", ()):
        source, target, *_ = volume.split(":")
        if source.startswith((".", "/")):
            raise Unmapped(f"{name}: {volume}")
        found.append(target)
    return tuple(found)


def _published(name: str, port: str) -> int:
    found = re.fullmatch(r"127\.0\.0\.1:\d+:(\d+)", port)
    if found is None:
        raise Unmapped(f"{name}: port {port}")
    return int(found[1])


def _checks(name: str, service: Mapping[str, Any]) -> dict[str, Probe]:
    if "healthcheck" not in service:
        return {}
    check = service["healthcheck"]
    require_known(f"{name}, healthcheck", check.keys(), CHECK_RUN, ())
    kind, *command = check["test"]
    if kind != "CMD":
        raise Unmapped(f"{name}, healthcheck: {kind}")
    within_s = _seconds(check["start_period"]) + check["retries"] * _seconds(check["interval"])
    return {"healthcheck": Probe(command=tuple(command), timeout_s=_seconds(check["timeout"]), within_s=within_s)}


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)s", text)
    if found is None:
        raise Unmapped(f"not in seconds: {text}")
    return float(found[1])
