"""A real Prometheus on loopback, for tests that ask what a scrape of running processes comes to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.embedded.layout import HOST, choose_ports
from tests.support.broker import wait_until

PROGRAM, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
"""Both are in Debian's package."""
READY_TIMEOUT_S: Final = 30.0
EVERY: Final = "1s"
ENDPOINT: Final = re.compile(r"(?m)^(gate|sender|ingress)-\d+ +pid \d+, http://(\S+)/metrics$")


def targets_of(output: str) -> dict[str, list[str]]:
    """Addresses by role, as `wapipe up` and `wapipe demo` print them."""
    found: dict[str, list[str]] = {}
    for role, address in ENDPOINT.findall(output):
        found.setdefault(role, []).append(address)
    return found


class Prometheus:
    """One that scrapes these targets every second and evaluates these rules; end it with `close`."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]], rules: Mapping[str, Any]) -> None:
        assert PROGRAM
        folder.mkdir(exist_ok=True)
        (folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules)))
        jobs = [{"targets": list(addresses), "labels": {"role": role}} for role, addresses in targets.items()]
        config = {
            "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "wapipe", "static_configs": jobs}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._url = f"http://{HOST}:{choose_ports(1)[0].client}"
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address={self._url.removeprefix('http://')}"],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_until(self._is_ready, "Prometheus to be ready", READY_TIMEOUT_S)

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an expression now: `metric` (labels) and `value` (time, text) each."""
        return self._get("query", query=expr)

    def over(self, expr: str, begin_s: float, end_s: float) -> list[dict[str, Any]]:
        """The samples of an expression over a time, one a second: `metric` and `values` each."""
        return self._get("query_range", query=expr, start=begin_s, end=end_s, step=EVERY)

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        return {one["metric"]["alertname"] for one in self.ask('ALERTS{alertstate="firing"}')}

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(READY_TIMEOUT_S)

    def _get(self, door: str, **asked: str | float) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode(asked)
        with urllib.request.urlopen(f"{self._url}/api/v1/{door}?{query}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "Prometheus ended by itself; its log says why"
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
