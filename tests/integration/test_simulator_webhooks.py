"""The simulator's webhooks as a receiver sees them: statuses, what people write, events of numbers and templates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.errors import ConfigError
from pipeline.simulator.control import TimedEvent
from pipeline.simulator.webhooks import signature
from tests.support.simulator_client import BEARER, SECRET, WAIT_S, Receiver, Start


async def test_cloud_webhooks_are_signed_and_echo_the_callback(
    start: Start, receiver: Receiver, secret_file: Path
) -> None:
    """Each accepted message is followed by sent, delivered and read, signed over the bytes, with its callback."""
    api = await start(
        webhook_url=receiver.url,
        webhook_secret_file=secret_file,
        webhook_delays_ms={"sent": 0, "delivered": 30, "read": 60},
    )
    _, _, raw = await api.cloud(callback="order-1:1")
    await receiver.until(lambda: len(receiver.cloud_statuses()) == 3)
    statuses = receiver.cloud_statuses()
    assert [status["status"] for status in statuses] == ["sent", "delivered", "read"]
    assert {status["biz_opaque_callback_data"] for status in statuses} == {"order-1:1"}
    assert {status["id"] for status in statuses} == {orjson.loads(raw)["messages"][0]["id"]}
    assert all(signed == signature(SECRET, body) for _, body, signed in receiver.posts)


async def test_v1_webhooks_go_flat_to_the_numbers_path(start: Start, receiver: Receiver) -> None:
    """A v1 number's statuses are flat and go to the URL with its number; without a secret there is no signature."""
    api = await start(
        webhook_url=receiver.url + "/{number}", number_of_token={"t": "201"}, webhook_delays_ms={"delivered": 0}
    )
    await api.v1()
    await receiver.until(lambda: bool(receiver.posts))
    path, raw, signed = receiver.posts[0]
    assert (path, signed) == ("/webhook/201", None)
    assert orjson.loads(raw)["statuses"][0]["status"] == "delivered"


async def test_failed_status_for_a_chosen_recipient(start: Start, receiver: Receiver) -> None:
    """A message to a chosen recipient is accepted and then fails with the code, and with nothing else."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0, "failed": 0})
    await api.control({"force": {"15550100666": {"code": 131026, "via": "webhook"}}})
    assert (await api.cloud(to="15550100666"))[0] == 200
    await receiver.until(lambda: bool(receiver.cloud_statuses()))
    (status,) = receiver.cloud_statuses()
    assert (status["status"], status["errors"][0]["code"]) == ("failed", 131026)


async def test_webhooks_are_tried_again_until_200(start: Start, receiver: Receiver) -> None:
    """A webhook that is not answered 200 comes again with the same bytes, and is given up after its tries."""
    receiver.answers = [503, 404]
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_tries=3)
    await api.cloud()
    await receiver.until(lambda: len(receiver.posts) == 3)
    assert len({raw for _, raw, _ in receiver.posts}) == 1
    receiver.answers = [500] * 3
    await api.cloud()
    async with asyncio.timeout(WAIT_S):
        while (await api.stats())["webhooks"]["failed"] == 0:
            await asyncio.sleep(0.02)
    assert (await api.stats())["webhooks"] == {"sent": 1, "failed": 1, "queued": 0, "dropped": 0}


async def test_webhooks_that_wait_together_share_a_post(start: Start, receiver: Receiver) -> None:
    """What becomes due while the only delivery is busy goes out in one POST."""
    receiver.is_open.clear()
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_concurrency=1)
    await api.cloud()
    await receiver.until(lambda: len(receiver.posts) == 1)
    for _ in range(5):
        await api.cloud()
    receiver.is_open.set()
    await receiver.until(lambda: len(receiver.cloud_statuses()) == 6)
    assert len(receiver.posts) == 2


async def test_webhooks_may_come_twice(start: Start, receiver: Receiver) -> None:
    """With a duplicate ratio of 1 each status arrives exactly twice."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_duplicate_ratio=1)
    for _ in range(3):
        await api.cloud()
    await receiver.until(lambda: len(receiver.cloud_statuses()) == 6)
    ids = [status["id"] for status in receiver.cloud_statuses()]
    assert {ids.count(each) for each in ids} == {2}


