"""The gate as a real process on a real Kafka: what goes in comes out once, whatever it is and whatever breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.records.codec import check
from pipeline.records.outbound import OutboundEvent
from pipeline.records.ready import parse_ready
from pipeline.records.returning import read_returning, returning_headers
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


@pytest.fixture
def stand(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    """Topics for one test; its gates are ended afterwards."""
    made = Stand(kafka, topic_prefix, tmp_path)
    yield made
    made.close()
    if os.environ.get("SHOW_GATE_LOGS"):
        for log in tmp_path.glob("*.log"):
            sys.stderr.write(log.read_text())


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


def test_requests_are_judged_by_what_people_said(stand: Stand) -> None:
    """Grant, revoke, window, schedule, expiry, foreign partition, comeback: each request ends as the contract says."""
    for number, recipient in enumerate(("15550100001", "15550100002", "15550100003")):
        stand.write("consent-updates", update(f"g-{number}", recipient), recipient)
    stand.write(
        "consent-updates",
        update("stop", "15550100002", action="revoke", business="*", categories=["*"], at=rfc3339(unix_ms())),
        "15550100002",
    )
    stand.write("inbound-events", message_event("15550100004"), "15550100004")
    stand.flush()
    free = {"category": "service", "message": {"type": "text", "text": {"body": "hi"}}}
    home = partition_of("15550100001", PARTITIONS)
    first = {"topic": "outbound-requests", "partition": 1, "offset": 77, "timestamp_ms": unix_ms()}
    requests: dict[str, tuple[dict[str, Any], Any, int | None, tuple[str, str | None]]] = {
        "granted": ({"to": "+1 555 010 0001"}, (), home, ("queued", None)),
        "stopped": ({"to": "15550100002"}, (), None, ("rejected", "consent_withdrawn")),
        "stranger": ({"to": "15550100009"}, (), None, ("rejected", "no_consent")),
        "other kind": ({"to": "15550100001", "category": "marketing"}, (), None, ("rejected", "no_consent")),
        "in window": ({"to": "15550100004", **free}, (), None, ("queued", None)),
        "no window": ({"to": "15550100001", **free}, (), None, ("rejected", "window_closed")),
        "late": ({"to": "15550100001", "expires_at": rfc3339(unix_ms() - 1)}, (), None, ("expired", "expired")),
        "later": (
            {"to": "15550100003", "not_before": rfc3339(unix_ms() + 7_200_000)}, (), None, ("deferred", "scheduled"),
        ),
        "away": ({"to": "15550100001"}, [("traceparent", b"00-1-2-01")], (home + 1) % PARTITIONS, ("queued", None)),
        "back": ({"to": "15550100003"}, returning_headers(first, attempt=2), None, ("queued", None)),
    }  # fmt: skip
    for name, (fields, headers, partition, _) in requests.items():
        key = fields["to"].replace(" ", "").removeprefix("+") if partition is None else None
        stand.write("outbound-requests", request(name, **fields), key, partition=partition, headers=headers)
    stand.write("outbound-requests-urgent", request("code", "15550100003"), "15550100003")
    stand.flush()
    gate = stand.start()
    events = stand.wait_events(len(requests) + 1, "an event for every request")
    told = {name: outcome(events, name) for name in requests}
    assert told == {name: expected for name, (_, _, _, expected) in requests.items()}
    assert outcome(events, "code") == ("queued", None)
    ready = {read.body["request"]["request_id"]: read for read in stand.read("ready-normal")}
    assert set(ready) == {"granted", "in window", "away", "back", "code"}
    away = parse_ready(ready["away"].body)
    assert away.source[1] == (home + 1) % PARTITIONS
    assert dict(ready["away"].headers)["traceparent"] == b"00-1-2-01"
    back = parse_ready(ready["back"].body)
    assert (back.source, back.attempt) == (("outbound-requests", 1, 77), 2)
    for read in ready.values():
        assert read.key == read.body["lane"].encode()
        assert read.partition == int(read.body["lane"].partition("#")[2])
    (delayed,) = stand.read("delayed-retry-1h")
    assert parse_ready(delayed.body).via_gate
    moved = [read for read in stand.read("outbound-requests") if read_returning(read.headers).source]
    assert {read.body["request_id"] for read in moved} == {"away", "back"}
    history = Counter((read.body["action"], read.body["result"]) for read in stand.read("consent-events"))
    assert history == {("grant", "applied"): 3, ("revoke", "applied"): 1}
    assert stand.stop(gate) == 0


def test_grant_followed_by_its_request_is_judged_on_the_grant(stand: Stand) -> None:
    """Upstream writes a grant and at once a request, many times over: none is refused."""
    gate = stand.start()
    stand.write("outbound-requests", request("first", "15550109998"), "15550109998")
    stand.flush()
    stand.wait_events(1, "the gate to be there")
    people = [f"155502{i:05d}" for i in range(100)]
    for person in people:
        stand.write("consent-updates", update(f"g-{person}", person), person)
        stand.flush()
        stand.write("outbound-requests-urgent", request(f"r-{person}", person), person)
    stand.flush()
    events = stand.wait_events(1 + len(people), "an event for every request")
    assert Counter(event["reason"] for event in events) == {None: len(people), "no_consent": 1}
    assert stand.stop(gate) == 0


def broken_requests() -> Iterator[tuple[bytes | None, str | None, int | None, Any]]:
    """(value, key, partition, headers) of requests that are wrong in many ways."""
    good = request("broken")
    deep: Any = "x"
    for _ in range(50):
        deep = [deep]
    yield from ((raw, ADA, None, ()) for raw in NOISE)
    bad_fields: list[dict[str, Any]] = [
        {"request_id": ""}, {"request_id": None}, {"request_id": 5}, {"request_id": "x" * 129}, {"request_id": ["a"]},
        {"from": 5}, {"from": None}, {"from": "999"}, {"from": "x" * 33}, {"to": None}, {"to": "Ada"}, {"to": 1.5},
        {"to": "+"}, {"to": {"phone": ADA}}, {"category": "spam"}, {"category": None}, {"category": 7},
        {"purpose": "Über"}, {"purpose": ""}, {"priority": "asap"}, {"priority": 1}, {"campaign": "x" * 65},
        {"message": None}, {"message": "hi"}, {"message": []}, {"message": {}}, {"message": {"type": "fax"}},
        {"message": {"type": "text"}}, {"message": {"type": "text", "text": {"body": ""}}},
        {"message": {"type": "text", "text": {"body": deep}}}, {"expires_at": "soon"}, {"expires_at": 5},
        {"expires_at": "2026-11-22T10:00:00"}, {"expires_at": "2999-01-01T00:00:00Z"}, {"not_before": []},
        {"metadata": []}, {"metadata": {"a": 1}}, {"metadata": {"a": "x" * 501}}, {"message": {"type": "\u0000"}},
    ]  # fmt: skip
    for number, fields in enumerate(bad_fields):
        yield orjson.dumps({**good, "request_id": f"broken-{number}", **fields}), ADA, None, ()
    other_place = (partition_of(ADA, PARTITIONS) + 1) % PARTITIONS
    yield orjson.dumps({**good, "request_id": "moved twice"}), None, other_place, [("wapipe-rerouted", b"1")]
    yield orjson.dumps({**good, "request_id": "null key", "from": "999"}), None, other_place, ()
    yield orjson.dumps(good), ADA, None, [("schema", b"request/9")]
    yield orjson.dumps({**good, "request_id": "bad header"}), ADA, None, [("wapipe-source", b"{}")]


NOISE: tuple[bytes | None, ...] = (
    None, b"", b" ", b"not json", b"{", b'{"a":}', b"nul", b"null", b"true", b"0", b"NaN", b"1e999", b'"text"', b"[]",
    b"{}", b"[{}]", b"\xff\xfe\x00", b"\xc3\x28", b'{"to":"\xed\xa0\x80"}', b'{"to":"\\ud800"}', b'{"to":"\\udc00x"}',
    b"\xef\xbb\xbf{}", b"[" * 1000 + b"]" * 1000, b'{"a":' * 200 + b"1" + b"}" * 200, b"x" * 900_000,
    b'{"request_id":"' + b"y" * 900_000 + b'"}', b"\x00", b"{} {}", b"{'a': 1}", b'{"a": 1,}', b"<xml/>",
    b"\x1f\x8b\x08",
)  # fmt: skip


def test_broken_requests_stop_nothing(stand: Stand) -> None:
    """Over 70 kinds of broken requests on both entrances: each ends in one letter or rejection, good ones go on."""
    stand.write("consent-updates", update("g"), ADA)
    stand.flush()
    broken = list(broken_requests())
    written = 0
    for entrance in ("outbound-requests", "outbound-requests-urgent"):
        for number, (value, key, partition, headers) in enumerate(broken):
            stand.write(entrance, value, key, partition=partition, headers=headers)
            stand.write(entrance, request(f"{entrance}-{number}"), ADA)
            written += 1
    stand.flush()
    gate = stand.start()

    def is_done() -> bool:
        good = {event["request_id"] for event in stand.events() if event["type"] == "queued"}
        return len(good) == written and len(ends(stand)) >= written

    wait_until(is_done, "every record to end", LIMIT_S)
    assert len(ends(stand)) == written
    codes = {dict(read.headers)["errors.code"].decode() for read in stand.read("dead-letter")}
    assert codes == {"not_json", "not_utf8", "too_large", "too_deep", "contract", "unsupported_schema", "misrouted"}
    reasons = {event["reason"] for event in stand.events() if event["type"] == "rejected"}
    assert reasons == {"invalid", "unknown_number"}
    assert stand.stop(gate) == 0


def ends(stand: Stand) -> set[tuple[str, ...]]:
    """Places of the records that ended in a dead letter or a rejection."""
    letters = {
        tuple(dict(read.headers)[f"errors.{name}"].decode() for name in ("topic", "partition", "offset"))
        for read in stand.read("dead-letter")
    }
    rejected = {
        (stand.settings.topic(e["source"]["topic"]), str(e["source"]["partition"]), str(e["source"]["offset"]))
        for e in stand.events()
        if e["type"] == "rejected"
    }
    return letters | rejected


def test_broken_updates_and_events_stop_nothing(stand: Stand) -> None:
    """Over 40 kinds of broken consent updates and inbound events each: told or put away, and the good ones count."""
    bad_updates: list[dict[str, Any]] = [
        {"update_id": ""}, {"update_id": None}, {"recipient": "Ada"}, {"recipient": None}, {"business": ""},
        {"business": "*"}, {"business": "nobody"}, {"action": "maybe"}, {"action": None}, {"categories": []},
        {"categories": ["*"]}, {"categories": ["spam"]}, {"categories": "utility"}, {"purposes": []},
        {"purposes": ["Über"]}, {"at": "now"}, {"at": None}, {"at": 5}, {"at": "2999-01-01T00:00:00Z"},
        {"expires_at": "never"}, {"evidence": None}, {"evidence": {}}, {"evidence": "yes"},
        {"evidence": {"method": "telepathy"}}, {"evidence": {"method": "qr", "source": "x", "actor": "system"}},
    ]  # fmt: skip
    bad_events: list[dict[str, Any]] = [
        {"recipient": None}, {"recipient": "Ada"}, {"at": None}, {"at": "now"}, {"at": "x" * 99}, {"number": None},
        {"number": 5}, {"recipient": []},
    ]  # fmt: skip
    person = "15550100044"
    for raw in NOISE:
        stand.write("consent-updates", raw, ADA)
        stand.write("inbound-events", raw, ADA)
    for number, fields in enumerate(bad_updates):
        stand.write("consent-updates", {**update(f"bad-{number}"), **fields}, ADA)
    for fields in bad_events:
        stand.write("inbound-events", {**message_event(ADA), **fields}, ADA)
    stand.write("consent-updates", update("good", person), None, partition=(partition_of(person, PARTITIONS) + 1) % 4)
    stand.write("inbound-events", message_event(person), person)
    stand.flush()
    gate = stand.start()

    def letters(topic: str) -> int:
        full = stand.settings.topic(topic).encode()
        return sum(dict(read.headers)["errors.topic"] == full for read in stand.read("dead-letter"))

    def is_done() -> bool:
        told = len(stand.read("consent-events"))
        return letters("consent-updates") + told == len(NOISE) + len(bad_updates) + 1 and bool(
            stand.read("service-windows")
        )

    wait_until(is_done, "every update and event to end", LIMIT_S)
    # Objects without a type are events that the gate has no use for: `{}`, and one below the 4 MiB of webhooks.
    passed_by = 2
    wait_until(
        lambda: letters("inbound-events") == len(NOISE) - passed_by + len(bad_events), "every event to end", LIMIT_S
    )
    results = Counter((read.body["result"], read.body["reason"]) for read in stand.read("consent-events"))
    assert results["applied", None] == 1
    assert {reason for result, reason in results if result == "refused"} == {
        "invalid", "unknown_business", "at_in_future", "evidence_missing", "not_active",
    }  # fmt: skip
    stand.write("outbound-requests", request("template", person), person)
    free = {"category": "service", "message": {"type": "text", "text": {"body": "hi"}}}
    stand.write("outbound-requests", request("free", person, **free), person)
    stand.flush()
    events = stand.wait_events(2, "both requests to be judged")
    assert [event["type"] for event in events] == ["queued", "queued"]
    assert stand.stop(gate) == 0


def people_of(count: int) -> list[str]:
    """Recipients of a campaign."""
    return [f"155503{i:05d}" for i in range(count)]


def grants(stand: Stand, people: int) -> None:
    """Two of three people allow utility messages."""
    for person in people_of(people * 2 // 3):
        stand.write("consent-updates", update(f"g-{person}", person), person)
    stand.flush()


def campaign(stand: Stand, people: int, rounds: range) -> set[str]:
    """Requests to all people in turn; returns the request ids."""
    ids = set()
    for number in rounds:
        for person in people_of(people):
            ids.add(f"{person}-{number:04d}")
            stand.write("outbound-requests", request(f"{person}-{number:04d}", person), person)
    stand.flush()
    return ids


def check_campaign(stand: Stand, ids: set[str], people: int) -> None:
    """Each request has exactly one distinct outcome, the right one, and lanes keep the order of each person."""
    by_id: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for event in stand.events():
        by_id[event["request_id"]].add((event["event_id"], event["reason"] or event["type"]))
    assert set(by_id) == ids
    assert {len(found) for found in by_id.values()} == {1}
    expected = {name: "queued" if int(name[6:11]) < people * 2 // 3 else "no_consent" for name in ids}
    assert {name: next(iter(found))[1] for name, found in by_id.items()} == expected
    seen: dict[str, int] = {}
    firsts: dict[str, list[int]] = defaultdict(list)
    for read in stand.read("ready-normal"):
        name = read.body["request"]["request_id"]
        if name not in seen:
            firsts[read.body["request"]["to"]].append(read.body["source"]["offset"])
        seen[name] = seen.get(name, 0) + 1
    assert set(seen) == {name for name, told in expected.items() if told == "queued"}
    for offsets in firsts.values():
        assert offsets == sorted(offsets)
    print(f"ready records {sum(seen.values())} for {len(seen)} requests: {sum(seen.values()) - len(seen)} repeated")


def test_killed_gate_loses_nothing(stand: Stand) -> None:
    """SIGKILL three times in the middle of a campaign: every request has one outcome, in order per person."""
    people = 90
    grants(stand, people)
    ids: set[str] = set()
    gate = stand.start()
    for part in range(3):
        seen = len(ids)
        ids |= campaign(stand, people, range(part * 50, part * 50 + 50))
        stand.wait_events(seen + (len(ids) - seen) // 10, "progress")
        gate.kill()
        gate.wait(LIMIT_S)
        gate = stand.start()
    ids |= campaign(stand, people, range(999, 1000))
    stand.wait_events(len(ids), "an outcome for every request")
    assert stand.stop(gate) == 0
    check_campaign(stand, ids, people)


def test_gates_come_and_go_without_repeating_anything(stand: Stand) -> None:
    """A second gate joins, the first leaves by SIGTERM, while requests come: one outcome each, written once."""
    people = 60
    grants(stand, people)
    ids = campaign(stand, people, range(5))
    first = stand.start("a")
    stand.wait_events(len(ids), "the first gate's part")
    second = stand.start("b")
    log = stand.folder / "b.log"
    left = 10  # rounds after the second gate joined, and again after the first has left
    for number in range(100, 1000):
        ids |= campaign(stand, people, range(number, number + 1))
        left -= b"tables_restored" in log.read_bytes()
        if left == 0:
            break
        time.sleep(0.05)  # about a thousand requests a second
    assert left == 0
    assert stand.stop(first) == 0
    ids |= campaign(stand, people, range(1000, 1010))
    stand.wait_events(len(ids), "an outcome for every request")
    assert stand.stop(second) == 0
    check_campaign(stand, ids, people)
    assert len(stand.events()) == len(ids)


def test_frozen_predecessor_does_not_bring_a_consent_back(stand: Stand) -> None:
    """An old consent written over a newer one by a gate that woke up late is repaired at the next assignment."""
    stand.write("consent-updates", update("g"), ADA)
    stand.write("consent-updates", update("stop", action="revoke", at=rfc3339(unix_ms())), ADA)
    stand.flush()
    gate = stand.start()
    wait_until(lambda: len(stand.read("consent-events")) == 2, "both updates to be merged", LIMIT_S)
    assert stand.stop(gate) == 0
    granted = stand.read("consent")[0]
    assert granted.body["entries"][0]["status"] == "granted"
    stand.write("consent", granted.value, ADA)
    stand.flush()
    gate = stand.start()
    wait_until(lambda: len(stand.read("consent")) == 4, "the repaired consent", LIMIT_S)
    assert stand.read("consent")[-1].body["entries"][0]["status"] == "revoked"
    stand.write("outbound-requests", request("r"), ADA)
    stand.flush()
    assert stand.wait_events(1, "the request's end")[0]["reason"] == "consent_withdrawn"
    assert len(stand.read("consent-events")) == 2
    assert stand.stop(gate) == 0
