"""Campaigns that an operator paused or cancelled, as the gate's rules see them. Pure.

A message of a paused campaign is put off by an hour and a little, through the gate: that is the one wait which is
outside the order and holds nobody up, and every hour it is judged anew. It does not wait that long: the sender knows
what it is held for, and takes it up the moment that the campaign goes on (`sender/campaigns.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

CampaignWord = Literal["paused", "cancelled"]
HOLD_MS: Final = 3_660_000
"""More than the hour from which on a message waits outside the order: less would be left of an hour exactly."""


def campaign_word(state: Mapping[str, Any] | None) -> CampaignWord | None:
    """What a `campaign:ID` record says; None: the campaign runs."""
    word = state.get("state") if state is not None else None
    return word if word in ("paused", "cancelled") else None


def hold_until_ms(now_ms: int, expires_ms: int) -> int:
    """When a message of a paused campaign is judged anew: its end, if that comes first."""
    return min(now_ms + HOLD_MS, expires_ms)
