"""Which statuses follow a message, and every kind of webhook body."""

from __future__ import annotations

from random import Random
from typing import Any, get_args

import orjson
import pytest

from pipeline.simulator.inbound import Inbound, InboundType, inbound_message
from pipeline.simulator.settings import LiveSettings
from pipeline.simulator.statuses import Sent, StatusUpdate, plan
from pipeline.simulator.webhooks import ErrorUpdate, FieldUpdate, Sender, Shape, Update, body
from pipeline.whatsapp.webhooks import parse_webhook

SENDER = Sender("300", "200", "15550100001")
SENT = Sent("wamid.1", "15550109999", "text", "cloud", version=24.0)


def _plan(sent: Sent = SENT, **settings: Any) -> list[StatusUpdate]:
    planned = plan(LiveSettings.model_validate(settings), Random("1"), sent)
    return [update for update, _ in sorted(planned, key=lambda pair: pair[1])]


def _names(sent: Sent = SENT, **settings: Any) -> list[str]:
    return [update.status for update in _plan(sent, **settings)]


def _value(update: Update, shape: Shape = "cloud") -> dict[str, Any]:
    given: dict[str, Any] = orjson.loads(body(shape, SENDER, [update], 1795300000.0))
    value: dict[str, Any] = given if shape == "v1" else given["entry"][0]["changes"][0]["value"]
    return value


def test_statuses_may_be_skipped_and_reversed() -> None:
    """Delivered or all statuses are left out, or come the other way round, each at its own wish."""
    assert _names() == ["sent", "delivered", "read"]
    assert _names(skip_delivered_ratio=1) == ["sent", "read"]
    assert _names(silence_ratio=1) == []
    assert _names(reverse_ratio=1) == ["read", "delivered", "sent"]
    assert _names(SENT._replace(asked=("read",))) == ["read"]
    assert _names(SENT._replace(failed_code=131026)) == ["failed"]


def test_reaction_has_only_sent_and_v1_may_have_none() -> None:
    """A reaction is complete at `sent`; a v1 client that was told nothing tells no `sent`."""
    assert _names(SENT._replace(type="reaction")) == ["sent"]
    v1 = SENT._replace(profile="v1", version=None)
    assert _names(v1) == ["sent", "delivered", "read"]
    assert _names(v1, v1_sent_status=False) == ["delivered", "read"]


def test_price_is_told_on_sent_and_once_more() -> None:
    """The price stands on `sent` and on one of delivered and read."""
    assert [update.is_priced for update in _plan()] == [True, True, False]
    assert [update.is_priced for update in _plan(skip_delivered_ratio=1)] == [True, True]
    assert "pricing" in _value(_plan()[0])["statuses"][0]
    assert "pricing" not in _value(_plan()[2])["statuses"][0]


def test_conversation_goes_by_version() -> None:
    """Up to v23 a conversation is named on sent and delivered, with its end on sent alone; from v24 on it is not."""
    assert not any("conversation" in _value(update)["statuses"][0] for update in _plan())
    old = [_value(update)["statuses"][0] for update in _plan(SENT._replace(version=23.0))]
    assert [("conversation" in status) for status in old] == [True, True, False]
    assert ["expiration_timestamp" in status["conversation"] for status in old[:2]] == [True, False]
    assert "conversation" in _value(_plan(conversation="always")[0])["statuses"][0]


def test_person_with_a_user_id_only() -> None:
    """Who is known by user id has no phone in statuses, but a contact; a failure to a phone names no user id."""
    settings: dict[str, Any] = {"user_ids": {"15550109999": "US.1A"}}
    for sent in (SENT, SENT._replace(recipient="US.1A")):
        value = _value(_plan(sent, **settings)[0])
        assert value["contacts"] == [{"user_id": "US.1A"}]
        assert value["statuses"][0]["recipient_user_id"] == "US.1A"
        assert "recipient_id" not in value["statuses"][0]
    failed = _value(_plan(SENT._replace(failed_code=131026), **settings)[0])
    assert "contacts" not in failed
    assert (failed["statuses"][0]["recipient_id"], "recipient_user_id" in failed["statuses"][0]) == (
        "15550109999",
        False,
    )
    told = _value(_plan(hide_phones=False, **settings)[0])["statuses"][0]
    assert (told["recipient_id"], told["recipient_user_id"]) == ("15550109999", "US.1A")


@pytest.mark.parametrize("shape", ["cloud", "v1"])
@pytest.mark.parametrize("kind", get_args(InboundType))
def test_every_inbound_type_is_understood(kind: InboundType, shape: Shape) -> None:
    """A message of every type goes out in its shape, and the pipeline's parser knows it as a message of that person."""
    asked = Inbound.model_validate({"from": "15550109999", "number": "200", "type": kind})
    raw = body(shape, SENDER, [inbound_message(asked, shape, "m", "wamid.SENT")], 1795300000.0)
    (event,) = parse_webhook(raw, received_at="2026-11-22T10:00:00.000Z", number="200")
    assert (event["type"], event["recipient"], event["body"]["type"]) == ("message", "15550109999", kind)


def test_inbound_extras() -> None:
    """Own content, referral and context are taken over; a person with a user id may hide the phone."""
    asked = {
        "from": "1555", "number": "200", "type": "image", "content": {"id": "9"}, "user_id": "US.1A", "username": "ada",
        "hide_phone": True, "extra": {"referral": {"source_id": "1"}},
    }  # fmt: skip
    value = _value(inbound_message(Inbound.model_validate(asked), "cloud", "m", "wamid.SENT"))
    (message,), (contact,) = value["messages"], value["contacts"]
    assert (message["image"], message["referral"], message["from_user_id"]) == (
        {"id": "9"},
        {"source_id": "1"},
        "US.1A",
    )
    assert ("from" in message, "wa_id" in contact, contact["profile"]["username"]) == (False, False, "ada")


def test_management_fields_have_a_time_and_errors_stand_alone() -> None:
    """A change of the account has `entry.time`, statuses do not; an error of no message is a value of its own."""
    updates: list[Update] = [
        StatusUpdate("m", "1", "sent"),
        FieldUpdate("security", {"event": "X"}),
        ErrorUpdate(130429),
    ]
    entries = orjson.loads(body("cloud", SENDER, updates, 1795300000.0))["entry"]
    found = [(entry["changes"][0]["field"], entry.get("time")) for entry in entries]
    assert found == [("messages", None), ("messages", None), ("security", 1795300000)]
    assert _value(ErrorUpdate(130429))["errors"][0]["code"] == 130429
    assert _value(ErrorUpdate(1014), "v1")["errors"][0]["code"] == 1014


@pytest.mark.parametrize("shape", ["cloud", "v1"])
def test_bodies_of_three_megabytes(shape: Shape) -> None:
    """A thousand updates fit one body, and any body can be filled up to 3 MB exactly, in ASCII."""
    updates: list[Update] = [StatusUpdate(f"m{number}", "1", "sent") for number in range(1000)]
    raw = body(shape, SENDER, updates, 1795300000.0, 3 * 1024 * 1024)
    assert (len(raw), raw.isascii()) == (3 * 1024 * 1024, True)
    events = parse_webhook(raw, received_at="2026-11-22T10:00:00.000Z", number="200")
    assert sum(event["type"] == "status" for event in events) == 1000
