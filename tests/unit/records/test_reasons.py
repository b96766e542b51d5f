"""The table of types and reasons is complete and agrees with the contract."""

from __future__ import annotations

from typing import get_args

import pytest

from pipeline.records.outbound import EventType
from pipeline.records.reasons import FOLLOW_UP, REASONS, TERMINAL, TYPES, reasons_of

CONTRACT = {
    "queued": "",
    "deferred": "throttled overloaded transient pair_limited scheduled behind_deferred held_quality held_campaign "
    "tier_exhausted marketing_limit",
    "accepted": "",
    "rejected": "invalid unknown_number suppressed window_closed template_required template_unknown "
    "template_not_approved category_mismatch template_without_opt_out no_consent consent_withdrawn consent_expired",
    "failed": "api_rejected attempts_spent outcome_unknown",
    "expired": "expired",
    "cancelled": "campaign_cancelled operator",
    "duplicate": "duplicate request_id_conflict",
    "undelivered": "api_async",
}


def test_types_are_the_contracts() -> None:
    """The types, in order, are those of the contract and of the model."""
    assert TYPES == tuple(CONTRACT) == get_args(EventType)


@pytest.mark.parametrize("kind", CONTRACT)
def test_reasons_of_a_type_are_the_contracts(kind: str) -> None:
    """Each type carries the reasons that the contract lists for it, in its order."""
    assert reasons_of(kind) == tuple(CONTRACT[kind].split())


def test_ends_are_the_contracts() -> None:
    """Exactly five types end a request; a follow-up comes after the end."""
    assert {"accepted", "rejected", "failed", "expired", "cancelled"} == TERMINAL
    assert {"undelivered"} == FOLLOW_UP


@pytest.mark.parametrize("name", REASONS)
def test_every_reason_says_what_to_do(name: str) -> None:
    """A reason belongs to a known type, and has a meaning and a remedy for people."""
    reason = REASONS[name]
    assert reason.type in TYPES
    assert reason.stage in ("gate", "sender")
    assert reason.meaning
    assert reason.remedy
