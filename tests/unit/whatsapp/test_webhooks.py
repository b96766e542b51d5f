"""Limits and identities of webhook events; recorded webhooks are in tests/contract/whatsapp."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.whatsapp import webhooks
from pipeline.whatsapp.callback import callback_of
from pipeline.whatsapp.webhooks import BODY_BYTES_MAX, EVENTS_MAX, WebhookError, parse_webhook

AT = "2026-11-22T10:00:00.000Z"
STATUS = {"id": "gBEG", "recipient_id": "15550109999", "status": "sent", "timestamp": "1795300000"}


def events(document: dict[str, Any], number: str | None = "7") -> list[dict[str, Any]]:
    """The events of a webhook."""
    return parse_webhook(orjson.dumps(document), received_at=AT, number=number)


def event_id(status: dict[str, Any], number: str | None = "7") -> Any:
    """The id of the one event that a status becomes."""
    return events({"statuses": [status]}, number)[0]["event_id"]


def test_a_status_is_the_same_fact_whatever_else_it_says() -> None:
    """Time, price and unknown fields do not change the identity of a status."""
    assert event_id(STATUS) == event_id({**STATUS, "timestamp": "1795300009", "pricing": {}, "new": 1})


@pytest.mark.parametrize("other", [{"id": "gBEH"}, {"status": "read"}, {"recipient_id": "15550108888"}])
def test_another_status_is_another_fact(other: dict[str, str]) -> None:
    """Message, status and recipient make the identity of a status."""
    assert event_id(STATUS) != event_id({**STATUS, **other})


def test_another_number_is_another_fact() -> None:
    """The number belongs to the identity."""
    assert event_id(STATUS) != event_id(STATUS, number="8")


def test_without_an_id_the_content_is_the_identity() -> None:
    """Errors have no id: the same content is the same event, other content another one."""
    found = [events({"errors": [error]})[0]["event_id"] for error in ({"code": 1}, {"code": 1}, {"code": 2})]
    assert found[0] == found[1] != found[2]


def test_unknown_fields_stay_in_the_body() -> None:
    """The raw fragment is kept whole."""
    status = {**STATUS, "brand_new": {"deep": [1, None]}}
    assert events({"statuses": [status]})[0]["body"] == status


def test_account_event_keeps_the_account() -> None:
    """A change of the account carries the account's id, its time and its field."""
    change = {"field": "account_review_update", "value": {"decision": "APPROVED"}}
    document = {"object": "whatsapp_business_account", "entry": [{"id": "3", "time": 1795300000, "changes": [change]}]}
    assert events(document)[0]["body"] == {"id": "3", "time": 1795300000, **change}


def test_too_large() -> None:
    """A body above the limit is refused before it is parsed."""
    with pytest.raises(WebhookError, match="at most"):
        parse_webhook(b" " * (BODY_BYTES_MAX + 1), received_at=AT, number=None)


def test_too_many_events() -> None:
    """A body with more events than any webhook has is refused, one at the limit is read."""
    assert len(events({"errors": [{}] * EVENTS_MAX})) == EVENTS_MAX
    with pytest.raises(WebhookError, match="more than"):
        events({"errors": [{}] * (EVENTS_MAX + 1)})


def test_depth_at_the_limit() -> None:
    """A fragment as deep as readers accept is read, one level more is refused."""
    nested: Any = 1
    for _ in range(webhooks.FRAGMENT_DEPTH_MAX - 1):
        nested = [nested]
    assert events({"errors": [{"deep": nested}]})
    with pytest.raises(WebhookError, match="nested deeper"):
        events({"errors": [{"deep": [nested]}]})


def test_json_deeper_than_can_be_written() -> None:
    """A body that parses but is nested too deeply to be written is refused by name."""
    with pytest.raises(WebhookError, match="nested deeper"):
        parse_webhook(b'{"errors":[{"a":' + b"[" * 900 + b"]" * 900 + b"}]}", received_at=AT, number=None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a:b:3", ("a:b", 3)),
        ("a:0", ("a", 0)),
        (":1", (None, None)),
        ("a:", (None, None)),
        ("a:-1", (None, None)),
        ("a:٣", (None, None)),
        ("a:" + "9" * 10, (None, None)),
        ("x" * 129 + ":1", (None, None)),
        ("x" * 600, (None, None)),
        (None, (None, None)),
        (7, (None, None)),
    ],
)
def test_callback_of(value: Any, expected: tuple[str | None, int | None]) -> None:
    """Only what the sender writes is read as request id and attempt."""
    assert callback_of(value) == expected
