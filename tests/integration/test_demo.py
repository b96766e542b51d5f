"""`wapipe demo` and `wapipe up` as a user runs them: real processes, a real broker, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from tests.support.broker import children_of, is_gone, wait_until

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 300.0  # a busy machine of two cores takes a minute for all roles
DEMO_TIMEOUT_S = 600.0
END_TIMEOUT_S = 60.0
PERSON = "15550109999"
PROMISES = ("lost", "sent twice", "out of order", "over the limit", "sent after opt-out", "other than planned")


class Running:
    """A `wapipe` command in the background; its output goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self.process, self._out = process, out
        self._seen: set[int] = set()

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self._out.read_text()

    def descendants(self) -> set[int]:
        """Every process below it that was ever seen by this method."""
        left = [self.process.pid]
        while left:
            try:
                found = children_of(left.pop())
            except (FileNotFoundError, ProcessLookupError):
                continue
            self._seen.update(found)
            left += found
        return self._seen

    def wait_for(self, words: str) -> None:
        """Wait until it has printed something."""

        def is_printed() -> bool:
            assert self.process.poll() is None, self.text
            return words in self.text

        wait_until(is_printed, words, START_TIMEOUT_S)

    def end(self, timeout_s: float, sig: int | None = None) -> int:
        """Let it end, by a signal or by itself; its exit code. Nothing that it started may be left."""
        pids = self.descendants()
        if sig is not None:
            self.process.send_signal(sig)
        code = self.process.wait(timeout_s)
        wait_until(lambda: all(map(is_gone, pids)), "its processes to be gone", END_TIMEOUT_S)
        assert pids
        return code


@contextmanager
def _started(data_dir: Path, *args: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    out = data_dir / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *args],
            cwd=ROOT,
            env={**os.environ, "WAPIPE_STORAGE__DATA_DIR": str(data_dir), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    running = Running(process, out)
    try:
        yield running
    finally:
        # Whatever failed above: its children end with it, by the kernel.
        process.kill()
        process.wait(END_TIMEOUT_S)


def test_demo_adds_up_and_can_be_run_again_and_ended_at_any_time(tmp_path: Path) -> None:
    """README's demo ends with books that balance; a second one in the same folder starts, and Ctrl-C ends all of it."""
    with _started(tmp_path, "demo") as running:
        running.wait_for("ready ")
        running.descendants()
        code = running.end(DEMO_TIMEOUT_S)
        assert code == 0, running.text
        assert "4,000 = " in running.text
        assert "(adds up)" in running.text
        for promise in PROMISES:
            assert f"\n{promise}: 0\n" in running.text, running.text
        assert len(re.findall(r"(?m)^  \S.* (?:up|grant .*|send .*)$", running.text)) == 3
    with _started(tmp_path, "demo", "--messages", "300") as running:
        running.wait_for("in force")
        assert running.end(END_TIMEOUT_S, signal.SIGINT) == 130, running.text


def test_demo_is_ended_while_it_starts(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the start ends what has been started so far."""
    with _started(tmp_path, "demo") as running:
        running.wait_for("simulator ")
        wait_until(lambda: len(running.descendants()) >= 2, "processes", START_TIMEOUT_S)
        assert running.end(END_TIMEOUT_S, signal.SIGINT) == 130, running.text


@pytest.mark.kafka
def test_up_runs_on_a_configured_broker_and_starts_again_what_dies(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """`up` uses the broker it is given, sends with the settings it wrote, restarts a killed role, drains on SIGTERM.

    Templates are those that it has synced, and what happens to one at the API counts for the next message.
    """
    env = {"WAPIPE_KAFKA__BOOTSTRAP_SERVERS": kafka, "WAPIPE_KAFKA__TOPIC_PREFIX": topic_prefix}
    with _started(tmp_path, "up", env=env) as running:
        running.wait_for("everything is up")
        assert not (tmp_path / "up" / "kafka").exists()
        wapipe = _wapipe(tmp_path / "up" / "wapipe.toml")
        wapipe(
            "consent", "grant", PERSON, "--category", "utility", "--method", "checkbox", "--source", "https://a.example",
            "--text", "Send me messages", "--wait", "60s",
        )  # fmt: skip
        send = (
            "send", "--from", "200000000000002", "--to", PERSON, "--category", "utility", "--template", "order_shipped",
            "--lang", "en_US", "--param", "4711", "--wait", "--timeout", "120s",
        )  # fmt: skip
        assert "accepted" in wapipe(*send)
        unknown = [word if word != "order_shipped" else "nobody_knows_it" for word in send]
        assert "template_unknown" in wapipe(*unknown, code=65)
        _review_template(running.text, "PAUSED")
        wait_until(lambda: "PAUSED" in wapipe("templates", "list"), "the webhook is on account-state", START_TIMEOUT_S)
        assert "template_not_approved" in wapipe(*send, code=65)
        _review_template(running.text, "APPROVED")
        wait_until(lambda: "PAUSED" not in wapipe("templates", "list"), "it is back", START_TIMEOUT_S)
        running.descendants()
        found = re.search(r"sender-1 +pid (\d+)", running.text)
        assert found is not None
        os.kill(int(found[1]), signal.SIGKILL)
        running.wait_for("is started again")
        assert "accepted" in wapipe(*send)
        assert running.end(END_TIMEOUT_S, signal.SIGTERM) == 0, running.text


def _review_template(text: str, status: str) -> None:
    """Let the simulated Meta give a template another status."""
    found = re.search(r"simulator +(http://\S+)", text)
    assert found is not None
    wanted = orjson.dumps({"template": {"name": "order_shipped", "status": status, "number": "200000000000002"}})
    with urllib.request.urlopen(f"{found[1]}/_simulator/control", wanted, START_TIMEOUT_S) as answer:
        assert answer.status == 200


def _wapipe(config: Path) -> Callable[..., str]:
    def run(*args: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "--config", str(config), *args],
            cwd=ROOT, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run
