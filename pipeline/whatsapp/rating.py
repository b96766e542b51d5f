"""What WhatsApp says of a number's quality and of what its account may do, read from `account-state`. Pure.

Shared by gate and sender. Values come from a topic that others may write to, too: whatever cannot be read says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import NumberSettings

Rating = Literal["UNKNOWN", "RED", "YELLOW", "GREEN"]
SCORES: Mapping[Rating, int] = MappingProxyType({"UNKNOWN": 0, "RED": 1, "YELLOW": 2, "GREEN": 3})
"""Ratings as the metric `number_quality` shows them (Meta, quality rating)."""

# Forbids what the business begins; answers in an open window may go on (Meta, account_update).
_NO_INITIATED: Final = "RESTRICTED_BIZ_INITIATED_MESSAGING"
_BANNED: Final = "DISABLE"

State = Mapping[str, Any] | None


class Keys(NamedTuple):
    """Where on `account-state` a number's standing is told."""

    quality: str
    preflight: str
    restriction: str
    ban: str


def keys_of(number: str, settings: NumberSettings) -> Keys:
    """The keys of a number and of its account."""
    account = f"account:{settings.account}"
    return Keys(f"number:{number}/quality", f"number:{number}/preflight", f"{account}/restriction", f"{account}/ban")


def rating_of(quality: State, preflight: State) -> Rating:
    """Quality rating of a number, by whatever was told last.

    Args:
        quality: `number:ID/quality`, from webhooks: they tell only that a number was flagged for low quality, which is
            red, and that this is over, which is yellow at least.
        preflight: `number:ID/preflight`, from a look at the number itself: it names the rating.
    """
    told: list[tuple[str, Rating]] = []
    if quality is not None and isinstance(quality.get("flagged"), bool):
        told.append((str(quality.get("at")), "RED" if quality["flagged"] else "YELLOW"))
    if preflight is not None:
        named = preflight.get("quality")
        told += [(str(preflight.get("at")), name) for name in SCORES if name == named and name != "UNKNOWN"]
    return max(told, default=("", "UNKNOWN"))[1]


def holds_bulk(policy: str, get: Callable[[str], State], keys: Keys, now_ms: int) -> bool:
    """Whether a number's bulk is held: it is rated red, or its account may not begin conversations.

    Args:
        policy: `policy.on_quality_red`; a restriction is obeyed unless it is `none`.
        get: Newest value of a key of `account-state`.
    """
    if policy == "none":
        return False
    is_red = policy == "pause-bulk" and rating_of(get(keys.quality), get(keys.preflight)) == "RED"
    return is_red or is_restricted(get(keys.restriction), now_ms)


def is_restricted(restriction: State, now_ms: int) -> bool:
    """Whether the account may not begin conversations now.

    Args:
        restriction: `account:ID/restriction`.
    """
    rows = restriction.get("restrictions") if restriction is not None else None
    return isinstance(rows, list) and any(_holds(row, now_ms) for row in rows)


def _holds(row: Any, now_ms: int) -> bool:
    if not isinstance(row, Mapping) or row.get("type") != _NO_INITIATED:
        return False
    until = row.get("until")
    try:
        return until is None or parse_rfc3339_ms(str(until)) > now_ms
    except (ValueError, OverflowError):
        return True


def is_banned(ban: State) -> bool:
    """Whether the account is disabled; one that is only going to be still sends.

    Args:
        ban: `account:ID/ban`.
    """
    return ban is not None and ban.get("state") == _BANNED
