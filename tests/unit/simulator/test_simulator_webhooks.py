"""Webhook bodies and signatures, byte by byte."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.simulator.inbound import Inbound, inbound_message
from pipeline.simulator.statuses import StatusUpdate
from pipeline.simulator.webhooks import InboundMessage, Sender, Shape, body, signature

SENDER = Sender("300", "200", "15550100001")


def _inbound(shape: Shape, **asked: Any) -> InboundMessage:
    person = Inbound.model_validate({"from": "1555", "number": "200", **asked})
    return inbound_message(person, shape, "m", "wamid.SENT")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            b'{"object":"whatsapp_business_account","entry":[]}',
            "sha256=cc96f69f5295238707076d443c89d5808d96b634779c922fab0ba9ca5354554e",
        ),
        (
            b'{"t":"\\u00e4\\u00f6\\u00e5"}',
            "sha256=22b813ae8748cab41039c709d365ecd9de32520a3d5703d778b71292ed0fb9b3",
        ),
    ],
)
def test_signature_vectors(raw: bytes, expected: str) -> None:
    """The signature is the HMAC-SHA256 of the raw bytes in lower-case hex."""
    assert signature(b"test-secret", raw) == expected


def test_cloud_status_is_in_its_envelope_and_echoes_the_callback() -> None:
    """A cloud status names account and number, echoes the callback and has its time as a string."""
    update = StatusUpdate("wamid.1", "15550109999", "sent", callback="order-1:1", is_priced=True)
    raw = body("cloud", SENDER, [update], 1795300001.9)
    envelope = orjson.loads(raw)
    assert envelope["object"] == "whatsapp_business_account"
    entry = envelope["entry"][0]
    value = entry["changes"][0]["value"]
    assert (entry["id"], entry["changes"][0]["field"]) == ("300", "messages")
    assert value["metadata"]["phone_number_id"] == "200"
    status = value["statuses"][0]
    assert status["biz_opaque_callback_data"] == "order-1:1"
    assert (status["id"], status["status"], status["timestamp"]) == ("wamid.1", "sent", "1795300001")
    assert status["pricing"]["category"] == "utility"


def test_failed_status_carries_its_error() -> None:
    """A failed status has an error in the webhook's shape, in both shapes."""
    update = StatusUpdate("m", "1", "failed", code=131049)
    status = orjson.loads(body("cloud", SENDER, [update], 0))["entry"][0]["changes"][0]["value"]["statuses"][0]
    assert status["errors"][0]["code"] == 131049
    assert status["errors"][0]["title"] == status["errors"][0]["message"]
    assert "details" in status["errors"][0]["error_data"]
    flat = orjson.loads(body("v1", SENDER, [StatusUpdate("m", "1", "failed", code=470)], 0))
    assert set(flat["statuses"][0]["errors"][0]) == {"code", "title"}


def test_v1_shape_is_flat_and_has_no_callback() -> None:
    """A v1 webhook has no envelope and never a callback."""
    flat = orjson.loads(body("v1", SENDER, [StatusUpdate("m", "1", "delivered", callback="x")], 0))
    assert set(flat) == {"statuses"}
    assert "biz_opaque_callback_data" not in flat["statuses"][0]


def test_inbound_texts_are_ascii_on_the_wire() -> None:
    """An inbound text beyond ASCII goes out escaped and comes back whole."""
    raw = body("v1", SENDER, [_inbound("v1", text="STOP ✋")], 5)
    assert raw.isascii()
    message = orjson.loads(raw)["messages"][0]
    assert (message["from"], message["text"]["body"], message["type"]) == ("1555", "STOP ✋", "text")


def test_inbound_button_carries_its_payload() -> None:
    """A pressed quick-reply button arrives as type `button` with payload and label."""
    update = _inbound("cloud", text="Unsubscribe", button_payload="STOP_OFFERS")
    value = orjson.loads(body("cloud", SENDER, [update], 5))["entry"][0]["changes"][0]["value"]
    assert value["messages"][0]["button"] == {"payload": "STOP_OFFERS", "text": "Unsubscribe"}
    assert value["contacts"][0]["wa_id"] == "1555"
