"""What webhooks say about who is who."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.records.alias import Link
from pipeline.whatsapp.aliases import links_of

PHONE, NEW, USER, NEXT, PARENT = "15550109999", "15550108888", "US.134912", "US.777", "US.ENT.1"


def system(kind: str, recipient: str | None = PHONE, **news: Any) -> dict[str, Any]:
    """A system message."""
    return {"type": "message", "recipient": recipient, "body": {"type": "system", "system": {"type": kind, **news}}}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message", "recipient": PHONE, "user_id": USER, "body": {"type": "text"}},
        {"type": "status", "status": "delivered", "recipient": PHONE, "user_id": USER, "body": {}},
        {"type": "preference", "recipient": PHONE, "user_id": USER, "body": {}},
    ],
    ids=["message", "status", "preference"],
)
def test_phone_and_user_id_named_together_are_one_person(event: dict[str, Any]) -> None:
    """Messages, deliveries and preferences teach which user id is a number's; the id leads to the number."""
    assert links_of(event) == [Link(USER, PHONE, "user_id")]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"type": "message"}, "from_parent_user_id"),
        ({"type": "status", "status": "delivered"}, "recipient_parent_user_id"),
        ({"type": "preference"}, "parent_user_id"),
    ],
)
def test_parent_id_leads_to_the_person(event: dict[str, Any], field: str) -> None:
    """A parent user id of linked portfolios is one more name."""
    assert links_of({**event, "recipient": USER, "user_id": USER, "body": {field: PARENT}}) == [
        Link(PARENT, USER, "user_id")
    ]


def test_change_of_number_links_both_numbers_and_both_ids() -> None:
    """The old number leads to the new one; the user id of before belongs to the old one, today's to the new one."""
    event = system("user_changed_number", wa_id=NEW, user_id=NEXT, previous_user_id=USER)
    assert set(links_of(event)) == {
        Link(PHONE, NEW, "number"), Link(USER, PHONE, "user_id"), Link(NEXT, NEW, "user_id"),
    }  # fmt: skip
    assert links_of(system("user_changed_number", new_wa_id=NEW)) == [Link(PHONE, NEW, "number")]
    assert links_of(system("user_changed_number", "551187654321", wa_id="5511912345678")) == [
        Link("5511987654321", "5511912345678", "number")
    ]


def test_change_of_user_id_keeps_the_former_as_the_root_unless_a_number_is_known() -> None:
    """Consent lies under the former id, so the new one leads there; where there is a number, both lead to it."""
    news = {"user_id": NEXT, "previous_user_id": USER}
    assert links_of(system("user_changed_user_id", NEXT, **news)) == [Link(NEXT, USER, "user_id")]
    assert set(links_of(system("user_changed_user_id", **news))) == {
        Link(USER, PHONE, "user_id"), Link(NEXT, PHONE, "user_id"),
    }  # fmt: skip


def test_user_id_update_of_a_provider_is_read() -> None:
    """The previous and the current id lead to the number, or the current to the previous one."""
    row = {"user_id": {"previous": USER, "current": NEXT}}
    event: dict[str, Any] = {
        "type": "account", "recipient": None, "body": {"field": "user_id_update", "value": {"user_id_update": [row]}},
    }  # fmt: skip
    assert links_of(event) == [Link(NEXT, USER, "user_id")]
    row["wa_id"] = PHONE  # type: ignore[assignment]
    assert set(links_of(event)) == {Link(USER, PHONE, "user_id"), Link(NEXT, PHONE, "user_id")}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message", "recipient": PHONE, "user_id": None, "body": {"type": "text"}},
        {"type": "message", "recipient": PHONE, "user_id": "15550100000", "body": {"type": "text"}},
        {"type": "message", "recipient": USER, "user_id": USER, "body": {"type": "text"}},
        {"type": "status", "status": "read", "recipient": PHONE, "user_id": USER, "body": {}},
        {"type": "status", "status": "delivered", "recipient": "a group", "user_id": USER, "body": {}},
        {"type": "account", "body": {"field": "account_update", "value": {}}},
        {"type": "account", "body": {"field": "user_id_update", "value": {"user_id_update": [5, {"user_id": 5}]}}},
        {"type": "message", "recipient": PHONE, "user_id": USER, "body": 5},
        system("user_changed_number", wa_id=PHONE),
        system("user_changed_number", wa_id=5),
        system("user_identity_changed", wa_id=NEW),
    ],
)
def test_anything_else_links_nothing(event: dict[str, Any]) -> None:
    """A lone id, a group, rubbish, or another status of the same message teaches nothing."""
    assert links_of(event) == []
