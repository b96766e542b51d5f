"""Consent updates: what may be granted, revoked and erased."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ContractError
from pipeline.records.codec import check
from pipeline.records.consent import Consent, ConsentUpdate

GRANT: dict[str, Any] = {
    "update_id": "u-1", "recipient": "+1 555 0109999", "business": "acme", "action": "grant",
    "categories": ["utility"], "at": "2026-11-20T08:00:00Z",
    "evidence": {"method": "checkbox", "actor": "user", "source": "https://shop.example"},
}  # fmt: skip


def update(**changes: Any) -> ConsentUpdate:
    """The grant above with some fields of its own."""
    return check(ConsentUpdate, {**GRANT, **changes})


def test_grant_covers_every_purpose_unless_it_names_some() -> None:
    """Without purposes an update is about all of them; the recipient is brought to digits."""
    assert update().purposes == ["*"]
    assert update().recipient == "15550109999"
    assert update(purposes=["offers"]).purposes == ["offers"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"categories": ["*"]}, "a grant names its categories"),
        ({"business": "*"}, "a grant names its categories and its business"),
        ({"categories": []}, "at least one"),
        ({"action": "revoke", "categories": []}, "to revoke all"),
        ({"purposes": []}, "purposes"),
        ({"categories": ["news"]}, "categories.0"),
        ({"action": "forget"}, "action"),
        ({"at": "2026-11-20 08:00"}, "at: must be an RFC 3339 time"),
        ({"recipient": "nobody"}, "recipient: must be a phone number"),
        ({"evidence": {"method": "guess"}}, "evidence.method"),
    ],
)
def test_what_nobody_may_grant_is_refused(change: dict[str, Any], said: str) -> None:
    """A grant of everything, or for everybody, an empty scope and unknown words are refused by name."""
    with pytest.raises(ContractError, match=said):
        update(**change)


def test_revoke_may_cover_everything() -> None:
    """STOP takes back every category of every business."""
    stop = update(action="revoke", categories=["*"], business="*")
    assert stop.categories == ["*"]


def test_erase_needs_no_scope() -> None:
    """Erasing is about the person, whatever the categories."""
    value = {name: item for name, item in GRANT.items() if name not in ("categories", "evidence")}
    assert check(ConsentUpdate, {**value, "action": "erase", "business": "*"}).categories == []


def test_consent_is_written_as_it_is_read() -> None:
    """A person's consent keeps its times through the model, as text on the topic."""
    value = {
        "recipient": "15550109999",
        "entries": [
            {
                "business": "acme", "category": "utility", "purpose": "*", "status": "granted",
                "at": "2026-11-20T08:00:00.000Z", "expires_at": None, "update_id": "u-1", "method": "checkbox",
                "source": "https://shop.example", "number": None,
            }
        ],
        "erased_at": None,
        "updated_at": "2026-11-20T08:00:00.000Z",
    }  # fmt: skip
    assert check(Consent, value).model_dump(mode="json") == value
