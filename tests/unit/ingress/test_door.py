"""The HTTP side, over loopback and with a producer of ours: verification, webhooks, and what is turned away."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from aiohttp import ClientSession, web
from confluent_kafka import KafkaError

from pipeline.config import Settings
from pipeline.health import Health, listen
from pipeline.ingress.access import Access
from pipeline.ingress.door import RETRY_AFTER_S, Door
from pipeline.ingress.load import MAX_BODY_BYTES, Load
from pipeline.ingress.store import Store
from pipeline.metrics import Metrics
from pipeline.whatsapp.signature import sign_as_turn
from tests.unit.ingress.support import (
    CLOUD,
    DIALOG,
    PATH_TOKEN,
    SECRET,
    V1,
    VERIFY_TOKEN,
    FakeDelivery,
    cloud,
    number,
    secret_file,
    settings_with,
    signed,
    status,
    text,
)  # fmt: skip

EMPTY = b'{"object":"whatsapp_business_account","entry":[]}'
ASK = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "1158201444"}


class _Stand(NamedTuple):
    door: Door
    session: ClientSession
    delivery: FakeDelivery
    health: Health
    metrics: Metrics

    def calls(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value("wapipe_webhook_requests_total", {"result": result})

    async def post(self, path: str, raw: bytes, **headers: str) -> int:
        async with self.session.post(path, data=io.BytesIO(raw), headers={**signed(raw), **headers}) as answer:
            return answer.status


@asynccontextmanager
async def _open(settings: Settings, load: Load | None = None, timeout_s: float = 60) -> AsyncIterator[_Stand]:
    delivery, health, metrics = FakeDelivery(), Health(), Metrics()
    store = Store(delivery, metrics, timeout_s)
    door = Door(settings, Access(settings), store, health, metrics, load)
    runner = web.AppRunner(door.app(), access_log=None, auto_decompress=False, lingering_time=1, shutdown_timeout=1)
    port = await listen(runner, "127.0.0.1", 0, "ingress")
    try:
        async with ClientSession(f"http://127.0.0.1:{port}") as session:
            yield _Stand(door, session, delivery, health, metrics)
    finally:
        await runner.cleanup()


def _verified(delivery: FakeDelivery) -> list[str]:
    return [str(key) for topic, key, _ in delivery.records if topic == "account-state"]


async def test_verification_echoes_the_challenge_and_verifies_cloud_numbers(tmp_path: Path) -> None:
    """Meta gets its challenge back as plain text; Cloud and 360dialog numbers count as verified, v1 does not."""
    async with _open(settings_with(tmp_path)) as stand:
        async with stand.session.get("/webhook", params=ASK) as answer:
            assert (answer.status, await answer.text()) == (200, "1158201444")
            assert answer.content_type == "text/plain"
        assert _verified(stand.delivery) == [f"number:{CLOUD}/webhook", f"number:{DIALOG}/webhook"]
        assert stand.calls("verified") == 1


async def test_verification_of_one_number_by_its_path(tmp_path: Path) -> None:
    """A callback address per number verifies that number only."""
    async with _open(settings_with(tmp_path)) as stand:
        async with stand.session.get(f"/webhook/{DIALOG}", params=ASK) as answer:
            assert answer.status == 200
        assert _verified(stand.delivery) == [f"number:{DIALOG}/webhook"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hub.verify_token": "wrong"}, 403),
        ({"hub.verify_token": ""}, 403),
        ({"hub.mode": "unsubscribe"}, 400),
        ({"hub.mode": ""}, 400),
        ({"hub.challenge": ""}, 400),
        ({"hub.challenge": "x" * 2000}, 400),
    ],
)
async def test_a_wrong_verification_is_refused_and_verifies_nothing(
    tmp_path: Path, change: dict[str, str], expected: int
) -> None:
    """Wrong token 403, malformed 400; the answer echoes nothing."""
    async with _open(settings_with(tmp_path)) as stand:
        async with stand.session.get("/webhook", params={**ASK, **change}) as answer:
            assert answer.status == expected
            assert "1158201444" not in await answer.text()
        assert stand.delivery.records == []


async def test_verification_waits_for_kafka_and_says_503_without_it(tmp_path: Path) -> None:
    """A number does not count as verified because of a record that was never stored."""
    async with _open(settings_with(tmp_path)) as stand:
        stand.delivery.error = KafkaError(KafkaError._MSG_TIMED_OUT)
        async with stand.session.get("/webhook", params=ASK) as answer:
            assert answer.status == 503


async def test_a_signed_webhook_is_stored_and_verifies_its_number_once(tmp_path: Path) -> None:
    """200 with everything on the topics; the state record is written at the first call only."""
    async with _open(settings_with(tmp_path)) as stand:
        for name in ("sent", "delivered"):
            assert await stand.post("/webhook", cloud(statuses=[status(name)])) == 200
        assert [event["status"] for event in stand.delivery.on("inbound-events")] == ["sent", "delivered"]
        assert _verified(stand.delivery) == [f"number:{CLOUD}/webhook"]
        assert stand.calls("ok") == 2


async def test_the_answer_waits_for_every_ack(tmp_path: Path) -> None:
    """No 200 while one record is not acked."""
    async with _open(settings_with(tmp_path)) as stand:
        stand.delivery.holds = True
        call = asyncio.create_task(stand.post("/webhook", cloud(messages=[text("STOP"), text("hi", "wamid.in2")])))
        while len(stand.delivery.held) < 4:
            await asyncio.sleep(0)
        stand.delivery.held.pop()()
        stand.delivery.held.pop(0)()
        await asyncio.sleep(0)
        assert not call.done()
        stand.delivery.release()
        assert await call == 200


async def test_without_acks_the_answer_is_503_and_the_next_try_is_whole(tmp_path: Path) -> None:
    """Come again later, after `Retry-After`; nothing counts as received, and the number is still unverified."""
    raw = cloud(statuses=[status("read")])
    async with _open(settings_with(tmp_path), timeout_s=0) as stand:
        stand.delivery.holds = True
        async with stand.session.post("/webhook", data=raw, headers=signed(raw)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, str(RETRY_AFTER_S))
        assert stand.calls("unavailable") == 1
        assert stand.metrics.registry.get_sample_value("wapipe_statuses_total", {"status": "read"}) is None
        stand.delivery.records.clear()
    async with _open(settings_with(tmp_path)) as stand:
        assert await stand.post("/webhook", raw) == 200
        assert _verified(stand.delivery) == [f"number:{CLOUD}/webhook"]


async def test_a_repeat_is_dropped_only_after_its_first_was_stored(tmp_path: Path) -> None:
    """With the short memory on, a call that got 503 is written when it comes again, and the one after that is not."""
    raw = cloud(statuses=[status()])
    async with _open(settings_with(tmp_path, dedupe_s=60)) as stand:
        stand.delivery.error = KafkaError(KafkaError._MSG_TIMED_OUT)
        assert await stand.post("/webhook", raw) == 503
        stand.delivery.error = None
        assert [await stand.post("/webhook", raw) for _ in range(2)] == [200, 200]
        assert len(stand.delivery.on("inbound-events")) == 2  # the failed one, and the one that was stored
        assert stand.metrics.registry.get_sample_value("wapipe_webhook_repeats_total") == 1


async def test_a_failed_store_leaves_the_number_unverified_for_the_next_call(tmp_path: Path) -> None:
    """The state record is written again after a 503 in the same process."""
    raw = cloud(statuses=[status("read")])
    async with _open(settings_with(tmp_path)) as stand:
        stand.delivery.error = KafkaError(KafkaError._MSG_TIMED_OUT)
        assert await stand.post("/webhook", raw) == 503
        stand.delivery.error = None
        assert await stand.post("/webhook", raw) == 200
        assert _verified(stand.delivery) == [f"number:{CLOUD}/webhook"] * 2


async def test_a_bad_signature_is_401_without_a_trace_of_the_body(tmp_path: Path) -> None:
    """Refused, counted, nothing stored, nothing echoed."""
    raw = cloud(messages=[text("a-secret-word")])
    async with _open(settings_with(tmp_path)) as stand:
        async with stand.session.post("/webhook", data=raw, headers=signed(raw, b"other")) as answer:
            assert answer.status == 401
            assert "a-secret-word" not in await answer.text()
        assert (stand.calls("bad_signature"), stand.delivery.records) == (1, [])


async def test_v1_by_path_token_or_bearer(tmp_path: Path) -> None:
    """The token opens the door in the path and as a bearer; a wrong one does not, nor for a Cloud number."""
    token = secret_file(tmp_path, "token", PATH_TOKEN)
    raw = b'{"statuses":[{"id":"gB1","status":"sent","timestamp":"1795300004","recipient_id":"15550109999"}]}'
    async with _open(settings_with(tmp_path, path_token_file=token)) as stand:

        async def call(path: str, **headers: str) -> int:
            async with stand.session.post(path, data=raw, headers=headers) as answer:
                return answer.status

        bearer = f"Bearer {PATH_TOKEN}"
        assert await call(f"/webhook/{V1}/{PATH_TOKEN}") == 200
        assert await call(f"/webhook/{V1}", Authorization=bearer) == 200
        assert await call(f"/webhook/{V1}/wrong") == 401
        assert await call(f"/webhook/{V1}") == 401
        assert await call(f"/webhook/{CLOUD}/{PATH_TOKEN}") == 401
        assert await call("/webhook", Authorization=bearer) == 401
        assert [event["number"] for event in stand.delivery.on("inbound-events")] == [V1, V1]
        assert _verified(stand.delivery) == [f"number:{V1}/webhook"]


async def test_a_facade_signs_under_its_own_header(tmp_path: Path) -> None:
    """Turn.io's header opens the door for a flat v1 body; a wrong one in it does not."""
    raw = orjson.dumps({"statuses": [status("delivered")]})
    async with _open(settings_with(tmp_path)) as stand:

        async def call(secret: bytes) -> int:
            headers = {"X-Turn-Hook-Signature": sign_as_turn(raw, secret)}
            async with stand.session.post(f"/webhook/{V1}", data=raw, headers=headers) as answer:
                return answer.status

        assert await call(SECRET) == 200
        assert await call(b"other") == 401
        assert [event["number"] for event in stand.delivery.on("inbound-events")] == [V1]


