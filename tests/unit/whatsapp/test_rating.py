"""What WhatsApp says of a number's quality and of its account, and what follows for bulk."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.config import NumberSettings
from pipeline.whatsapp.rating import Rating, holds_bulk, is_banned, is_restricted, keys_of, rating_of

NOW_MS = 1_795_300_000_000
KEYS = keys_of("1", NumberSettings(business="acme", profile="cloud", base_url="https://x", token_env="T", account="7"))
NO_INITIATED = "RESTRICTED_BIZ_INITIATED_MESSAGING"


def flagged(flag: Any, at_ms: int = NOW_MS) -> dict[str, Any]:
    """What webhooks said of the number."""
    return {"flagged": flag, "at": rfc3339(at_ms)}


def seen(quality: Any, at_ms: int = NOW_MS) -> dict[str, Any]:
    """What a look at the number said."""
    return {"quality": quality, "at": rfc3339(at_ms)}


def restriction(until: Any, kind: Any = NO_INITIATED) -> dict[str, Any]:
    """What webhooks said of the account."""
    return {"restrictions": [{"type": kind, "until": until}]}


@pytest.mark.parametrize(
    ("quality", "preflight", "expected"),
    [
        (None, None, "UNKNOWN"), (flagged(True), None, "RED"), (flagged(False), None, "YELLOW"),
        (None, seen("GREEN"), "GREEN"), (None, seen("NA"), "UNKNOWN"), (None, seen(None), "UNKNOWN"),
        (flagged(True), seen("GREEN", NOW_MS + 1), "GREEN"), (flagged(True), seen("GREEN", NOW_MS - 1), "RED"),
        (flagged(False), seen("RED", NOW_MS + 1), "RED"), (flagged(True), seen("UNKNOWN", NOW_MS + 1), "RED"),
        (flagged("yes"), seen([]), "UNKNOWN"),
    ],
)  # fmt: skip
def test_what_was_told_last_counts(quality: Any, preflight: Any, expected: Rating) -> None:
    """Of webhooks and the sender's own look the newer one; what names no rating says nothing."""
    assert rating_of(quality, preflight) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, False), (restriction(None), True), (restriction(rfc3339(NOW_MS + 1)), True),
        (restriction(rfc3339(NOW_MS)), False), (restriction(None, "RESTRICTED_ADD_PHONE_NUMBER_ACTION"), False),
        (restriction("soon"), True), ({"restrictions": 3}, False), ({"restrictions": [None]}, False),
    ],
)  # fmt: skip
def test_a_restriction_holds_until_its_end(value: Any, expected: bool) -> None:
    """Only the one that forbids beginning conversations; without an end it holds, as one that cannot be read does."""
    assert is_restricted(value, NOW_MS) is expected


def test_only_a_disabled_account_is_banned() -> None:
    """One that is going to be disabled, or is back, still sends."""
    states = ("DISABLE", "SCHEDULE_FOR_DISABLE", "REINSTATE")
    assert [is_banned({"state": state}) for state in states] == [True, False, False]
    assert not is_banned(None)


@pytest.mark.parametrize(
    ("policy", "red", "restricted"),
    [("pause-bulk", True, True), ("slow", False, True), ("none", False, False)],
)
def test_the_policy_says_what_holds_bulk(policy: str, red: bool, restricted: bool) -> None:
    """A red rating only with `pause-bulk`; what the account may not do always, unless all of it is left to the API."""
    is_red = {KEYS.quality: flagged(True)}
    is_barred = {KEYS.restriction: restriction(None)}
    assert holds_bulk(policy, is_red.get, KEYS, NOW_MS) is red
    assert holds_bulk(policy, is_barred.get, KEYS, NOW_MS) is restricted
    assert not holds_bulk(policy, lambda _key: None, KEYS, NOW_MS)