async def test_webhook_queue_is_bounded(start: Start, receiver: Receiver) -> None:
    """A full queue drops and counts; a reset empties it."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 3_600_000}, webhook_queue=5)
    for _ in range(8):
        await api.cloud()
    assert (await api.stats())["webhooks"] == {"sent": 0, "failed": 0, "queued": 5, "dropped": 3}
    await api.control({"reset": True})
    assert (await api.stats())["webhooks"]["queued"] == 0


async def test_inbound_message_by_control(start: Start, receiver: Receiver, secret_file: Path) -> None:
    """A person's STOP goes out as a signed webhook; without a webhook URL control says what is missing."""
    api = await start(webhook_secret_file=secret_file)
    stop = {"inbound": {"from": "15550109999", "number": "200", "text": "STOP"}}
    status, answer = await api.control(stop)
    assert status == 400
    assert "webhook_url" in answer["error"][0]
    status, answer = await api.control(stop | {"settings": {"webhook_url": receiver.url}})
    assert status == 200
    await receiver.until(lambda: bool(receiver.posts))
    _, raw, signed = receiver.posts[0]
    message = orjson.loads(raw)["entry"][0]["changes"][0]["value"]["messages"][0]
    assert (message["from"], message["text"]["body"]) == ("15550109999", "STOP")
    assert message["id"] == answer["inbound"]["message_id"]
    assert signed == signature(SECRET, raw)


async def test_start_refuses_what_cannot_work(start: Start, tmp_path: Path) -> None:
    """A taken port, a missing or an empty secret file stop the start with the key's name."""
    api = await start()
    with pytest.raises(ConfigError, match="cannot listen"):
        await start(port=api.simulator.port)
    with pytest.raises(ConfigError, match="webhook_secret_file"):
        await start(webhook_secret_file=tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match="empty"):
        await start(webhook_secret_file=tmp_path / "empty")


