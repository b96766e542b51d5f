"""What a message rested on, put together from what topics still hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pipeline.operations.consent import event_order

COPY_PREFIX: Final = "alias-"
"""Begins the update ids of a gate's copies (gate/copying.py); their evidence.reference names the original."""


class Proof(NamedTuple):
    """What is known of one message.

    Attributes:
        request: As it was asked for.
        decisions: Its outbound-events, oldest first.
        basis: The entry that the newest decision with one names.
        rested_on: The consent-event of that entry, with its evidence.
        later: What was applied to the person's consent after it.
        missing: A sentence for each thing that should be there and is not.
    """

    request: dict[str, Any] | None
    decisions: list[dict[str, Any]]
    basis: dict[str, Any] | None
    rested_on: dict[str, Any] | None
    later: list[dict[str, Any]]
    missing: list[str]


def proof_of(
    requests: Sequence[dict[str, Any]], decisions: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]
) -> Proof:
    """Join the records of one message.

    Args:
        requests: Records on the entrances; the first is the request, others are its repeats.
        decisions: Its outbound-events.
        events: The person's consent-events, oldest first.
    """
    ordered = sorted(decisions, key=lambda event: str(event.get("at")))
    bases = [event["consent"] for event in ordered if event.get("consent")]
    basis: dict[str, Any] | None = bases[-1] if bases else None
    rested_on = None
    if basis is not None:
        same = [event for event in events if event.get("update_id") == basis.get("update_id")]
        rested_on = next((event for event in same if event.get("result") == "applied"), None)
    since = event_order(rested_on) if rested_on is not None else (str(basis.get("at")) if basis is not None else "", -1)
    changes = [event for event in events if event.get("result") == "applied" and event is not rested_on]
    shown = {event.get("update_id") for event in events if event.get("result") == "applied"}
    # A gate copies a change to the person's other ids: a copy is no change of its own where the original is known.
    later = [
        event
        for event in changes
        if basis is not None and event_order(event) > since and not (_is_copy(event) and _origin(event) in shown)
    ]
    return Proof(
        requests[0] if requests else None, ordered, basis, rested_on, later,
        _missing(requests, ordered, basis, rested_on),
    )  # fmt: skip


def _is_copy(event: Mapping[str, Any]) -> bool:
    return str(event.get("update_id")).startswith(COPY_PREFIX)


def _origin(event: Mapping[str, Any]) -> Any:
    return (event.get("evidence") or {}).get("reference")


def _missing(
    requests: Sequence[Any], decisions: Sequence[Any], basis: Mapping[str, Any] | None, rested_on: Any
) -> list[str]:
    missing = []
    if not requests:
        missing.append("the request is not on its topic any more: its retention has passed")
    if not decisions:
        missing.append("no decision is on outbound-events: it is not judged yet, or its retention has passed")
    elif basis is None:
        missing.append("no decision names a consent: none was on record, or the message answered in an open window")
    elif rested_on is None:
        told = f"the evidence of {basis.get('update_id')} is not on consent-events"
        missing.append(f"{told}: its retention has passed, or the gate's event was not written yet")
    return missing
