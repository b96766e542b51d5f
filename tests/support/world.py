"""A whole pipeline for one test file: topics of its own on a given broker, the simulator and the roles as processes.

    with World(kafka, folder, numbers={NUMBER: {"profile": "v1"}}) as world:
        world.spawn("gate", "gate-1"); world.spawn("sender", "sender-1"); world.ready()
        world.grant(people(100))
        requests = campaign(500, [NUMBER], people(100), Ids())
        world.produce(requests)
        world.until_terminal(requests, timeout_s=60)
        assert world.judge(requests).problems() == []

Everything that the pipeline promises is judged by the simulator's ledger and the topics, never by its own counters.
Runs in the test's main thread; every wait is bounded. Processes are the matter of `stage.py`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import orjson
from confluent_kafka import Producer

from pipeline.config import Settings, load
from pipeline.streams import topics
from tests.support.api import Api
from tests.support.campaign import BUSINESS, ENTRANCE, Request, asked, grant
from tests.support.judge import TERMINAL, Verdict, judge
from tests.support.reading import Record, TopicReader, read_all
from tests.support.stage import LOOK_EVERY_S, ROOT, Stage

NUMBER: Final = "200000000000001"
FLUSH_TIMEOUT_S: Final = 60.0

Numbers = Mapping[str, Mapping[str, Any]]
ONE_V1: Final[Numbers] = {NUMBER: {"profile": "v1"}}


class Draft(NamedTuple):
    """A record to be written."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class World(Stage):
    """Topics, simulator and roles of one test. A context manager: leaving it ends every process.

    Args:
        bootstrap: A running broker.
        folder: Gets settings, secrets, logs and local state.
        numbers: Settings by number; business, base_url, token and lane partition are filled in.
        settings: Further TOML; may not repeat `[kafka]`, `[http]`, `[storage]`, `[ingress]` or `[policy]`.
        webhooks: Run an ingress and let the simulator send it statuses; nothing is sent before that is verified.
        partitions: Of the recipient topics.
        session_timeout_s: Of the groups: how long a killed member is missed.
        simulator: Options of `wapipe simulator`.
        kafka: Settings of `[kafka]` for roles and commands, e.g. how they log in; the test itself uses `bootstrap`.
        tree: The program's source, as in `Stage`.

    Attributes:
        api: The simulator.
        config: The settings file, for the CLI.
        kafka: `bootstrap.servers`.
    """

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        *,
        numbers: Numbers = ONE_V1,
        settings: str = "",
        webhooks: bool = False,
        partitions: int = 12,
        session_timeout_s: int = 10,
        simulator: Sequence[str] = ("--latency-ms", "20"),
        kafka: Mapping[str, Any] | None = None,
        tree: Path = ROOT,
    ) -> None:
        super().__init__(folder, tree)
        self._kafka_settings = kafka or {}
        self.kafka = bootstrap
        self.prefix = f"t{uuid.uuid4().hex[:8]}-"
        self._numbers, self._has_webhooks = numbers, webhooks
        self._further, self._partitions, self._session_timeout_s = settings, partitions, session_timeout_s
        self._simulator_options = simulator
        self._events: list[dict[str, Any]] = []
        self._reader: TopicReader | None = None
        self.api: Api

    # -- life --------------------------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        try:
            secret = self._secret("app-secret", "s3cret-of-the-app")
            self.api = self.start_simulator(["--webhook-secret-file", str(secret), *self._simulator_options])
            # v1 and 360dialog name no number in the path: the simulator knows it by the credential.
            self.api.control(settings={"number_of_token": {f"token-{number}": number for number in self._numbers}})
            self._write_settings()
            self.settings: Settings = load(self.config, {})
            self._make_topics()
            self._reader = TopicReader(self.kafka, self.topic("outbound-events"))
            if self._has_webhooks:
                self._open_door()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._reader is not None:
            self._reader.close()
        self.end()

    def topic(self, name: str) -> str:
        """Full name of a topic."""
        return self.prefix + name

    def group(self, role: str) -> str:
        """Consumer group of the gates or the senders."""
        return f"{self.prefix}wapipe-{role}"

    def log_in(self, kafka: Mapping[str, Any]) -> None:
        """Other settings of `[kafka]` for whatever is started from now on."""
        self._kafka_settings = kafka
        self._write_settings()

    # -- records -----------------------------------------------------------------------------------------------------
    def produce(self, requests: Iterable[Request], entrance: str = ENTRANCE) -> None:
        """Write requests in this order, keyed by recipient, on the partitions that Java's client would choose."""
        self.write(entrance, (Draft(request["to"].encode(), orjson.dumps(request)) for request in requests))

    def write(self, topic: str, drafts: Iterable[Draft], **options: Any) -> None:
        """Write records of any kind in this order, idempotently; `options` go to each `produce`, e.g. `partition`."""
        failed: list[str] = []

        def on_delivery(error: object, _message: object) -> None:
            if error is not None:
                failed.append(str(error))

        producer = Producer(
            {
                "bootstrap.servers": self.kafka, "partitioner": "murmur2_random", "enable.idempotence": True,
                "linger.ms": 10, "log_level": 0,
            }
        )  # fmt: skip
        for key, value, headers in drafts:
            producer.produce(self.topic(topic), value, key, headers=list(headers), on_delivery=on_delivery, **options)
            producer.poll(0)
        assert producer.flush(FLUSH_TIMEOUT_S) == 0
        assert failed == []

    def grant(self, recipients: Sequence[str], timeout_s: float = 60.0) -> None:
        """Let people opt in to all categories, and wait until the gates have merged that."""
        before = len(self.read("consent-events"))
        updates = [grant(recipient, f"grant-{recipient}") for recipient in recipients]
        self.write("consent-updates", (Draft(u["recipient"].encode(), orjson.dumps(u)) for u in updates))
        wanted = before + len(recipients)
        self.until(lambda: len(self.read("consent-events")) >= wanted, "consents are merged", timeout_s)

    def read(self, topic: str) -> list[Record]:
        """Everything that a topic holds now."""
        return read_all(self.kafka, self.topic(topic))

    def count(self, topic: str) -> int:
        """How many records a topic has got so far."""
        reader = TopicReader(self.kafka, self.topic(topic))
        try:
            return sum(reader.ends().values())
        finally:
            reader.close()

    def events(self) -> list[dict[str, Any]]:
        """All outbound-events so far, re-written ones included."""
        assert self._reader is not None
        self._events += [record.json() for record in self._reader.fresh()]
        return self._events

    def events_of(self, request_id: str) -> list[dict[str, Any]]:
        """The events of one request so far."""
        return [event for event in self.events() if event["request_id"] == request_id]

    # -- waiting and judging -----------------------------------------------------------------------------------------
    def until_terminal(self, requests: Iterable[Request], timeout_s: float) -> None:
        """Wait until every request has a terminal event; after the timeout go on: the verdict will name what lacks.

        Raises:
            AssertionError: a process ended that nobody ended.
        """
        left = {request["request_id"] for request in requests}
        give_up_at = time.monotonic() + timeout_s
        seen = 0
        while left and time.monotonic() < give_up_at:
            events = self.events()
            left -= {event["request_id"] for event in events[seen:] if event["type"] in TERMINAL}
            seen = len(events)
            self.check_running()
            time.sleep(LOOK_EVERY_S)

    def until_taken(self, count: int, timeout_s: float) -> None:
        """Wait until the API has taken so many messages since the last reset.

        Raises:
            AssertionError: not within `timeout_s`, or a process ended that nobody ended.
        """
        self.until(lambda: self.api.stats()["accepted"] >= count, f"{count} messages are taken", timeout_s)

    def judge(
        self, requests: Iterable[Request], *, entrance: str = ENTRANCE, not_allowed: frozenset[str] = frozenset()
    ) -> Verdict:
        """Judge a campaign that was alone at the API since the last `api.control(reset=True)`, and print the figures.

        Args:
            requests: In the order in which they were produced.
            entrance: The topic that they were produced to.
            not_allowed: Recipients who may get nothing.
        """
        known = [asked(request, entrance, is_allowed=request["to"] not in not_allowed) for request in requests]
        verdict = judge(known, self.api.ledger(), self.events(), self.api.stats())
        print(json.dumps(verdict.figures()))
        return verdict

    # -- inside ------------------------------------------------------------------------------------------------------
    def _make_topics(self) -> None:
        if self._tree == ROOT:
            topics.apply(self.settings, topics.compare(self.settings, topics.read_broker(self.settings)))
        else:
            self.wapipe("topics", "apply")  # another release has topics of its own

    def _open_door(self) -> None:
        """Ingress first, as it has the port; then the simulator may send there; then each number is verified."""
        self.spawn("ingress")
        self.ready("ingress")
        heard = self.heard("ingress")
        assert heard is not None
        port = heard["port"]
        self.api.control(settings={"webhook_url": f"http://127.0.0.1:{port}/webhook/{{number}}"})
        for number in self._numbers:
            check = ("webhooks", "check", number, "--port", str(port))
            # A machine that is busy may take longer for its first record than the ingress lets WhatsApp wait.
            self.until(lambda check=check: self.attempt(*check).returncode == 0, f"{number} is verified", 60)  # type: ignore[misc]

    def _write_settings(self) -> None:
        kafka = {
            "bootstrap_servers": self.kafka, "topic_prefix": self.prefix, "recipient_partitions": self._partitions,
            "session_timeout_s": self._session_timeout_s, **self._kafka_settings,
        }  # fmt: skip
        tables = [
            table("kafka", kafka),
            table("policy", {"require_webhook": self._has_webhooks, "require_templates": False}),
            table("storage", {"data_dir": str(self._folder / "data")}),
        ]
        if self._has_webhooks:
            verify = self._secret("verify-token", "verify-me")
            secrets = [str(self._folder / "app-secret")]
            door = {"host": "127.0.0.1", "port": 0, "verify_token_file": str(verify), "app_secret_files": secrets}
            tables.append(table("ingress", door))
        for lane, (number, given) in enumerate(self._numbers.items()):
            token = self._secret(f"token-{number}", f"token-{number}")
            fields = {
                "business": BUSINESS, "account": "300000000000001", "portfolio": "p1", "token_file": str(token),
                "base_url": self.api.url + ("/v24.0" if given["profile"] == "cloud" else ""), "partitions": [lane],
                **given,
            }  # fmt: skip
            if "login_user" in given:
                del fields["token_file"]
            tables.append(table(f"numbers.{number}", fields))
        self.config.write_text("\n".join((*tables, self._further, "")))

    def _secret(self, name: str, content: str) -> Path:
        path = self._folder / name
        path.write_text(content)
        return path


def table(name: str, fields: Mapping[str, Any]) -> str:
    """A TOML table; JSON's strings, numbers, booleans and lists are TOML's, too."""
    return "\n".join((f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())))
