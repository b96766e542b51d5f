"""What operators look at, on a real Prometheus that scrapes a running pipeline: panels have data, alerts fire."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import yaml
from confluent_kafka import Producer

from pipeline.config import Settings, load
from tests.support.api import Api
from tests.support.broker import children_of, wait_until
from tests.support.campaign import request
from tests.support.prometheus import PROGRAM, PROMTOOL, Prometheus, targets_of
from tests.support.promql import ALERTS_FILE, DASHBOARDS, ROOT, expressions

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.skipif(PROGRAM is None, reason="no prometheus (Debian: apt-get install prometheus)"),
]

START_TIMEOUT_S = 600.0  # two busy cores take minutes for all roles
FIRES_TIMEOUT_S = 180.0
NUMBER, CLOUD_NUMBER = "200000000000001", "200000000000002"
PERSON, REQUEST_ID = "15550109999", "order-4711-shipped"
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
    """Eight faults, made for real, raise their alerts; before them nothing fires, and the panels are not empty."""
    settings = tmp_path / "up" / "wapipe.toml"
    with _up(tmp_path) as (pid, said):
        targets = targets_of(said())
        prometheus = Prometheus(tmp_path / "prometheus", targets, _hastened())
        try:
            _look(prometheus)
            _send_one(settings)
            _judge_endpoints(targets)
            _break_what_comes_in(prometheus, said(), settings)
            _break_the_api(prometheus, load(settings, {}), said())
            _break_processes(prometheus, pid, said())
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


def _wapipe(settings: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pipeline", "--config", str(settings), *words]
    done = subprocess.run(command, cwd=ROOT, check=False, timeout=FIRES_TIMEOUT_S, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _send_one(settings: Path) -> None:
    """A message whose person and request id are known, from grant to `accepted`."""
    granted = ("--category", "utility", "--method", "checkbox", "--source", "https://shop.example")
    _wapipe(settings, "consent", "grant", PERSON, *granted)
    message = ("--template", "order_shipped", "--lang", "en_US", "--param", "4711", "--request-id", REQUEST_ID)
    _wapipe(settings, "send", "--from", NUMBER, "--to", PERSON, "--category", "utility", *message, "--wait")


def _judge_endpoints(targets: Mapping[str, Sequence[str]]) -> None:
    """What each role serves passes Prometheus' own linter, and names no person, request or message."""
    assert PROMTOOL is not None
    for role, addresses in targets.items():
        with urllib.request.urlopen(f"http://{addresses[0]}/metrics", timeout=10) as answer:
            served = answer.read()
        done = subprocess.run(
            [PROMTOOL, "check", "metrics"], input=served, check=False, timeout=60, capture_output=True
        )
        assert done.returncode == 0, (role, done.stdout, done.stderr)
        found = re.findall(rb"(?m)^wapipe_.*(?:%s|%s|wamid).*$" % (PERSON.encode(), REQUEST_ID.encode()), served)
        assert found == [], role


def _until_fires(prometheus: Prometheus, name: str, again: Callable[[], object] = lambda: None) -> None:
    """Wait for an alert, and do meanwhile, again and again, what raises it."""

    def fires() -> bool:
        again()
        return name in prometheus.firing()

    wait_until(fires, name, FIRES_TIMEOUT_S)


def _break_what_comes_in(prometheus: Prometheus, text: str, settings: Path) -> None:
    producer = Producer({"bootstrap.servers": _said(text, r"broker +(127\S+)"), "partitioner": "murmur2_random"})
    producer.produce("outbound-requests", b"not json", partition=0)
    assert producer.flush(30) == 0
    _until_fires(prometheus, "WapipeDeadLettersRising")

    def ask_without_consent() -> None:
        made = request(f"r-{uuid.uuid4().hex}", NUMBER, "15550100000", category="marketing")
        producer.produce("outbound-requests", orjson.dumps(made), made["to"].encode())
        assert producer.flush(30) == 0

    _until_fires(prometheus, "WapipeRejectRatioHigh", ask_without_consent)
    _until_fires(prometheus, "WapipeWebhookSignatureFailures", lambda: _call_unsigned(settings))


def _break_the_api(prometheus: Prometheus, settings: Settings, text: str) -> None:
    api = Api(f"http://{urlsplit(settings.numbers[NUMBER].base_url).netloc}")
    api.control(number={"number": CLOUD_NUMBER, "event": "FLAGGED", "quality": "RED"})
    _until_fires(prometheus, "WapipeQualityDropped")
    api.control(spell={"kind": "429", "for_s": FIRES_TIMEOUT_S})
    producer = Producer({"bootstrap.servers": _said(text, r"broker +(127\S+)"), "partitioner": "murmur2_random"})
    made = request("r-throttled", NUMBER, PERSON, category="utility")
    producer.produce("outbound-requests", orjson.dumps(made), PERSON.encode())
    assert producer.flush(30) == 0
    _until_fires(prometheus, "WapipeThrottledPersistently")
    api.control(clear_spells=True)


def _break_processes(prometheus: Prometheus, pid: int, text: str) -> None:
    broker = _broker_below(pid)
    os.kill(broker, signal.SIGSTOP)
    _until_fires(prometheus, "WapipeOptOutReaderBehind")
    _until_fires(prometheus, "WapipeNumberHalted")
    os.kill(broker, signal.SIGCONT)

    os.kill(int(_said(text, r"ingress-1 +pid (\d+)")), signal.SIGSTOP)
    _until_fires(prometheus, "WapipeTargetsAbsent")
