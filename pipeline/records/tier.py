"""tier-recipient/1 on `tier-recipients`: whom a portfolio wrote to of late; and what a messaging tier allows. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pipeline.config import Settings

TOPIC: Final = "tier-recipients"
SCHEMA: Final = "tier-recipient/1"
DAY_MS: Final = 24 * 3_600_000
REFRESH_MS: Final = 10 * 60_000
"""Who was counted less than this ago is not counted anew: one record per person and ten minutes, not per message."""
LANE_MS: Final = 20 * 60_000
"""What a message may wait in its lane and still be counted 24 h from its POST: the largest tier, 100,000, at 80/s."""
COUNTED_MS: Final = DAY_MS + REFRESH_MS + LANE_MS

_TIER: Final = re.compile(r"TIER_(\d{1,9})(K?)", re.ASCII)
_UNLIMITED: Final = "TIER_UNLIMITED"

Sources = Sequence[tuple[str, str]]
"""Keys of `account-state` that tell of a tier, each with the field that says when."""


def people_of(tier: str | None) -> float | None:
    """How many people a tier allows in 24 h: `TIER_250`, `TIER_2K`, infinite for `TIER_UNLIMITED`; None: unknown."""
    if tier == _UNLIMITED:
        return math.inf
    found = _TIER.fullmatch(tier) if tier is not None else None
    return int(found[1]) * (1000 if found[2] else 1) if found is not None else None


def portfolios_of(settings: Settings) -> dict[str, str]:
    """The portfolio of each number; one without shares a tier with its account, else with nobody."""
    return {name: one.portfolio or one.account or name for name, one in settings.numbers.items()}


def sources_of(settings: Settings) -> dict[str, Sources]:
    """Who tells of each portfolio's tier."""
    found: dict[str, list[tuple[str, str]]] = {}
    for number, portfolio in portfolios_of(settings).items():
        account = settings.numbers[number].account
        found.setdefault(portfolio, []).extend((
            (f"number:{number}/limits", "tier_at"), (f"number:{number}/preflight", "at"),
            (f"account:{account}/capability", "at"),
        ))  # fmt: skip
    return dict(found)


def newest_people(sources: Sources, state: Callable[[str], Mapping[str, Any] | None]) -> float | None:
    """The tier by whatever was told last of one of a portfolio's numbers or accounts: it is the same for all.

    Args:
        state: Gives the newest value of a key of `account-state`.

    Returns:
        People in 24 h; None: nobody told.
    """
    told = []
    for key, at in sources:
        value = state(key)
        people = people_of(value.get("tier")) if value is not None and isinstance(value.get("tier"), str) else None
        if value is not None and people is not None:
            told.append((str(value.get(at)), people))
    return max(told)[1] if told else None
