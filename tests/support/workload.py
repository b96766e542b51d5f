"""What a chart or a Compose file declares of one container, in the words that both share; and what an image adds.

Whatever a declaration has that is neither run (`Workload`) nor judged by other tests is `Unmapped`: an error, so that
no wiring goes untried because nobody thought of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Unmapped(AssertionError):
    """A declaration has something that cannot be run here; says where and what."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question about a container.

    Attributes:
        path: Of an HTTP GET from outside the container; None: `command` is run inside.
        port: Of the container.
        timeout_s: An answer that takes longer is none.
        within_s: From the container's start to the first good answer, at most.
    """

    path: str | None = None
    port: int = 0
    command: tuple[str, ...] = ()
    timeout_s: float = 1.0
    within_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Workload:
    """One container, as it is declared; paths, ports and names are the container's.

    Attributes:
        command: In place of the image's entry point; empty: the image's.
        args: After the entry point.
        files: Content by path of what is mounted.
        folders: Mounted folders that may be written.
        ports: What others may connect to.
        probes: By name.
        network: Containers of one network share loopback: a pod, or a service and those that join it.
        ends: Whether it has to end by itself, with code 0.
        grace_s: From SIGTERM to SIGKILL.
        pre_stop_s: Waited before SIGTERM.
        after: Workloads that come first; True: they must be well, False: they must have ended.
    """

    name: str
    args: tuple[str, ...]
    network: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    probes: Mapping[str, Probe] = field(default_factory=dict)
    ends: bool = False
    grace_s: float = 30.0
    pre_stop_s: float = 0.0
    after: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """What the Dockerfile's last stage says."""

    entry_point: tuple[str, ...]
    env: Mapping[str, str]


def image_of(dockerfile: str) -> Image:
    """Read entry point and environment of the last stage."""
    last = dockerfile.replace("\\\n", " ").rsplit("\nFROM ", 1)[1]
    [entry_point] = re.findall(r"(?m)^ENTRYPOINT (\[.*\])$", last)
    env = dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"(?m)^ENV (.*)$", last))))
    return Image(tuple(json.loads(entry_point)), env)


def require_known(where: str, found: Collection[str], run: Collection[str], held: Collection[str]) -> None:
    """Refuse keys that are neither run nor held by other tests.

    Raises:
        Unmapped: names them.
    """
    strangers = sorted(set(found) - set(run) - set(held))
    if strangers:
        raise Unmapped(f"{where}: {', '.join(strangers)}")
