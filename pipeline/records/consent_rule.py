"""How consent updates merge, and what then holds. The gate and every sender apply this one rule.

Pure: a consent is a plain object as it stands on the `consent` topic, an update is the checked record with the broker
time of its Kafka record. Merging is commutative and idempotent over any set of updates: an entry is the newest update
of its (business, category, purpose), and what an erase took does not come back. What a method with a way back (a STOP
word, WhatsApp's own stop) takes stands in entries of its own beside these, so that lifting it shows what was there
before: a grant, another way's revoke, or nothing. Only beyond `MAX_ENTRIES` entries of
one person does the order of arrival matter: a grant more is refused, a revoke more is widened to all purposes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.records.consent import RETURNING, ConsentUpdate, RefusalReason

AHEAD_MAX_MS: Final = 300_000
"""How far a clock of upstream may be ahead of the broker's."""
MAX_ENTRIES: Final = 200
MAX_SOURCE_CHARS: Final = 500
"""An entry keeps the beginning of its source; the whole stands on `consent-events`. 200 entries stay below 1 MiB."""
ANY: Final = "*"

Entry = dict[str, Any]
Consent = dict[str, Any]
_STATUS: Final = {"grant": "granted", "revoke": "revoked", "resume": "resumed"}
Scope = tuple[str, str, str, str]
Rank = tuple[int, bool, int, str, str, str, str, str]


class Merged(NamedTuple):
    """What became of an update.

    Attributes:
        consent: The person's consent now; None if there was none and the update left none.
        changed: Whether `consent` differs from what was given.
        result: As the consent-event says it.
        reason: Of a refusal, else None.
        before: The entries that the update is about, as they were; of a revoke, every grant that it takes.
        after: The entries that the update names, as they are now.
    """

    consent: Consent | None
    changed: bool
    result: Literal["applied", "ignored_older", "refused"]
    reason: RefusalReason | None
    before: list[Entry]
    after: list[Entry]


class Standing(NamedTuple):
    """What holds for one kind of message, and the entry it rests on (None: there is none)."""

    kind: Literal["granted", "none", "withdrawn", "expired"]
    entry: Entry | None


def merge(
    consent: Mapping[str, Any] | None,
    update: ConsentUpdate,
    broker_ms: int,
    *,
    businesses: Collection[str] | None = None,
    needs_text: bool = False,
) -> Merged:
    """Apply one update.

    Args:
        consent: The person's consent so far, as on the topic; None: nothing is known.
        broker_ms: Broker time of the update's own record, milliseconds.
        businesses: Those that this pipeline sends for; None: any.
        needs_text: Whether a grant must carry the text that the person saw.
    """
    refusal = _refusal(update, broker_ms, businesses, needs_text)
    if refusal is not None:
        return _unchanged(consent, "refused", refusal)
    at_ms = min(update.at, broker_ms + AHEAD_MAX_MS)
    erased = consent["erased_at"] if consent is not None else None
    erased_ms = parse_rfc3339_ms(erased) if erased is not None else None
    if update.action == "erase":
        return _erase(consent, update, at_ms, erased_ms)
    if erased_ms is not None and at_ms // 1000 <= erased_ms // 1000:
        if update.action in ("grant", "resume"):
            return _unchanged(consent, "refused", "erased")
        return _unchanged(consent, "ignored_older", None)
    return _put(consent, update, at_ms, erased)


def is_consent(value: Mapping[str, Any]) -> bool:
    """Whether a stored value is one that this rule can read: anybody who may write to the topic may have written it."""
    entries = value.get("entries")
    if not isinstance(entries, list) or "erased_at" not in value or not _is_moment(value["erased_at"], may_lack=True):
        return False
    return all(isinstance(entry, dict) and _is_entry(entry) for entry in entries)


def _is_entry(entry: Mapping[str, Any]) -> bool:
    return (
        all(isinstance(entry.get(name), str) for name in ("business", "category", "purpose", "update_id"))
        and entry.get("status") in ("granted", "revoked", "resumed")
        and all(isinstance(entry.get(name, 0), str | None) for name in ("method", "source"))
        and isinstance(entry.get("number"), str | None)
        and _is_moment(entry.get("at"))
        and _is_moment(entry.get("expires_at", 0), may_lack=True)
    )


