"""The ingress as a process, over real sockets, on a real Kafka: what webhooks become, and what cannot stop it."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import Any

import orjson
import pytest

from pipeline.errors import ConfigError
from pipeline.ingress.check import check_webhook
from pipeline.records.account import WebhookState
from pipeline.records.codec import check
from pipeline.records.consent import ConsentUpdate
from pipeline.records.inbound import InboundEvent
from pipeline.streams.partition import partition_of
from pipeline.whatsapp.signature import sign
from tests.support.broker import read_values
from tests.support.ingress_door import (
    CLOUD,
    DIALOG,
    FIRST,
    PARTITIONS,
    PATH_TOKEN,
    PERSON,
    SECOND,
    V1,
    VERIFY_TOKEN,
    WAIT_S,
    Ingress,
    cloud,
    status,
    text,
)


def test_meta_verifies_and_numbers_count_as_verified(ingress: Ingress) -> None:
    """GET with the right token gives the challenge back and marks Cloud and 360dialog numbers; a wrong one is 403."""
    asked = "/webhook?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    code, body, headers = ingress.call("GET", asked + VERIFY_TOKEN)
    assert (code, body, headers.get_content_type()) == (200, b"1158201444", "text/plain")
    code, body, _ = ingress.call("GET", asked + "wrong")
    assert code == 403
    assert b"1158201444" not in body
    states = {record.key: check(WebhookState, record.value) for record in ingress.read("account-state")}
    assert set(states) == {f"number:{CLOUD}/webhook", f"number:{DIALOG}/webhook"}
    assert all(state.verified for state in states.values())


def test_signed_webhooks_of_all_profiles_land_on_inbound_events(ingress: Ingress) -> None:
    """Cloud and v1, statuses and messages, either secret: each fact is a record by the contract, keyed by person."""
    flat = json.dumps({"statuses": [status("sent")], "messages": [text("grüße", "AB1")]}).encode()
    assert ingress.post(cloud(statuses=[status("read", biz_opaque_callback_data="order-1:3")])) == 200
    assert ingress.post(cloud(DIALOG, messages=[text("häuser")]), secret=SECOND) == 200
    assert ingress.call("POST", f"/webhook/{V1}/{PATH_TOKEN}", flat)[0] == 200
    assert ingress.post(flat, f"/webhook/{V1}") == 200
    assert ingress.call("POST", "/webhook", flat, {"X-Hub-Signature-256": sign(flat, b"forged")})[0] == 401
    records = ingress.read("inbound-events")
    events = [check(InboundEvent, record.value) for record in records]
    assert {(event.number, event.type, event.status) for event in events} == {
        (CLOUD, "status", "read"), (DIALOG, "message", None), (V1, "status", "sent"), (V1, "message", None),
    }  # fmt: skip
    assert len(events) == 6
    assert len({event.event_id for event in events}) == 4
    assert {(record.key, record.partition) for record in records} == {(PERSON, partition_of(PERSON, PARTITIONS))}
    assert next(event.request_id for event in events if event.status == "read") == "order-1"
    verified = {record.key for record in ingress.read("account-state")}
    assert verified == {f"number:{number}/webhook" for number in (CLOUD, DIALOG, V1)}
    assert ingress.metric('wapipe_webhook_requests_total{result="bad_signature"}') == 1
    assert ingress.metric('wapipe_statuses_total{status="sent"}') == 2
    assert ingress.metric("wapipe_webhook_publish_seconds_count") == 4


def test_stop_lands_on_consent_updates(ingress: Ingress) -> None:
    """A STOP word is a revoke by the contract on the person's partition; its repeat has the same id."""
    for _ in range(2):
        assert ingress.post(cloud(messages=[text("STOP")])) == 200
    records = ingress.read("consent-updates")
    updates = [check(ConsentUpdate, record.value) for record in records]
    assert [(update.action, update.business, update.categories) for update in updates] == [
        ("revoke", "acme", ["*"])
    ] * 2
    assert updates[0].update_id == updates[1].update_id
    assert {(record.key, record.partition) for record in records} == {(PERSON, partition_of(PERSON, PARTITIONS))}
    assert ingress.metric('wapipe_opt_outs_total{way="keyword"}') == 2


def test_a_secret_rotates_without_a_restart(ingress: Ingress) -> None:
    """A new secret in the file counts within seconds, and the old one no more."""
    path = ingress.settings.ingress.app_secret_files[0]
    path.write_bytes(b"rotated-secret")
    os.utime(path, (2_000_000_000, 2_000_000_000))
    give_up_at = time.monotonic() + WAIT_S
    while ingress.post(cloud(), secret=b"rotated-secret") != 200:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    assert ingress.post(cloud(), secret=FIRST) == 401
    assert ingress.post(cloud(), secret=SECOND) == 200


def _deep(levels: int) -> bytes:
    return b'{"object":' * levels + b"1" + b"}" * levels


def _chunked(*chunks: bytes) -> bytes:
    head = b"POST /webhook HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX-Hub-Signature-256: sha256=0\r\n\r\n"
    return head + b"".join(chunks)