async def test_history_tells_what_became_of_webhooks(start: Start, receiver: Receiver) -> None:
    """`message_history` names each status with the fate of its webhook."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_tries=1)
    receiver.answers = [500]
    name = orjson.loads((await api.cloud())[2])["messages"][0]["id"]
    async with asyncio.timeout(WAIT_S):
        while (await api.stats())["webhooks"]["failed"] == 0:
            await asyncio.sleep(0.01)
    (row,) = orjson.loads((await api.call("GET", "/v24.0/200/message_history"))[1])["data"]
    (event,) = orjson.loads((await api.call("GET", f"/v24.0/{name}/events"))[1])["data"]
    assert (row["message_id"], row["events"]["data"]) == (name, [event])
    assert (event["delivery_status"], event["webhook_update_state"]) == ("SENT", "FAILED")


async def test_throughput_upgrade(start: Start, receiver: Receiver) -> None:
    """While a number is upgraded it hears 131057; then the webhook comes and the limit is the new one."""
    api = await start(webhook_url=receiver.url, webhook_delays_ms={})
    assert (await api.control({"upgrade": {"number": "200", "rate_per_s": 1000, "for_s": 0.2}}))[0] == 200
    status, _, raw = await api.cloud()
    assert (status, orjson.loads(raw)["error"]["code"]) == (500, 131057)
    await receiver.until(lambda: bool(receiver.posts))
    entry = orjson.loads(receiver.posts[0][1])["entry"][0]
    assert (entry["changes"][0]["field"], entry["changes"][0]["value"]["event"]) == (
        "phone_number_quality_update",
        "THROUGHPUT_UPGRADE",
    )
    _, raw = await api.call(
        "GET", "/v24.0/200?fields=throughput,quality_rating,whatsapp_business_manager_messaging_limit"
    )
    told = {"throughput": {"level": "HIGH"}, "quality_rating": "GREEN"}
    assert orjson.loads(raw) == {**told, "whatsapp_business_manager_messaging_limit": "TIER_2K", "id": "200"}
    assert (await api.call("GET", "/v24.0/200?fields=colour"))[0] == 400
    assert (await api.stats())["senders"]["200"]["rate_per_s"] == 1000


async def test_template_pause_ends_by_itself(start: Start, receiver: Receiver) -> None:
    """A pause of 3 h ends after 3 h of the long clock, which may be advanced, and both ends are told."""
    api = await start(webhook_url=receiver.url, clock_speed=20_000)
    await api.control({"template": {"name": "promo", "status": "PAUSED"}})
    await receiver.until(lambda: len(receiver.posts) == 2)
    assert receiver.events() == ["PAUSED", "APPROVED"]
    api = await start(webhook_url=receiver.url)
    await api.control({"template": {"name": "promo", "status": "PAUSED"}})
    await api.control({"advance_s": 3 * 3600})
    await receiver.until(lambda: len(receiver.posts) == 4)
    assert receiver.events()[2:] == ["PAUSED", "APPROVED"]
    assert (await api.stats())["templates"][0]["status"] == "APPROVED"


@pytest.mark.parametrize(
    ("act", "field"),
    [
        ({"template": {"name": "promo", "quality": "RED"}}, "message_template_quality_update"),
        ({"template": {"name": "promo", "category": "marketing"}}, "template_category_update"),
        ({"number": {"number": "200", "event": "FLAGGED", "quality": "RED"}}, "phone_number_quality_update"),
        ({"capability": {"limit": -1}}, "business_capability_update"),
        ({"account": {"event": "DISABLED_UPDATE", "info": {"ban_info": {}}}}, "account_update"),
        ({"field": {"field": "security", "value": {"event": "PIN_CHANGED"}}}, "security"),
        ({"preference": {"from": "15550109999", "number": "200"}}, "user_preferences"),
        ({"error": {"number": "200", "code": 130429}}, "messages"),
    ],
)
async def test_events_of_the_account(start: Start, receiver: Receiver, act: dict[str, Any], field: str) -> None:
    """Each event goes out under its field."""
    api = await start(webhook_url=receiver.url)
    assert (await api.control(act))[0] == 200
    await receiver.until(lambda: bool(receiver.posts))
    assert orjson.loads(receiver.posts[0][1])["entry"][0]["changes"][0]["field"] == field


async def test_timed_events_happen_after_the_first_message(start: Start, receiver: Receiver) -> None:
    """An event waits for the first message; one that cannot be applied is counted, not silent."""
    events = [
        TimedEvent.model_validate({"settings": {"burst": 1, "rate_per_s": 0.001}}),
        TimedEvent.model_validate({"inbound": {"from": "1", "number": "200"}}),
        TimedEvent.model_validate({"since": "start", "expire_tokens": True}),
    ]
    api = await start(events=events)
    assert (await api.stats())["events"] == {"done": 1, "refused": 0}
    await api.cloud()
    async with asyncio.timeout(WAIT_S):
        while (await api.stats())["events"] != {"done": 2, "refused": 1}:
            await asyncio.sleep(0.01)
    assert (await api.stats())["senders"]["200"]["burst"] == 1


async def test_handshake_of_a_subscription(start: Start, receiver: Receiver) -> None:
    """`verify` asks the receiver with challenge and token, and tells whether the challenge came back."""
    api = await start(webhook_url=receiver.url)
    for token, is_right in (("my-token", True), ("another", False)):
        _, answer = await api.control({"verify": {"number": "200", "token": token}})
        assert (answer["verify"]["verified"], answer["verify"]["status"]) == (is_right, 200 if is_right else 403)
    assert (await (await start()).control({"verify": {"number": "200", "token": "x"}}))[0] == 400


@pytest.mark.parametrize("mode", ["wrong", "none"])
async def test_signatures_may_be_wrong(start: Start, receiver: Receiver, secret_file: Path, mode: str) -> None:
    """A signature is wrong or missing if a receiver is to be tried with it."""
    api = await start(
        webhook_url=receiver.url, webhook_secret_file=secret_file, webhook_signature=mode, webhook_delays_ms={"sent": 0}
    )
    await api.cloud()
    await receiver.until(lambda: bool(receiver.posts))
    _, raw, signed = receiver.posts[0]
    assert signed != signature(SECRET, raw)
    assert (signed is None) == (mode == "none")


async def test_updates_gather_into_full_batches(start: Start, receiver: Receiver) -> None:
    """With a time to gather, updates of a number go out together, up to 1,000."""
    api = await start(
        webhook_url=receiver.url, webhook_delays_ms={"sent": 0}, webhook_gather_ms=300, webhook_batch=1000, burst=500
    )
    for _ in range(40):
        await api.cloud()
    await receiver.until(lambda: len(receiver.cloud_statuses()) == 40)
    assert len(receiver.posts) < 10


async def test_a_bad_receiver_holds_up_nobody(start: Start, receiver: Receiver) -> None:
    """While webhooks of one number wait for another try, those of another go out."""
    api = await start(
        webhook_url=receiver.url, webhook_urls={"201": "http://127.0.0.1:1/"}, webhook_delays_ms={"sent": 0},
        webhook_concurrency=1, webhook_retry_s=3600, webhook_retry_s_max=3600,
    )  # fmt: skip
    body = {"messaging_product": "whatsapp", "to": "1", "type": "text", "text": {"body": "hi"}}
    await api.post("/v24.0/201/messages", body, BEARER)
    await api.cloud()
    await receiver.until(lambda: bool(receiver.posts))
    assert (await api.stats())["webhooks"]["queued"] == 1
