"""The gate as a real process on a real Kafka: what goes in comes out once, whatever it is and whatever breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.clock import rfc3339, unix_ms
from pipeline.gate.tiers import share_of
from pipeline.ingress.access import Voice
from pipeline.ingress.outgoing import Translator
from pipeline.records.confirmation import request_id_of
from pipeline.records.ready import parse_ready
from pipeline.records.returning import read_returning, returning_headers
from pipeline.streams.partition import partition_of
from tests.support.broker import wait_until
from tests.support.gate_stand import (
    ADA,
    LIMIT_S,
    NUMBER,
    PARTITIONS,
    Stand,
    message_event,
    outcome,
    request,
    update,
)
from tests.support.spans import PARENT
from tests.unit.ingress.support import cloud, text


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
    stop_id = _bring_webhook(stand, "15550100005", "Parar!")
    stand.write("inbound-events", message_event("15550100006", type="call", status="connect"), "15550100006")
    stand.flush()
    free = {"category": "service", "message": {"type": "text", "text": {"body": "hi"}}}
    home = partition_of("15550100001", PARTITIONS)
    first = {"topic": "outbound-requests", "partition": 1, "offset": 77, "timestamp_ms": unix_ms()}
    requests: dict[str, tuple[dict[str, Any], Any, int | None, tuple[str, str | None]]] = {
        "granted": ({"to": "+1 555 010 0001"}, (), home, ("queued", None)),
        "stopped": ({"to": "15550100002"}, (), None, ("rejected", "consent_withdrawn")),
        "by webhook": ({"to": "15550100005", **free}, (), None, ("rejected", "consent_withdrawn")),
        "stranger": ({"to": "15550100009"}, (), None, ("rejected", "no_consent")),
        "other kind": ({"to": "15550100001", "category": "marketing"}, (), None, ("rejected", "no_consent")),
        "in window": ({"to": "15550100004", **free}, (), None, ("queued", None)),
        "after a call": ({"to": "15550100006", **free}, (), None, ("queued", None)),
        "no window": ({"to": "15550100001", **free}, (), None, ("rejected", "window_closed")),
        "late": ({"to": "15550100001", "expires_at": rfc3339(unix_ms() - 1)}, (), None, ("expired", "expired")),
        "later": (
            {"to": "15550100003", "not_before": rfc3339(unix_ms() + 7_200_000)}, (), None, ("deferred", "scheduled"),
        ),
        "away": ({"to": "15550100001"}, [("traceparent", PARENT)], (home + 1) % PARTITIONS, ("queued", None)),
        "back": ({"to": "15550100003"}, returning_headers(first, attempt=2), None, ("queued", None)),
    }  # fmt: skip
    for name, (fields, headers, partition, _) in requests.items():
        key = fields["to"].replace(" ", "").removeprefix("+") if partition is None else None
        stand.write("outbound-requests", request(name, **fields), key, partition=partition, headers=headers)
    stand.write("outbound-requests-urgent", request("code", "15550100003"), "15550100003")
    stand.flush()
    gate = stand.start()
    events = stand.wait_events(len(requests) + 2, "an event for every request, and for the answer to the opt-out")
    told = {name: outcome(events, name) for name in requests}
    assert told == {name: expected for name, (_, _, _, expected) in requests.items()}
    assert outcome(events, "code") == outcome(events, stop_id) == ("queued", None)
    ready = {read.body["request"]["request_id"]: read for read in stand.read("ready-normal")}
    assert set(ready) == {"granted", "in window", "after a call", "away", "back", "code", stop_id}
    away = parse_ready(ready["away"].body)
    assert away.source[1] == (home + 1) % PARTITIONS
    assert dict(ready["away"].headers)["traceparent"] == PARENT
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
    assert history == {("grant", "applied"): 3, ("revoke", "applied"): 2}
    assert stand.stop(gate) == 0


def _bring_webhook(stand: Stand, person: str, said: str) -> str:
    """Write what the ingress makes of a person's message; returns the id of the answer that the gate makes."""
    message = text(said, "wamid.stop", **{"from": person, "timestamp": str(unix_ms() // 1000)})
    voice = Voice(frozenset({NUMBER}))
    webhook = Translator(stand.settings).webhook(cloud(NUMBER, messages=[message]), unix_ms(), None, voice)
    for record in webhook.records:
        topic = record.topic.removeprefix(stand.settings.kafka.topic_prefix)
        stand.write(topic, record.value, record.key, headers=record.headers)
    return request_id_of("wamid.stop")


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


def test_a_failure_is_told_once_and_suppresses(stand: Stand) -> None:
    """A status failed, delivered twice, is one undelivered event; its person gets nothing more, until they write."""
    failed = message_event(
        ADA, event_id="s-1", type="status", status="failed", message_id="wamid.out", request_id="sent before",
        attempt=1, error_code=131026, errors=[{"code": 131026, "title": "Message undeliverable"}],
    )  # fmt: skip
    stand.write("consent-updates", update("g"), ADA)
    for _ in range(2):
        stand.write("inbound-events", failed, ADA)
    stand.flush()
    gate = stand.start()
    stand.wait_events(1, "the failure to be told")
    stand.write("outbound-requests", request("next"), ADA)
    stand.flush()
    events = stand.wait_events(2, "the next request to be judged")
    told = {orjson.dumps(event) for event in events if event["type"] == "undelivered"}
    assert [(event["request_id"], event["error_code"]) for event in map(orjson.loads, told)] == [
        ("sent before", 131026)
    ]
    assert outcome(events, "next") == ("rejected", "suppressed")
    stand.write("inbound-events", message_event(ADA, at=rfc3339(unix_ms())), ADA)
    stand.flush()
    stand.write("outbound-requests", request("after"), ADA)
    stand.flush()
    assert outcome(stand.wait_events(3, "the last request to be judged"), "after") == ("queued", None)
    assert [(read.key, bool(read.value)) for read in stand.read("suppressions")] == [
        (ADA.encode(), True), (ADA.encode(), False),
    ]  # fmt: skip
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


def test_quality_and_tiers_hold_bulk(stand: Stand) -> None:
    """A red number's campaign is held, then the tier ends it midway; codes go on; a second gate knows the count."""
    key, at = f"number:{NUMBER}/quality", rfc3339(unix_ms())
    flag = {"kind": "number", "id": NUMBER, "aspect": "quality", "event": "FLAGGED", "flagged": True, "at": at}
    stand.write("account-state", flag, key, partition=0)
    stand.write("account-state", {"tier": "TIER_50", "tier_at": at}, f"number:{NUMBER}/limits", partition=0)
    people = [f"155507{n:05d}" for n in range(80)]
    for person in people:
        stand.write("consent-updates", update(f"g-{person}", person, categories=["marketing", "utility"]), person)
    stand.write("outbound-requests", request("red", people[0], category="marketing"), people[0])
    stand.flush()
    gate = stand.start()
    assert outcome(stand.wait_events(1, "the red number's request"), "red") == ("deferred", "held_quality")
    stand.write("account-state", {**flag, "flagged": False}, key, partition=0)
    stand.flush()

    def asked(name: str, of: list[str], **fields: Any) -> list[tuple[str, str | None]]:
        known = {event["request_id"] for event in stand.events()}
        for person in of:
            stand.write("outbound-requests", request(f"{name}-{person}", person, **fields), person)
        stand.flush()
        events = stand.wait_events(len(known) + len(of), f"the requests {name}")
        return [outcome(events, f"{name}-{person}") for person in of]

    wait_until(
        lambda: asked(f"look{unix_ms()}", people[:1], category="marketing") == [("queued", None)], "no flag", LIMIT_S
    )
    told = Counter(asked("campaign", people, category="marketing"))
    shares = [share_of(50, 0.95, partition, PARTITIONS) for partition in range(PARTITIONS)]
    room = sum(
        min(share, sum(partition_of(person, PARTITIONS) == n for person in people)) for n, share in enumerate(shares)
    )
    assert told == {("queued", None): room, ("deferred", "tier_exhausted"): len(people) - room}
    assert set(asked("code", people[-5:], priority="urgent")) == {("queued", None)}
    assert stand.stop(gate) == 0
    heir = stand.start("b")
    late = next(person for person in people if (f"campaign-{person}" in _held(stand)))
    assert asked("again", [late], category="marketing", priority="bulk") == [("deferred", "tier_exhausted")]
    assert stand.stop(heir) == 0


def _held(stand: Stand) -> set[str]:
    return {event["request_id"] for event in stand.events() if event["reason"] == "tier_exhausted"}
