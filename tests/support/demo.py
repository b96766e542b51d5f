"""A running `wapipe demo --stay`: its console, its API's ledger, its commands. Blocks; every wait is bounded."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from pipeline.config import load
from tests.support.api import HTTP_TIMEOUT_S, Api
from tests.support.stage import CLI_TIMEOUT_S, LOOK_EVERY_S, ROOT

DEMO_TIMEOUT_S: Final = 600.0
END_TIMEOUT_S: Final = 60.0
WAPIPE: Final = (sys.executable, "-m", "pipeline")
_SENDER: Final = re.compile(r"sender-\d+ +pid \d+, (http://\S+/metrics)")


class Demo:
    """What runs once the demo's campaign is over.

    Attributes:
        config: Its settings file.
        url: Of the console.
        token: That opens it for operators.
        api: The simulator.
        campaign: Name of its campaign.
    """

    def __init__(self, folder: Path, printed: str) -> None:
        self.config = folder / "demo" / "wapipe.toml"
        self.settings = load(self.config, {})
        console = self.settings.console
        assert console.operator_token_file is not None
        self.url, self.token = f"http://{console.host}:{console.port}", console.operator_token_file.read_text().strip()
        found = re.search(r"simulator +(http://\S+)", printed)
        assert found is not None, printed
        self.api = Api(found[1])
        self.campaign = next(
            str(row["text"]).rpartition("-")[0] for row in self.api.messages() if str(row["text"]).startswith("demo-")
        )
        self._senders = _SENDER.findall(printed)

    def wapipe(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            [*WAPIPE, "--config", str(self.config), *arguments],
            check=False, timeout=CLI_TIMEOUT_S, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip

    def send(self, number: str, person: str, name: str) -> subprocess.CompletedProcess[str]:
        """Ask for one message, with a request id of its own."""
        return self.wapipe(
            "send", "--from", number, "--to", person, "--category", "utility", "--template", "order_shipped", "--lang",
            "en_US", "--param", name, "--request-id", name,
        )  # fmt: skip

    def write(self, topic: str, key: bytes, value: bytes) -> None:
        """Write one record, whatever it is."""
        producer = Producer({"bootstrap.servers": self.settings.kafka.bootstrap_servers, "log_level": 0})
        producer.produce(self.settings.topic(topic), value, key)
        assert producer.flush(HTTP_TIMEOUT_S) == 0

    def taken(self, name: str) -> int:
        """How often the API took the message of this name."""
        return sum(row["accepted"] and row["text"] == name for row in self.api.messages())

    def accepted(self) -> list[str]:
        """Request ids of the campaign's messages that the API took, by its ledger."""
        return [row["text"] for row in self.api.messages() if row["accepted"] and row["text"].startswith(self.campaign)]

    def is_held(self, number: str) -> bool:
        """Whether a sender says that an operator holds a number."""
        line = f'wapipe_number_stopped{{number="{number}",reason="operator"}} 1.0'
        return any(line in _text(url).splitlines() for url in self._senders)


def until(is_true: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: not within `timeout_s`.
    """
    give_up_at = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < give_up_at, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(LOOK_EVERY_S)


@contextmanager
def demo(folder: Path, messages: int) -> Iterator[Demo]:
    """Run the demo to the end of its campaign, and leave it running for the time of a `with` block."""
    out = folder / "out"
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("WAPIPE_")}
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*WAPIPE, "demo", "--stay", "--messages", str(messages)],
            cwd=ROOT, env={**kept, "WAPIPE_STORAGE__DATA_DIR": str(folder)}, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:

        def is_up() -> bool:
            assert process.poll() is None, out.read_text()
            return "Everything is still up" in out.read_text()

        until(is_up, "the demo's campaign is over", DEMO_TIMEOUT_S)
        yield Demo(folder, out.read_text())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(END_TIMEOUT_S)


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as answer:
        return str(answer.read().decode())
