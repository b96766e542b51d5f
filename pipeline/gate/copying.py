"""Consent of one id as updates for another id of the same person. Pure.

Merging decides by date, so a copy never undoes what is newer, and the same copy twice changes nothing: its id is a
function of what it copies and for whom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.records.codec import stable_id
from pipeline.records.consent import ConsentUpdate

MAX_CARRIED: Final = 16
"""Numbers that one person has left behind: an opt-out is carried through so many."""
_ALL: Final = ["*"]


def update_for(raw: Mapping[str, Any], update: ConsentUpdate, recipient: str) -> dict[str, Any]:
    """The same update for another number.

    Args:
        raw: As it stands on the topic.
    """
    evidence = raw.get("evidence")
    told = {**(evidence if isinstance(evidence, Mapping) else {}), "reference": update.update_id}
    return {**raw, "update_id": _copy_id(update.update_id, recipient), "recipient": recipient, "evidence": told}


def updates_of(consent: Mapping[str, Any], recipient: str, *, granted_until: str) -> Iterator[dict[str, Any]]:
    """What stands in a consent as updates for another id of the person, the erasure first.

    Args:
        granted_until: RFC 3339 time in UTC; later grants do not come along. What was taken back always does.
    """
    erased_at = consent["erased_at"]
    if erased_at is not None:
        yield _update(f"erased-{erased_at}", recipient, "erase", "*", [], _ALL, erased_at)
    for entry in consent["entries"]:
        action = "grant" if entry["status"] == "granted" else "revoke"
        if action == "grant" and entry["at"] > granted_until:
            continue
        scope = f"{entry['update_id']}/{entry['business']}/{entry['category']}/{entry['purpose']}"
        yield _update(
            scope, recipient, action, entry["business"], [entry["category"]], [entry["purpose"]], entry["at"],
            expires_at=entry.get("expires_at"),
            evidence={
                "method": entry.get("method"), "source": entry.get("source"), "actor": "user", "text": None,
                "reference": entry["update_id"],
            },
        )  # fmt: skip


def _update(
    origin: str, recipient: str, action: str, business: str, categories: list[str], purposes: list[str], at: str,
    *, expires_at: str | None = None, evidence: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "update_id": _copy_id(origin, recipient),
        "recipient": recipient,
        "business": business,
        "action": action,
        "categories": categories,
        "purposes": purposes,
        "at": at,
        "expires_at": expires_at,
        "evidence": evidence,
    }


def _copy_id(origin: str, recipient: str) -> str:
    return f"alias-{stable_id(origin, recipient)}"
