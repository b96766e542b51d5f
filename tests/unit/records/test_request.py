"""Requests: what upstream may write, and what the pipeline makes of what is left out."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ContractError
from pipeline.records.codec import check
from pipeline.records.request import (
    MAX_AHEAD_MS,
    MAX_METADATA_KEYS,
    Request,
    normal_recipient,
    too_far_ahead,
)


def request(**changes: Any) -> Request:
    """A request with some fields of its own."""
    value = {"request_id": "r-1", "from": "1", "to": "15550109999", "category": "utility", "message": {"type": "text"}}
    return check(Request, {**value, **changes})


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("15550109999", "15550109999"),
        ("+15550109999", "15550109999"),
        ("+49 (151) 123-45678", "4915112345678"),
        ("+1.555.010.9999", "15550109999"),
        ("1\u00a0555\u00a00109999", "15550109999"),
        ("US.13491208655302741918", "US.13491208655302741918"),
    ],
)
def test_recipients_are_brought_to_one_form(written: str, normal: str) -> None:
    """The ways people write a phone number lead to the same digits; a user id stays as it is."""
    assert normal_recipient(written) == normal


@pytest.mark.parametrize(
    "written",
    [
        None, 15550109999, "", "+", "1234", "1" * 21, "ada@example.org", "1555010999x", "++15550109999", "us.123",
        "US.", "US." + "1" * 129, "15550109999" + " " * 60 + "x", "١٥٥٥٠١٠٩٩٩٩", "1555\n", ["15550109999"],
    ],
)  # fmt: skip
def test_what_is_no_recipient_is_refused(written: object) -> None:
    """What is neither a phone number nor a user id is refused, however it is dressed."""
    with pytest.raises(ValueError, match="must be a phone number"):
        normal_recipient(written)


@pytest.mark.parametrize(
    ("category", "priority"),
    [("authentication", "urgent"), ("utility", "normal"), ("service", "normal"), ("marketing", "bulk")],
)
def test_priority_follows_the_category(category: str, priority: str) -> None:
    """Codes are urgent, marketing is bulk, the rest is normal, unless upstream says otherwise."""
    assert request(category=category).effective_priority == priority
    assert request(category=category, priority="bulk").effective_priority == "bulk"


def test_what_is_left_out_is_none_or_empty() -> None:
    """Only five fields are required."""
    bare = request()
    assert (bare.purpose, bare.priority, bare.campaign, bare.not_before, bare.expires_at) == (None,) * 5
    assert bare.metadata == {}


@pytest.mark.parametrize("field", ["request_id", "from", "to", "category", "message"])
def test_required_fields_are_named_when_missing(field: str) -> None:
    """A missing field is named."""
    value = {"request_id": "r", "from": "1", "to": "15550109999", "category": "utility", "message": {}}
    del value[field]
    with pytest.raises(ContractError, match=f"^{field}: Field required$"):
        check(Request, value)


def test_metadata_is_bounded() -> None:
    """Fifty keys of five hundred characters are taken, more are not."""
    full = {f"{i:02}" + "k" * 498: "v" * 500 for i in range(MAX_METADATA_KEYS)}
    assert request(metadata=full).metadata == full
    for wrong in ({**full, "x": "y"}, {"k": "v" * 501}, {"k" * 501: "v"}, {"k": 1}, {"k": None}):
        with pytest.raises(ContractError, match="metadata"):
            request(metadata=wrong)


def test_times_are_milliseconds_in_memory() -> None:
    """A time with any offset becomes milliseconds since 1970."""
    assert request(expires_at="2026-11-22T11:00:00.5+01:00").expires_at == 1_795_341_600_500


@pytest.mark.parametrize("field", ["not_before", "expires_at"])
def test_dates_more_than_a_week_ahead_are_named(field: str) -> None:
    """Seven days ahead is allowed, a millisecond more is not."""
    value = request(**{field: "2026-11-22T10:00:00.000Z"})
    now_ms = 1_795_341_600_000 - MAX_AHEAD_MS
    assert too_far_ahead(value, now_ms) == []
    assert too_far_ahead(value, now_ms - 1) == [f"{field}: more than 7 days ahead"]