GOOD = cloud(statuses=[status("delivered")])
# Authentic, but no webhook: kept on dead-letter, 200.
UNREADABLE = {
    "empty": b"",
    "blank": b" \n",
    "not json": b"hello",
    "truncated": GOOD[:-20],
    "two documents": GOOD + GOOD,
    "not utf-8": b'{"object":"\xff\xfe"}',
    "lone surrogate": b'{"object":"whatsapp_business_account","entry":[{"id":"\\ud800"}]}',
    "nul bytes": b"\x00" * 100,
    "array": b"[1,2,3]",
    "number": b"17",
    "null": b"null",
    "string": b'"entry"',
    "nan": b'{"entry":NaN}',
    "form": b"payload=%7B%7D",
    "other object": b'{"object":"page","entry":[]}',
    "no object": b'{"entry":[]}',
    "entry missing": b'{"object":"whatsapp_business_account"}',
    "entry is text": b'{"object":"whatsapp_business_account","entry":"x"}',
    "foreign shape": b'{"hello":"world"}',
    "deep": _deep(900),
    "deeper than any parser": _deep(100_000),
    "deep inside": cloud(messages=[{"a": json.loads(_deep(40))}]),
    "too many events": cloud(statuses=[0] * 10_001),
    "large rubbish": b"x" * (4 * 1024 * 1024),
}
# Authentic and a webhook, however odd: each is at least one event, 200.
ODD = {
    "unknown field": cloud(field="brand_new", anything={"a": 1}),
    "unknown keys": cloud(statuses=[status(invented=[1, {"x": None}])]),
    "unknown status": cloud(statuses=[status("teleported")]),
    "wrong types": cloud(statuses=[{"id": 1, "status": [], "timestamp": {}, "recipient_id": 5}]),
    "rows that are no objects": cloud(statuses=[1, None, "x"], messages=[[]]),
    "statuses is a text": cloud(statuses="x"),
    "no changes": b'{"object":"whatsapp_business_account","entry":[{"id":"1"}]}',
    "entry is null": b'{"object":"whatsapp_business_account","entry":[null]}',
    "value is null": b'{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"x","value":null}]}]}',
    "absurd time": cloud(messages=[{**text("hi"), "timestamp": "99999999999999"}]),
    "unknown number": cloud("999", statuses=[status()]),
    "group": cloud(messages=[{**text("STOP"), "from": "group-of-people@g.us"}]),
    "long text": cloud(messages=[text("x" * 950_000)]),
}
# Not authentic: 401, nothing kept.
FORGED: dict[str, str | None] = {
    "no signature": None,
    "empty signature": "",
    "wrong secret": sign(GOOD, b"wrong"),
    "empty secret": sign(GOOD, b""),
    "other body": sign(GOOD + b" ", FIRST),
    "re-serialised": sign(orjson.dumps(orjson.loads(GOOD)), FIRST),
    "upper case": sign(GOOD, FIRST).upper(),
    "cut": sign(GOOD, FIRST)[:-1],
    "no prefix": sign(GOOD, FIRST).removeprefix("sha256="),
    "sha1": "sha1=0123456789012345678901234567890123456789",
    "not ascii": "sha256=\xfc\xfc",
}
# Not HTTP as it should be: 4xx, nothing kept.
BROKEN = {
    "put": (405, b"PUT /webhook HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"),
    "head": (405, b"HEAD /webhook HTTP/1.1\r\nHost: h\r\n\r\n"),
    "wrong path": (404, b"POST /hook HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"),
    "number is no number": (404, b"POST /webhook/abc HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"),
    "get without a question": (400, b"GET /webhook HTTP/1.1\r\nHost: h\r\n\r\n"),
    "wrong path token": (401, f"POST /webhook/{V1}/wrong HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode()),
    "not http": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "no such version": (400, b"POST /webhook HTTP/9.9x\r\nHost: h\r\n\r\n"),
    "negative length": (400, b"POST /webhook HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n"),
    "two framings": (400, _chunked().replace(b"Host: h", b"Host: h\r\nContent-Length: 5") + b"0\r\n\r\n"),
    "large header": (400, b"POST /webhook HTTP/1.1\r\nHost: h\r\nX-Large: " + b"x" * 20_000 + b"\r\n\r\n"),
    "bad chunk size": (400, _chunked(b"zz\r\nabc\r\n0\r\n\r\n")),
    "compressed": (415, _chunked(b"0\r\n\r\n").replace(b"Host: h", b"Host: h\r\nContent-Encoding: gzip")),
    "announced 5 MB": (413, _chunked().replace(b"Transfer-Encoding: chunked", b"Content-Length: 5000000")),
}


def test_nothing_malformed_or_forged_stops_it_or_gets_in(ingress: Ingress) -> None:
    """More than thirty kinds of bad input: each has its clear answer, is kept or refused, good ones pass between."""
    assert len(UNREADABLE) + len(ODD) + len(FORGED) + len(BROKEN) >= 30
    answers: dict[str, Any] = {}
    for name, raw in {**UNREADABLE, **ODD}.items():
        answers[name] = ingress.post(raw)
    for name, signature in FORGED.items():
        headers = {} if signature is None else {"X-Hub-Signature-256": signature}
        answers[name] = ingress.call("POST", "/webhook", GOOD, headers)[0]
        assert ingress.post(GOOD) == 200
    for name, (_, data) in BROKEN.items():
        answers[name] = ingress.raw(data)
    answers["5 MB in chunks"] = ingress.raw(_chunked(*[b"100000\r\n" + b"x" * 0x100000 + b"\r\n"] * 5, b"0\r\n\r\n"))
    answers["ends early"] = ingress.raw(b"POST /webhook HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n"
                                        b"X-Hub-Signature-256: sha256=0\r\n\r\nabc", hang_up=True)  # fmt: skip
    assert answers.pop("ends early") in {None, 400}
    assert answers == {
        **dict.fromkeys([*UNREADABLE, *ODD], 200),
        **dict.fromkeys(FORGED, 401),
        **{name: code for name, (code, _) in BROKEN.items()},
        "5 MB in chunks": 413,
    }
    assert ingress.post(GOOD) == 200
    kept = read_values(ingress.settings.kafka.bootstrap_servers, ingress.settings.topic("dead-letter"))
    assert sorted(kept) == sorted([*UNREADABLE.values(), ODD["long text"]])
    events = [check(InboundEvent, record.value) for record in ingress.read("inbound-events")]
    # the good ones between and after, and the unknown number's; nothing of the forged ones
    assert sum(event.body == status("delivered") for event in events) == len(FORGED) + 2
    assert ingress.ready()[0] == 200
    assert ingress.metric('wapipe_webhook_requests_total{result="malformed"}') > 0
    assert [line["exception"] for line in ingress.log_lines() if line["level"] == "error"] == []


def test_the_check_command_finds_the_door_open_or_says_why_not(ingress: Ingress) -> None:
    """A synthetic webhook per profile is taken; a wrong secret, a stranger and a closed port are told apart."""
    import asyncio

    settings = ingress.settings
    for number in (CLOUD, DIALOG, V1):
        result = asyncio.run(check_webhook(settings, number, ingress.port))
        assert (result.is_ok, result.http_status) == (True, 200), result.detail
    assert {event.value["number"] for event in ingress.read("inbound-events")} == {CLOUD, DIALOG, V1}
    for path in settings.ingress.app_secret_files:
        path.with_suffix(".wrong").write_bytes(b"wrong")
    wrong_files = [path.with_suffix(".wrong") for path in settings.ingress.app_secret_files]
    wrong = settings.model_copy(
        update={"ingress": settings.ingress.model_copy(update={"app_secret_files": wrong_files})}
    )
    refused = asyncio.run(check_webhook(wrong, CLOUD, ingress.port))
    assert (refused.is_ok, refused.http_status) == (False, 401)
    with pytest.raises(ConfigError, match="not configured"):
        asyncio.run(check_webhook(settings, "999", ingress.port))
    with pytest.raises(ConfigError, match=r"ingress\.port"):
        asyncio.run(check_webhook(settings, CLOUD))
    assert ingress.stop() == 0
    closed = asyncio.run(check_webhook(settings, CLOUD, ingress.port))
    assert (closed.is_ok, closed.http_status) == (False, None)


def test_sigterm_finishes_what_is_under_way_and_exits_0(ingress: Ingress) -> None:
    """A body half sent when SIGTERM comes is taken to its end and stored; new connections are refused; exit code 0."""
    raw = cloud(statuses=[status("read")])
    signature = f"X-Hub-Signature-256: {sign(raw, FIRST)}"
    head = f"POST /webhook HTTP/1.1\r\nHost: h\r\n{signature}\r\nContent-Length: {len(raw)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ingress.port), timeout=WAIT_S) as connection:
        connection.sendall(head.encode() + raw[:10])
        assert ingress.post(GOOD) == 200  # by now the other call is being read
        ingress.process.send_signal(signal.SIGTERM)
        ingress._wait_for("ingress_draining")
        assert ingress.ready() == (503, {"ready": False, "reasons": {"draining": "asked to stop"}})
        connection.sendall(raw[10:])
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    assert ingress.process.wait(WAIT_S) == 0
    assert "read" in [record.value["status"] for record in ingress.read("inbound-events")]
    with pytest.raises(ConnectionRefusedError):
        ingress.post(GOOD)


def test_the_log_holds_no_secret_and_nothing_that_people_said(ingress: Ingress) -> None:
    """Refusals and dead letters are logged without tokens, secrets, texts or phone numbers."""
    ingress.post(cloud(messages=[text("marked-words STOP")]))
    ingress.post(cloud(messages=[text("marked-words")]), secret=b"wrong")
    ingress.post(b"marked-words, not json")
    ingress.call("POST", f"/webhook/{V1}/{PATH_TOKEN}", b'{"marked-words":1}')
    assert ingress.stop() == 0
    log = "\n".join(map(str, ingress.log_lines()))
    assert "webhook_refused" in log
    assert "webhook_dead_lettered" in log
    secrets = (FIRST.decode(), SECOND.decode(), VERIFY_TOKEN, PATH_TOKEN)
    assert [word for word in (*secrets, "marked-words", PERSON) if word in log] == []
