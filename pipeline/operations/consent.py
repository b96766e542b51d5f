"""What people allowed: changes that an operator writes, and what topics tell of a person.

Changes go to `consent-updates`; only the gate merges them into `consent`, and says on `consent-events` what it did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pipeline.config import Settings
from pipeline.errors import ContractError, WrongRequest
from pipeline.operations.acts import Act, Actor, Outgoing, audited
from pipeline.operations.reading import Advance, Reader, decoded
from pipeline.records.codec import check, headers_for
from pipeline.records.consent import ConsentUpdate, RefusalReason
from pipeline.records.consent_rule import AHEAD_MAX_MS

UPDATES: Final = "consent-updates"
CONSENT: Final = "consent"
EVENTS: Final = "consent-events"
UPDATE_SCHEMA: Final = "consent-update/1"
MAX_EVENTS: Final = 10_000

_SENTENCES: Mapping[RefusalReason, str] = {
    "evidence_missing": "evidence_missing: a grant needs method and source (and text, if policy.require_evidence_text)",
    "not_active": "not_active: only an opt-in by the user's own act counts (actor user)",
    "unknown_business": "unknown_business: not configured; there are: {}",
    "at_in_future": "at_in_future: at lies ahead",
}


@dataclass(frozen=True, slots=True)
class UpdateRules:
    """What the gate will judge an update by, as far as it is known here.

    Attributes:
        businesses: Configured ones; None: not known here, any is taken.
        needs_text: Whether a grant must carry the text that the person saw.
        now_ms: This host's time; stands in for the broker's.
    """

    businesses: Collection[str] | None
    needs_text: bool
    now_ms: int


def businesses_of(settings: Settings) -> frozenset[str]:
    """The businesses whose numbers are configured."""
    return frozenset(number.business for number in settings.numbers.values())


def rules_of(settings: Settings, now_ms: int) -> UpdateRules:
    """The rules that the gate takes from the same settings."""
    return UpdateRules(businesses_of(settings) or None, settings.policy.require_evidence_text == "reject", now_ms)


def update_record(value: Mapping[str, Any], rules: UpdateRules) -> tuple[ConsentUpdate, bytes]:
    """Check an update as the gate will and write it with every field of the contract.

    Returns:
        The update, with the recipient in normal form, and its bytes.

    Raises:
        ContractError: names what is wrong.
    """
    update = check(ConsentUpdate, value)
    reason = refusal_of(update, rules)
    if reason is not None:
        raise ContractError([_SENTENCES[reason].format(", ".join(sorted(rules.businesses or ())))])
    if update.action == "grant" and update.expires_at is not None and update.expires_at <= update.at:
        raise ContractError(["expires_at: is not after at"])
    return update, update.model_dump_json().encode()


def refusal_of(update: ConsentUpdate, rules: UpdateRules) -> RefusalReason | None:
    """Why the gate would refuse an update, whatever it knows about the person; None: it would not.

    The gate's own rule (`records/consent_rule.py`) merges as well, which a file of a million lines need not pay for.
    """
    if rules.businesses is not None and update.business not in rules.businesses and update.business != "*":
        return "unknown_business"
    if update.action != "grant":
        return None
    evidence = update.evidence
    if evidence is None or evidence.method is None or evidence.source is None:
        return "evidence_missing"
    if rules.needs_text and not evidence.text:
        return "evidence_missing"
    if evidence.actor != "user":
        return "not_active"
    return "at_in_future" if update.at > rules.now_ms + AHEAD_MAX_MS else None


class ConsentChange(NamedTuple):
    """A change that can be written.

    Attributes:
        update: As the gate will read it, with the recipient in normal form.
        raw: Its bytes.
        act: What writes it.
    """

    update: ConsentUpdate
    raw: bytes
    act: Act


def change_consent(actor: Actor, value: Mapping[str, Any], rules: UpdateRules, *, reason: str | None) -> ConsentChange:
    """Grant, revoke or erase; all but a grant is audited.

    Args:
        value: The fields of consent-update/1.

    Raises:
        ContractError: names what is wrong.
    """
    update, raw = update_record(value, rules)
    record = Outgoing(UPDATES, update.recipient, raw, headers_for(UPDATE_SCHEMA))
    if update.action == "grant":
        return ConsentChange(update, raw, Act(None, (record,), None, None))
    scope = {
        "update_id": update.update_id,
        "business": update.business,
        "categories": update.categories,
        "purposes": update.purposes,
    }
    act = audited(
        actor, update.action, f"recipient:{update.recipient}", reason=reason, before=None, after=scope,
        records=(record,),
    )  # fmt: skip
    return ConsentChange(update, raw, act)


def consent_of(reader: Reader, person: str, advance: Advance | None = None) -> dict[str, Any] | None:
    """The consent/1 of a person, by the id that it is kept under; blocks. None: there is none."""
    row = reader.newest(CONSENT, [person], advance).get(person)
    return decoded(row) if row is not None else None


def consent_events_of(reader: Reader, ids: Collection[str], advance: Advance | None = None) -> list[dict[str, Any]]:
    """The consent-events of a person under these ids, oldest first; blocks.

    Raises:
        WrongRequest: more than `MAX_EVENTS`.
    """
    keys, homes = {one.encode() for one in ids}, reader.homes(EVENTS, ids)
    found: dict[str, dict[str, Any]] = {}
    for row in reader.to_end(EVENTS, partitions=homes, advance=advance):
        if row.key not in keys:
            continue
        event = decoded(row)
        if event is not None:
            # A re-written event has the same id: it is told once.
            found[str(event.get("event_id"))] = event
        if len(found) > MAX_EVENTS:
            raise WrongRequest(f"more than {MAX_EVENTS} consent-events of one person")
    return sorted(found.values(), key=event_order)


def event_order(event: Mapping[str, Any]) -> tuple[str, int]:
    """Sort key of the consent-events of one person: as recorded, then as their updates lie on the topic."""
    origin = event.get("origin") or {}
    return str(event.get("recorded_at")), int(origin.get("offset") or 0)
