"""Gates as processes on topics of their own, and what stands on these."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.records.codec import check
from pipeline.records.outbound import OutboundEvent
from pipeline.streams import topics
from pipeline.streams.client import producer_conf, reader_conf
from pipeline.streams.partition import partition_of
from tests.support.broker import wait_until

PARTITIONS = 4
NUMBER = "200000000000001"
LIMIT_S = 180.0
ADA = "15550109999"


class Read(NamedTuple):
    """A record of a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @property
    def body(self) -> dict[str, Any]:
        """Its value as an object."""
        value: dict[str, Any] = orjson.loads(self.value or b"null")
        return value


class Stand:
    """Topics of one test, its gates, and what stands on the topics."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(
            kafka={
                "bootstrap_servers": bootstrap, "topic_prefix": prefix, "recipient_partitions": PARTITIONS,
                "session_timeout_s": 6,
            },
            numbers={
                NUMBER: {
                    "business": "acme", "profile": "cloud", "base_url": "http://127.0.0.1:1", "token_env": "NO_TOKEN",
                    "partitions": [0, 1],
                }
            },
            http={"port": 0},
            policy={"require_templates": False},
        )  # fmt: skip
        topics.apply(self.settings, topics.compare(self.settings, topics.read_broker(self.settings)))
        self._producer = Producer(producer_conf(self.settings.kafka))
        self._gates: list[subprocess.Popen[bytes]] = []
        self._known: dict[str, list[Read]] = defaultdict(list)
        self._places: dict[str, dict[int, int]] = defaultdict(lambda: dict.fromkeys(range(PARTITIONS), 0))

    # -- gates ---------------------------------------------------------------------------------------------------
    def start(self, name: str = "a") -> subprocess.Popen[bytes]:
        """Start a gate; gates of one name share their data folder, one after the other."""
        config = self.folder / f"{name}.toml"
        kafka, number = self.settings.kafka, self.settings.numbers[NUMBER]
        config.write_text(
            f'[kafka]\nbootstrap_servers = "{kafka.bootstrap_servers}"\ntopic_prefix = "{kafka.topic_prefix}"\n'
            f'session_timeout_s = 6\n[numbers.{NUMBER}]\nbusiness = "{number.business}"\nprofile = "cloud"\n'
            f'base_url = "{number.base_url}"\ntoken_env = "NO_TOKEN"\npartitions = [0, 1]\n'
            f'[policy]\nrequire_templates = false\n[policy.opt_out_confirmation]\ndefault = "Heard."\n'
            f'[http]\nport = 0\n[storage]\ndata_dir = "{self.folder / name}"\n'
        )
        command = [sys.executable, "-m", "pipeline", "--config", str(config), "gate"]
        with (self.folder / f"{name}.log").open("ab") as log:
            gate = subprocess.Popen(command, stderr=log, stdout=log)
        self._gates.append(gate)
        return gate

    def stop(self, gate: subprocess.Popen[bytes]) -> int:
        """SIGTERM; returns the exit code."""
        gate.send_signal(signal.SIGTERM)
        return gate.wait(LIMIT_S)

    def close(self) -> None:
        """End every gate that still runs."""
        for gate in self._gates:
            if gate.poll() is None:
                gate.kill()
                gate.wait(LIMIT_S)

    # -- topics --------------------------------------------------------------------------------------------------
    def write(
        self, topic: str, value: Any, key: str | None = None, *, partition: int | None = None, headers: Any = ()
    ) -> None:
        """Write a record, on its key's partition unless another is named."""
        raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
        place = partition if partition is not None else partition_of(key or ADA, PARTITIONS)
        self._producer.produce(self.settings.topic(topic), raw, key, place, headers=list(headers))

    def flush(self) -> None:
        """Wait until Kafka has everything written."""
        assert self._producer.flush(LIMIT_S) == 0

    def read(self, topic: str) -> list[Read]:
        """Everything that stands on a topic by now."""
        name, known, places = self.settings.topic(topic), self._known[topic], self._places[topic]
        consumer = Consumer(reader_conf(self.settings.kafka))
        try:
            count = len(consumer.list_topics(name, timeout=LIMIT_S).topics[name].partitions)
            wanted = {}
            for partition in range(count):
                _, end = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=LIMIT_S)
                if end > places.get(partition, 0):
                    wanted[partition] = end
            consumer.assign([TopicPartition(name, partition, places.get(partition, 0)) for partition in wanted])
            while any(places.get(partition, 0) < end for partition, end in wanted.items()):
                for message in consumer.consume(1000, timeout=0.5):
                    if message.error() is None:
                        places[message.partition()] = message.offset() + 1
                        known.append(
                            Read(
                                message.partition(), message.offset(), message.key(), message.value(),
                                list(message.headers() or []),
                            )
                        )  # fmt: skip
        except KafkaException:
            return known  # a topic just made has no leader yet: whoever waits reads again
        finally:
            consumer.close()
        return known

    def events(self) -> list[dict[str, Any]]:
        """All outbound events, checked against their model."""
        found = [read.body for read in self.read("outbound-events")]
        for event in found:
            check(OutboundEvent, event)
        return found

    def wait_events(self, count: int, what: str) -> list[dict[str, Any]]:
        """Wait for that many requests with an event."""
        wait_until(lambda: len({event["request_id"] for event in self.events()}) >= count, what, LIMIT_S)
        return self.events()


def request(request_id: str, to: str = ADA, **fields: Any) -> dict[str, Any]:
    """A request for a utility template."""
    return {
        "request_id": request_id, "from": NUMBER, "to": to, "category": "utility",
        "message": {"type": "template", "template": {"name": "order_shipped", "language": {"code": "en_US"}}},
        "metadata": {"shop": "berlin"}, **fields,
    }  # fmt: skip


def update(update_id: str, recipient: str = ADA, **fields: Any) -> dict[str, Any]:
    """A grant of utility messages a minute ago."""
    return {
        "update_id": update_id, "recipient": recipient, "business": "acme", "action": "grant",
        "categories": ["utility"], "purposes": ["*"], "at": rfc3339(unix_ms() - 60_000),
        "evidence": {"method": "checkbox", "actor": "user", "source": "https://shop.example", "text": "yes"}, **fields,
    }  # fmt: skip


def message_event(recipient: str, **fields: Any) -> dict[str, Any]:
    """A person's message."""
    return {
        "event_id": f"e-{recipient}", "type": "message", "at": rfc3339(unix_ms() - 1000), "number": NUMBER,
        "recipient": recipient, "message_id": "wamid.in", **fields,
    }  # fmt: skip


def outcome(events: list[dict[str, Any]], request_id: str) -> tuple[str, str | None]:
    """(type, reason) of the one event of a request."""
    (found,) = [event for event in events if event["request_id"] == request_id]
    return found["type"], found["reason"]
