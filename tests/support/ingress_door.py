"""An ingress as a process with topics of its own, and the webhooks that are sent to it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.config import Settings, load
from pipeline.streams import topics
from pipeline.whatsapp.signature import sign
from tests.support.reading import read_all

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
CLOUD, DIALOG, V1 = "200000000000001", "200000000000002", "200000000000003"
PERSON = "15550109999"
FIRST, SECOND = b"secret-of-today", b"secret-of-tomorrow"
VERIFY_TOKEN, PATH_TOKEN = "verify-me", "path-token-7"
PARTITIONS = 3
RUNNER = (
    "import sys; from pipeline.config import load; from pipeline.logs import configure;"
    "from pipeline.ingress.run import run_ingress;"
    "configure('ingress', 'test'); sys.exit(run_ingress(load(sys.argv[1])))"
)


class Record(NamedTuple):
    """A record as a consumer sees it."""

    partition: int
    key: str | None
    value: Any


class Ingress:
    """A running ingress process; its log is in a file."""

    def __init__(self, config: Path, log: Path) -> None:
        self._log = log
        self.settings = load(config, {})
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUNNER, str(config)], cwd=ROOT, stderr=stderr, stdin=subprocess.DEVNULL
            )
        try:
            heard = self._wait_for("ingress_listening")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.port, self.health_port = heard["port"], heard["health_port"]

    def log_lines(self) -> list[dict[str, Any]]:
        """What it logged so far, complete JSON lines only."""
        lines = self._log.read_bytes().split(b"\n")[:-1]
        return [orjson.loads(line) for line in lines if line.startswith(b"{")]

    def _wait_for(self, event: str) -> dict[str, Any]:
        give_up_at = time.monotonic() + WAIT_S
        while time.monotonic() < give_up_at:
            for line in self.log_lines():
                if line["event"] == event:
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no {event}; log:\n{self._log.read_text()}")

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, port: int = 0
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=WAIT_S)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def post(self, raw: bytes, path: str = "/webhook", secret: bytes = FIRST) -> int:
        """A signed webhook; returns the status."""
        return self.call("POST", path, raw, {"X-Hub-Signature-256": sign(raw, secret)})[0]

    def raw(self, data: bytes, *, hang_up: bool = False) -> int | None:
        """Bytes as they are; the status of the answer, None without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as connection:
            connection.sendall(data)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while b"\r\n" not in answer and (chunk := connection.recv(65_536)):
                answer += chunk
        return int(answer.split(b" ", 2)[1]) if answer else None

    def ready(self) -> tuple[int, dict[str, Any]]:
        """The readiness probe."""
        status, body, _ = self.call("GET", "/readyz", port=self.health_port)
        return status, json.loads(body)

    def metric(self, line_start: str) -> float:
        """Value of the metric whose line starts so; 0 if there is none."""
        text = self.call("GET", "/metrics", port=self.health_port)[1].decode()
        found = [line for line in text.splitlines() if line.startswith(line_start + " ")]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    def read(self, topic: str) -> list[Record]:
        """All records of a topic, by its short name."""
        return read_records(self.settings.kafka.bootstrap_servers, self.settings.topic(topic))

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def end(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)


def read_records(bootstrap: str, topic: str) -> list[Record]:
    """Every record that a topic holds now, partition by partition."""
    found = sorted(read_all(bootstrap, topic), key=lambda one: (one.partition, one.offset))
    return [Record(one.partition, one.key.decode() if one.key is not None else None, one.json()) for one in found]


def write_config(folder: Path, bootstrap: str, further: str = "", port: int = 0) -> Path:
    """A settings file for an ingress on free ports, with its secrets beside it, and its topics made.

    Args:
        further: Lines of its table `ingress`.
        port: Where it listens; 0: any free one.
    """
    secrets = {"one": FIRST, "two": SECOND, "verify": VERIFY_TOKEN.encode(), "path": PATH_TOKEN.encode(), "token": b"t"}
    for name, content in secrets.items():
        (folder / name).write_bytes(content)
    profiles = {CLOUD: "cloud", DIALOG: "360dialog", V1: "v1"}
    numbers = "".join(
        f'[numbers.{number}]\nbusiness = "acme"\nprofile = "{profile}"\nbase_url = "http://127.0.0.1:1"\n'
        f'token_file = "{folder}/token"\npartitions = [{lane}]\n'
        for lane, (number, profile) in enumerate(profiles.items())
    )
    config = folder / "wapipe.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{bootstrap}"\ntopic_prefix = "t{uuid.uuid4().hex[:8]}-"\n'
        f"recipient_partitions = {PARTITIONS}\n"
        f'[ingress]\nhost = "127.0.0.1"\nport = {port}\nverify_token_file = "{folder}/verify"\n'
        f'app_secret_files = ["{folder}/one", "{folder}/two"]\npath_token_file = "{folder}/path"\n{further}'
        f"[http]\nport = 0\n{numbers}"
    )
    settings: Settings = load(config, {})
    topics.apply(settings, topics.compare(settings, topics.read_broker(settings)))
    return config


def cloud(number: str = CLOUD, field: str = "messages", **value: Any) -> bytes:
    """A Cloud envelope, in escaped ASCII as WhatsApp sends it."""
    metadata = {"display_phone_number": "15550100001", "phone_number_id": number}
    change = {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    body = {"object": "whatsapp_business_account", "entry": [{"id": "300000000000001", "changes": [change]}]}
    return json.dumps(body).encode()


def status(name: str = "delivered", **more: Any) -> dict[str, Any]:
    """A status of a message to `PERSON`."""
    return {"id": "wamid.1", "status": name, "timestamp": "1795300004", "recipient_id": PERSON, **more}


def text(body: str, message_id: str = "wamid.in1") -> dict[str, Any]:
    """A text message from `PERSON`."""
    return {"from": PERSON, "id": message_id, "timestamp": "1795300000", "type": "text", "text": {"body": body}}