async def test_an_app_that_speaks_for_another_number_is_not_believed(tmp_path: Path) -> None:
    """What the wrong app signed is kept as a dead letter, and is no event of the number it names."""
    own = number("cloud", "acme", 7).model_copy(update={"app_secret_files": [secret_file(tmp_path, "own", "own-app")]})
    async with _open(settings_with(tmp_path, {CLOUD: own, DIALOG: number("360dialog", "acme", 1)})) as stand:
        raw = cloud(statuses=[status()])
        assert await stand.post("/webhook", raw) == 200
        assert [topic for topic, _, _ in stand.delivery.records] == ["dead-letter"]
        assert await stand.post("/webhook", raw, **signed(raw, b"own-app")) == 200
        assert [event["number"] for event in stand.delivery.on("inbound-events")] == [CLOUD]


async def test_v1_alone_on_loopback_needs_no_lock(tmp_path: Path) -> None:
    """Without any secret the configured number is served, no other one and not the path of Cloud."""
    raw = (
        b'{"messages":[{"from":"15550109999","id":"AB1","timestamp":"1795300004","type":"text","text":{"body":"hi"}}]}'
    )
    async with _open(settings_with(tmp_path, {V1: number("v1")}, app_secret_files=None)) as stand:
        answers = []
        for path in (f"/webhook/{V1}", "/webhook/999", "/webhook"):
            async with stand.session.post(path, data=raw) as answer:
                answers.append(answer.status)
        assert answers == [200, 401, 401]