def _is_moment(value: Any, *, may_lack: bool = False) -> bool:
    if value is None:
        return may_lack
    try:
        return isinstance(value, str) and parse_rfc3339_ms(value) >= 0
    except (ValueError, OverflowError):
        return False


def standing(
    consent: Mapping[str, Any] | None, business: str, category: str, purpose: str | None, now_ms: int
) -> Standing:
    """Say what holds for a message of this kind: the newest matching entry, a revoke on a tie.

    Args:
        purpose: None matches only entries for all purposes.
        now_ms: Milliseconds since 1970, to see what has expired.
    """
    found: Entry | None = None
    entries = consent["entries"] if consent is not None else ()
    for entry in entries:
        if (
            entry["business"] in (business, ANY)
            and entry["category"] in (category, ANY)
            and (entry["purpose"] == ANY or entry["purpose"] == purpose)
            and (found is None or rank(entry) > rank(found))
            and not _is_lifted(entry, entries)
        ):
            found = entry
    if found is None:
        return Standing("none", None)
    if found["status"] == "revoked":
        return Standing("withdrawn", found)
    if found["expires_at"] is not None and parse_rfc3339_ms(found["expires_at"]) <= now_ms:
        return Standing("expired", found)
    return Standing("granted", found)


def _is_lifted(entry: Entry, entries: Collection[Entry]) -> bool:
    """Whether an entry no longer counts: a revoke that a later resume by its method covers, and any resume itself."""
    if entry["status"] == "resumed":
        return True
    return (
        entry["status"] == "revoked"
        and entry["method"] in RETURNING
        and any(
            other["status"] == "resumed"
            and other["method"] == entry["method"]
            and all(other[name] in (entry[name], ANY) for name in ("business", "category", "purpose"))
            and rank(other) > rank(entry)
            for other in entries
        )
    )


def taken_by(consent: Mapping[str, Any] | None, update: ConsentUpdate, at_ms: int) -> list[Entry]:
    """The grants in force that a revoke takes, those of a narrower scope included; none for another action.

    Args:
        at_ms: When the revoke was said, milliseconds since 1970.
    """
    if consent is None or update.action != "revoke":
        return []
    return [
        entry
        for entry in consent["entries"]
        if entry["status"] == "granted"
        and update.business in (entry["business"], ANY)
        and (ANY in update.categories or entry["category"] in update.categories)
        and (ANY in update.purposes or entry["purpose"] in update.purposes)
        and parse_rfc3339_ms(entry["at"]) // 1000 <= at_ms // 1000
        and standing(consent, entry["business"], entry["category"], entry["purpose"], at_ms).kind == "granted"
    ]


def rank(entry: Mapping[str, Any]) -> Rank:
    """Order of two entries of one scope: whole seconds, then a revoke; the rest only makes the order total."""
    at_ms = parse_rfc3339_ms(entry["at"])
    return (
        at_ms // 1000, entry["status"] == "revoked", at_ms,
        entry["update_id"], entry["expires_at"] or "", entry["method"] or "", entry["source"] or "",
        entry.get("number") or "",
    )  # fmt: skip


