"""The consent update of a person who takes something back, or returns: one form for ingress and sender.

Pure. Whoever learns of an opt-out (a STOP, a button, WhatsApp's own stop, 131050 in an answer or a status) writes it to
`consent-updates` in this form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pipeline.records.consent import Method


def update_id_of(event_id: str | None) -> str:
    """Id of the update that the ingress writes for an inbound event: the same whenever the webhook comes again."""
    return f"in-{event_id}"


def revoke(
    update_id: str,
    recipient: str,
    business: str,
    *,
    categories: Sequence[str],
    at: str,
    method: Method,
    source: str,
    purposes: Sequence[str] = ("*",),
    reference: str | None = None,
    action: Literal["revoke", "resume"] = "revoke",
    number: str | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """Build a consent-update/1 by which a person takes consent back.

    Args:
        update_id: The same whenever the same opt-out is heard of again.
        categories: Those that end; `*`: all.
        at: RFC 3339 time of the person's act, as far as it is known.
        source: Where the person did it: a message id, or who told.
        action: `resume`: what was revoked by the same method comes back.
        number: Number id that the person wrote to; None: it was no message of the person.
        language: Of the person's word, if known.
    """
    return {
        "update_id": update_id,
        "recipient": recipient,
        "business": business,
        "action": action,
        "categories": list(categories),
        "purposes": list(purposes),
        "at": at,
        "expires_at": None,
        "evidence": {"method": method, "actor": "user", "source": source, "text": None, "reference": reference},
        "number": number,
        "language": language,
    }
