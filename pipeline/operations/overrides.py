"""What an operator lifts of the checks before a number sends, for a time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.operations.acts import Act, Actor, Outgoing, audited
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for

CHECKS: Final = ("webhook", "templates", "limits")
"""What can be lifted; a refused token cannot: no override makes the API take it."""


def override_key(number: str) -> str:
    """Where `account-state` keeps the override of a number."""
    return f"number:{number}/override"


def override_of(value: Mapping[str, Any], now_ms: int) -> list[str]:
    """The checks that an override lifts now; what cannot be read lifts nothing."""
    checks, until = value.get("checks"), value.get("until")
    try:
        is_over = parse_rfc3339_ms(str(until)) <= now_ms
    except ValueError:
        return []
    return [] if is_over or not isinstance(checks, list) else [str(check) for check in checks]


def override(
    actor: Actor,
    number: str,
    *,
    checks: Collection[str],
    reason: str | None,
    before: Mapping[str, Any] | None,
    now_ms: int,
    until_ms: int,
) -> Act:
    """Lift checks of a number until a moment; with no checks: end an override.

    Args:
        checks: Of `CHECKS`.
        before: The override that stands, from `account-state`.
    """
    key = override_key(number)
    after = {
        "kind": "number", "id": number, "aspect": "override", "checks": sorted(set(checks)), "reason": reason,
        "until": rfc3339(until_ms), "at": rfc3339(now_ms), "by": actor.name,
    }  # fmt: skip
    record = Outgoing("account-state", key, encode(after), headers_for(SCHEMA))
    return audited(actor, "override", f"number:{number}", reason=reason, before=before, after=after, records=(record,))