async def test_an_unreadable_body_with_a_good_signature_is_kept_and_acknowledged(tmp_path: Path) -> None:
    """WhatsApp must not come again with it for days: dead letter, 200."""
    async with _open(settings_with(tmp_path)) as stand:
        assert await stand.post("/webhook", b"not json at all") == 200
        assert [(topic, value) for topic, _, value in stand.delivery.records] == [("dead-letter", b"not json at all")]
        assert stand.calls("dead_letter") == 1
        letters = {"stage": "ingress", "code": "bad_webhook"}
        assert stand.metrics.registry.get_sample_value("wapipe_dead_letters_total", letters) == 1


async def test_an_unknown_number_is_recorded_but_not_verified(tmp_path: Path) -> None:
    """Its events are facts all the same."""
    async with _open(settings_with(tmp_path)) as stand:
        assert await stand.post("/webhook", cloud("999", statuses=[status()])) == 200
        assert [topic for topic, _, _ in stand.delivery.records] == ["inbound-events"]


async def test_a_body_above_the_limit_is_413_and_one_at_the_limit_is_read(tmp_path: Path) -> None:
    """4 MB and no byte more, announced or not."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1024 * 1024

    async with _open(settings_with(tmp_path)) as stand:
        assert await stand.post("/webhook", b"x" * MAX_BODY_BYTES) == 200
        assert await stand.post("/webhook", b"x" * (MAX_BODY_BYTES + 1)) == 413
        async with stand.session.post("/webhook", data=chunks(), headers=signed(b"")) as answer:
            assert answer.status == 413
        assert (stand.calls("dead_letter"), stand.calls("too_large")) == (1, 2)


async def test_a_compressed_body_is_415(tmp_path: Path) -> None:
    """Nothing is unpacked, so no bomb goes off."""
    async with _open(settings_with(tmp_path)) as stand:
        assert await stand.post("/webhook", EMPTY, **{"Content-Encoding": "gzip"}) == 415
        assert await stand.post("/webhook", EMPTY, **{"Content-Encoding": "identity"}) == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PUT", "/webhook", 405),
        ("DELETE", "/webhook", 405),
        ("HEAD", "/webhook", 405),
        ("GET", f"/webhook/{V1}/token", 405),
        ("POST", "/", 404),
        ("POST", "/webhooks", 404),
        ("POST", "/webhook/abc", 404),
        ("POST", "/webhook/" + "1" * 33, 404),
        ("POST", f"/webhook/{V1}/a/b", 404),
        ("GET", "/metrics", 404),
    ],
)
async def test_wrong_methods_and_paths(tmp_path: Path, method: str, path: str, expected: int) -> None:
    """404 and 405, counted as such."""
    async with _open(settings_with(tmp_path)) as stand:
        async with stand.session.request(method, path, data=EMPTY, headers=signed(EMPTY)) as answer:
            assert answer.status == expected
        assert stand.calls({404: "not_found", 405: "wrong_method"}[expected]) == 1


@pytest.mark.parametrize(("path", "asked"), [("/", "/"), ("/in/", "/in"), ("/a/b-c", "/a/b-c")])
async def test_the_path_is_the_settings(tmp_path: Path, path: str, asked: str) -> None:
    """Root, a trailing slash and a deeper path all work."""
    async with _open(settings_with(tmp_path, path=path)) as stand:
        assert await stand.post(asked, EMPTY) == 200
        assert await stand.post(f"{asked.rstrip('/')}/{CLOUD}", EMPTY) == 200


@pytest.mark.parametrize("bounds", [{"max_requests": 0}, {"max_bytes": 10}])
async def test_above_the_bounds_the_answer_is_503_at_once(tmp_path: Path, bounds: dict[str, Any]) -> None:
    """Calls past the bound are put off with `Retry-After`, and the process is unready meanwhile."""
    async with _open(settings_with(tmp_path), Load(**bounds)) as stand:
        async with stand.session.post("/webhook", data=EMPTY, headers=signed(EMPTY)) as answer:
            assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        assert stand.calls("overloaded") == 1
        assert stand.delivery.records == []


async def test_readiness_comes_back_when_calls_in_flight_are_done(tmp_path: Path) -> None:
    """The bound is reached while one call waits for Kafka, and is free again after it."""
    raw = cloud(statuses=[status()])
    async with _open(settings_with(tmp_path), Load(max_requests=1)) as stand:
        stand.delivery.holds = True
        waiting = asyncio.create_task(stand.post("/webhook", raw))
        while not stand.delivery.held:
            await asyncio.sleep(0)
        assert await stand.post("/webhook", raw) == 503
        assert "load" in stand.health.readiness()
        stand.delivery.release()
        assert await waiting == 200
        assert stand.health.readiness() == {}


async def test_webhooks_in_hand_and_answered_can_be_told_apart(tmp_path: Path) -> None:
    """What its watchdog goes by: a call is work until it is answered, also when Kafka is away and the answer is 503."""
    async with _open(settings_with(tmp_path), timeout_s=0.2) as stand:
        stand.delivery.holds = True
        call = asyncio.create_task(stand.post("/webhook", cloud(statuses=[status()])))
        async with asyncio.timeout(10):
            while not stand.delivery.held:
                await asyncio.sleep(0)
        assert stand.door.progress() == (0, True)
        assert await call == 503
        assert stand.door.progress() == (1, False)