def basis(entry: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What an outbound-event or a ready record says about the entry that a decision rested on."""
    if entry is None:
        return None
    return {name: entry[name] for name in ("update_id", "status", "at", "method", "source")}


def _refusal(
    update: ConsentUpdate, broker_ms: int, businesses: Collection[str] | None, needs_text: bool
) -> RefusalReason | None:
    if businesses is not None and update.business != ANY and update.business not in businesses:
        return "unknown_business"
    if update.action not in ("grant", "resume"):
        return None
    evidence, is_grant = update.evidence, update.action == "grant"
    lacks_text = is_grant and needs_text and (evidence is None or not evidence.text)
    if evidence is None or evidence.method is None or evidence.source is None or lacks_text:
        return "evidence_missing"
    if evidence.actor != "user":
        return "not_active"
    if update.at > broker_ms + AHEAD_MAX_MS:
        return "at_in_future"
    return None


def _unchanged(
    consent: Mapping[str, Any] | None, result: Literal["ignored_older", "refused"], reason: RefusalReason | None
) -> Merged:
    return Merged(dict(consent) if consent is not None else None, False, result, reason, [], [])


def _erase(consent: Mapping[str, Any] | None, update: ConsentUpdate, at_ms: int, erased_ms: int | None) -> Merged:
    """Forget every entry up to then; refuse, from now on, grants that are not newer."""
    before: list[Entry] = list(consent["entries"]) if consent is not None else []
    if erased_ms is not None and at_ms <= erased_ms:
        result: Literal["applied", "ignored_older"] = "applied" if at_ms == erased_ms else "ignored_older"
        return Merged(dict(consent or {}), False, result, None, before, before)
    after = [entry for entry in before if parse_rfc3339_ms(entry["at"]) // 1000 > at_ms // 1000]
    return Merged(_record(update.recipient, after, rfc3339(at_ms)), True, "applied", None, before, after)


def _put(consent: Mapping[str, Any] | None, update: ConsentUpdate, at_ms: int, erased: str | None) -> Merged:
    entries: dict[Scope, Entry] = {_scope(entry): entry for entry in consent["entries"]} if consent else {}
    incoming = {_scope(entry): entry for entry in _entries(update, at_ms, update.purposes)}
    if len(entries.keys() | incoming.keys()) > MAX_ENTRIES:
        if update.action != "revoke":
            return _unchanged(consent, "refused", "invalid")
        incoming = {_scope(entry): entry for entry in _entries(update, at_ms, [ANY])}
    before = [entries[scope] for scope in incoming if scope in entries]
    before += [entry for entry in taken_by(consent, update, at_ms) if _scope(entry) not in incoming]
    changed, known = False, True
    for scope, entry in incoming.items():
        there = entries.get(scope)
        if there is None or rank(entry) > rank(there):
            entries[scope] = entry
            changed = True
        known = known and entries[scope] == entry
    after = [entries[scope] for scope in incoming]
    if not changed:
        return Merged(dict(consent or {}), False, "applied" if known else "ignored_older", None, before, after)
    ordered = [entries[scope] for scope in sorted(entries)]
    return Merged(_record(update.recipient, ordered, erased), True, "applied", None, before, after)


def _entries(update: ConsentUpdate, at_ms: int, purposes: Collection[str]) -> Iterator[Entry]:
    evidence = update.evidence
    for category in update.categories:
        for purpose in purposes:
            entry = {
                "business": update.business,
                "category": category,
                "purpose": purpose,
                "status": _STATUS[update.action],
                "at": rfc3339(at_ms),
                "expires_at": rfc3339(update.expires_at) if update.expires_at is not None else None,
                "update_id": update.update_id,
                "method": evidence.method if evidence is not None else None,
                "source": evidence.source[:MAX_SOURCE_CHARS] if evidence is not None and evidence.source else None,
            }
            # Few entries have one, and there are as many entries as people: it is not written as null.
            yield entry | {"number": update.number} if update.number is not None else entry


def _scope(entry: Mapping[str, Any]) -> Scope:
    is_apart = entry["status"] != "granted" and entry["method"] in RETURNING
    return entry["business"], entry["category"], entry["purpose"], entry["method"] if is_apart else ""


def _record(recipient: str, entries: list[Entry], erased_at: str | None) -> Consent:
    """The value for the `consent` topic; its `updated_at` follows from the rest, so merging stays commutative."""
    newest = max([parse_rfc3339_ms(entry["at"]) for entry in entries], default=None)
    moments = [moment for moment in (newest, parse_rfc3339_ms(erased_at) if erased_at else None) if moment is not None]
    return {
        "recipient": recipient,
        "entries": entries,
        "erased_at": erased_at,
        "updated_at": rfc3339(max(moments)),
    }
