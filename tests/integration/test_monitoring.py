"""What operators look at, on a real Prometheus that scrapes a running pipeline: panels have data, alerts fire."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer

from tests.support.broker import children_of, wait_until
from tests.support.prometheus import PROGRAM, Prometheus, targets_of
from tests.support.promql import ALERTS_FILE, DASHBOARDS, ROOT, expressions

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.skipif(PROGRAM is None, reason="no prometheus (Debian: apt-get install prometheus)"),
]

START_TIMEOUT_S = 300.0  # a busy machine of two cores takes a minute for all roles
FIRES_TIMEOUT_S = 60.0
UNEVENTFUL = {
    ("overview", "Dead letters"), ("ingress-and-consent", "Dead letters"),
    ("overview", "Numbers that stand still"), ("overview", "Outcomes"), ("overview", "Unsent, by reason"),
    ("overview", "In and out"), ("overview", "Rate against limit"), ("sender", "Attempts by outcome"),
    ("sender", "Rate against limit"), ("sender", "From arrival to first POST"), ("sender", "Throttles"),
    ("sender", "Deferrals"), ("sender", "Unknown outcomes"), ("ingress-and-consent", "Undelivered, by code"),
    ("ingress-and-consent", "Unsent, by reason"), ("ingress-and-consent", "Statuses"),
    ("ingress-and-consent", "Opt-outs by way"), ("ingress-and-consent", "Opt-outs and failures by opt-in method"),
}  # fmt: skip
"""Panels that may be empty where nothing was sent yet: their counters begin with the first event."""


def _hastened() -> dict[str, Any]:
    """The alerts that ship, with their windows and waits shortened to what a test can wait for."""
    text = ALERTS_FILE.read_text()
    text = re.sub(r"\b(for|keep_firing_for): \d+m", r"\1: 1s", text)
    text = re.sub(r"\[\d+[mh]\]", "[15s]", text)
    loaded: dict[str, Any] = yaml.safe_load(re.sub(r"offset \d+m", "offset 15s", text))
    return loaded


@contextmanager
def _up(folder: Path) -> Iterator[tuple[int, Callable[[], str]]]:
    """`wapipe up`, with a broker of its own: its process id, and what it has printed."""
    out = folder / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "up"],
            cwd=ROOT,
            env={**os.environ, "WAPIPE_STORAGE__DATA_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: process.poll() is not None or "everything is up" in out.read_text(), "up", START_TIMEOUT_S)
        assert process.poll() is None, out.read_text()
        yield process.pid, out.read_text
    finally:
        process.kill()  # the kernel ends its children with it, stopped ones, too
        process.wait(START_TIMEOUT_S)


def _said(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[1]


def _broker_below(pid: int) -> int:
    return next(one for one in children_of(pid) if b"java" in Path(f"/proc/{one}/cmdline").read_bytes())


def _call_unsigned(settings: Path) -> None:
    port = _said(settings.read_text(), r"(?s)\[ingress\].*?\nport = (\d+)")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/webhook", b"{}", 10)


def test_panels_have_data_and_alerts_fire_when_something_breaks(tmp_path: Path) -> None:
    """Five faults, made for real, raise their alerts; before them nothing fires, and the panels are not empty."""
    with _up(tmp_path) as (pid, said):
        prometheus = Prometheus(tmp_path / "prometheus", targets_of(said()), _hastened())
        try:
            _look(prometheus)
            _break(prometheus, pid, said(), tmp_path / "up" / "wapipe.toml")
        finally:
            prometheus.close()


def _look(prometheus: Prometheus) -> None:
    asked = [(name, title, expr) for name in DASHBOARDS for title, expr in expressions(name)]
    wanted = [one for one in asked if one[:2] not in UNEVENTFUL]
    empty: list[tuple[str, str, str]] = []

    def all_have_data() -> bool:
        empty[:] = [one for one in wanted if not prometheus.ask(one[2])]
        return not empty

    try:
        wait_until(all_have_data, "every panel to have data", FIRES_TIMEOUT_S)
    except AssertionError:
        pytest.fail(f"no data: {empty}")
    assert prometheus.firing() == set()


def _break(prometheus: Prometheus, pid: int, text: str, settings: Path) -> None:
    def fires(name: str) -> bool:
        return name in prometheus.firing()

    producer = Producer({"bootstrap.servers": _said(text, r"broker +(127\S+)")})
    producer.produce("outbound-requests", b"not json", partition=0)
    assert producer.flush(30) == 0
    wait_until(lambda: fires("WapipeDeadLettersRising"), "garbage on a topic", FIRES_TIMEOUT_S)

    def signatures_fail() -> bool:
        _call_unsigned(settings)
        return fires("WapipeWebhookSignatureFailures")

    wait_until(signatures_fail, "webhooks without a signature", FIRES_TIMEOUT_S)

    broker = _broker_below(pid)
    os.kill(broker, signal.SIGSTOP)
    wait_until(lambda: fires("WapipeOptOutReaderBehind"), "Kafka stands still", FIRES_TIMEOUT_S)
    wait_until(lambda: fires("WapipeNumberHalted"), "numbers stop with it", FIRES_TIMEOUT_S)
    os.kill(broker, signal.SIGCONT)

    os.kill(int(_said(text, r"ingress-1 +pid (\d+)")), signal.SIGSTOP)
    wait_until(lambda: fires("WapipeTargetsAbsent"), "an ingress that does not answer", FIRES_TIMEOUT_S)
