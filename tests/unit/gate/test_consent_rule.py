"""How consent updates merge, and what then holds."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.errors import ContractError
from pipeline.records.consent_rule import AHEAD_MAX_MS, MAX_ENTRIES, Merged, basis, merge, standing
from tests.unit.gate.making import ADA, NOW_MS, checked

UTILITY = ("acme", "utility", "order-updates")


def after(*updates: dict[str, Any], broker_ms: int = NOW_MS) -> Merged:
    """Merge updates in the order given."""
    merged = merge(None, checked(**updates[0]), broker_ms)
    for fields in updates[1:]:
        merged = merge(merged.consent, checked(**fields), broker_ms)
    return merged


def holds(merged: Merged, *kind: str, now_ms: int = NOW_MS) -> str:
    """What holds for (business, category, purpose)."""
    business, category, purpose = kind or UTILITY
    return standing(merged.consent, business, category, purpose, now_ms).kind


def test_grant_is_stored_as_the_contract_shows() -> None:
    """A first grant becomes one entry with its evidence's method and source."""
    merged = after({})
    entry = {
        "business": "acme", "category": "utility", "purpose": "*", "status": "granted",
        "at": "2026-11-20T08:00:00.000Z", "expires_at": None, "update_id": "u-1", "method": "checkbox",
        "source": "https://shop.example",
    }  # fmt: skip
    assert merged.consent == {
        "recipient": ADA, "entries": [entry], "erased_at": None, "updated_at": "2026-11-20T08:00:00.000Z",
    }  # fmt: skip
    assert (merged.result, merged.reason, merged.before, merged.after) == ("applied", None, [], [entry])


def test_nothing_known_means_no_consent() -> None:
    """Without a record nobody has consented."""
    assert standing(None, *UTILITY, NOW_MS).kind == "none"


def test_other_category_business_or_purpose_is_no_consent() -> None:
    """A grant covers its own business, category and purposes only."""
    merged = after({"purposes": ["order-updates"]})
    assert holds(merged) == "granted"
    assert holds(merged, "acme", "marketing", "order-updates") == "none"
    assert holds(merged, "zeta", "utility", "order-updates") == "none"
    assert holds(merged, "acme", "utility", "offers") == "none"
    assert standing(merged.consent, "acme", "utility", None, NOW_MS).kind == "none"


def test_revoke_of_purpose_blocks_that_purpose_only() -> None:
    """A newer revoke of one purpose leaves the grant of the others."""
    merged = after({}, {"action": "revoke", "purposes": ["offers"], "at": "2026-11-21T08:00:00Z"})
    assert holds(merged, "acme", "utility", "offers") == "withdrawn"
    assert holds(merged) == "granted"


def test_revoke_of_everything_holds_against_older_grants_that_come_later() -> None:
    """`*` covers categories not granted yet: an older grant that arrives afterwards does not lift it."""
    merged = after(
        {"action": "revoke", "business": "*", "categories": ["*"], "at": "2026-11-21T08:00:00Z"},
        {"at": "2026-11-20T08:00:00Z"},
    )
    assert merged.result == "applied"
    assert holds(merged) == "withdrawn"
    assert holds(after({"action": "revoke", "categories": ["*"]}, {"at": "2026-11-20T08:00:01Z"})) == "granted"


def test_same_second_lets_the_revoke_win() -> None:
    """Entries are compared by whole seconds, and on a tie a revoke wins, in both orders."""
    grant = {"at": "2026-11-20T08:00:00.900Z", "update_id": "g"}
    revoke = {"action": "revoke", "at": "2026-11-20T08:00:00.100Z", "update_id": "r"}
    assert holds(after(grant, revoke)) == "withdrawn"
    assert holds(after(revoke, grant)) == "withdrawn"
    assert after(revoke, grant).result == "ignored_older"


def test_expired_grant_is_told_apart() -> None:
    """A grant holds up to its end and not at it."""
    merged = after({"expires_at": "2026-11-22T10:00:00Z"})
    assert holds(merged, now_ms=NOW_MS - 1) == "granted"
    assert holds(merged, now_ms=NOW_MS) == "expired"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"evidence": ...}, "evidence_missing"),
        ({"evidence": {"actor": "user", "source": "x"}}, "evidence_missing"),
        ({"evidence": {"actor": "user", "method": "qr"}}, "evidence_missing"),
        ({"evidence": {"actor": "business", "method": "qr", "source": "x"}}, "not_active"),
        ({"evidence": {"method": "qr", "source": "x"}}, "not_active"),
        ({"at": rfc3339(NOW_MS + AHEAD_MAX_MS + 1)}, "at_in_future"),
        ({"business": "nobody"}, "unknown_business"),
        ({"business": "nobody", "action": "revoke"}, "unknown_business"),
    ],
)
def test_refusals(fields: dict[str, Any], reason: str) -> None:
    """What is no active, provable, timely grant for a business of ours is refused by name and changes nothing."""
    merged = merge(None, checked(**fields), NOW_MS, businesses={"acme"})
    assert (merged.result, merged.reason, merged.changed, merged.consent) == ("refused", reason, False, None)


def test_text_is_needed_only_if_asked_for() -> None:
    """`require_evidence_text = "reject"` refuses a grant without the text that the person saw."""
    bare = checked(evidence={"method": "qr", "actor": "user", "source": "x"})
    assert merge(None, bare, NOW_MS).result == "applied"
    assert merge(None, bare, NOW_MS, needs_text=True).reason == "evidence_missing"


def test_revoke_from_the_future_is_clamped() -> None:
    """A revoke dated years ahead counts, but does not lock the person out for years."""
    merged = after({}, {"action": "revoke", "at": "2036-01-01T00:00:00Z"})
    assert holds(merged) == "withdrawn"
    assert merged.after[0]["at"] == rfc3339(NOW_MS + AHEAD_MAX_MS)
    later = merge(merged.consent, checked(at="2026-11-23T08:00:00Z"), parse_rfc3339_ms("2026-11-23T08:00:00Z"))
    assert holds(later) == "granted"


def test_erase_forgets_and_refuses_what_is_older() -> None:
    """After an erase nothing is left but its time; grants up to then are refused, newer ones hold."""
    merged = after({}, {"action": "erase", "categories": [], "at": "2026-11-21T08:00:00Z"})
    assert merged.consent is not None
    assert (merged.consent["entries"], merged.consent["erased_at"]) == ([], "2026-11-21T08:00:00.000Z")
    old = merge(merged.consent, checked(at="2026-11-21T08:00:00.999Z"), NOW_MS)
    assert (old.result, old.reason, old.changed) == ("refused", "erased", False)
    assert merge(merged.consent, checked(action="revoke"), NOW_MS).result == "ignored_older"
    new = merge(merged.consent, checked(at="2026-11-21T08:00:01Z"), NOW_MS)
    assert holds(new) == "granted"
    assert new.consent is not None
    assert new.consent["erased_at"] == "2026-11-21T08:00:00.000Z"


def test_erase_keeps_what_is_newer_already() -> None:
    """An erase that comes late does not take a grant that was given after it."""
    merged = after({"at": "2026-11-21T08:00:01Z"}, {"action": "erase", "at": "2026-11-21T08:00:00Z"})
    assert holds(merged) == "granted"
    again = merge(merged.consent, checked(action="erase", at="2026-11-21T08:00:00Z"), NOW_MS)
    assert (again.result, again.changed) == ("applied", False)
    assert merge(merged.consent, checked(action="erase", at="2026-11-20T08:00:00Z"), NOW_MS).result == "ignored_older"


def test_the_same_update_again_is_applied_and_changes_nothing() -> None:
    """Reading an update twice gives the same result and writes no second consent."""
    first = after({})
    again = merge(first.consent, checked(), NOW_MS)
    assert (again.result, again.changed, again.consent) == ("applied", False, first.consent)


def test_too_many_entries_refuse_a_grant_and_widen_a_revoke() -> None:
    """A person's record is bounded; at the bound a revoke still counts, for more than it asked."""
    many = after(*({"purposes": [f"p{i}-{j}" for j in range(100)]} for i in range(MAX_ENTRIES // 100)))
    more = merge(many.consent, checked(purposes=["one-more"]), NOW_MS)
    assert (more.result, more.reason) == ("refused", "invalid")
    out = merge(many.consent, checked(action="revoke", purposes=["one-more"], at="2026-11-21T08:00:00Z"), NOW_MS)
    assert out.result == "applied"
    assert holds(out, "acme", "utility", "one-more") == "withdrawn"
    assert out.consent is not None
    assert len(out.consent["entries"]) == MAX_ENTRIES + 1


def test_basis_of_a_decision_is_short() -> None:
    """Events carry which update they rest on, when and how it came."""
    entry = after({}).after[0]
    assert basis(entry) == {
        "update_id": "u-1", "status": "granted", "at": "2026-11-20T08:00:00.000Z", "method": "checkbox",
        "source": "https://shop.example",
    }  # fmt: skip
    assert basis(None) is None


WORD = {"method": "keyword", "actor": "user", "source": "wamid.1"}
STOP = {"action": "revoke", "categories": ["*"], "at": "2026-11-21T08:00:00Z", "evidence": WORD}
START = {"action": "resume", "categories": ["*"], "at": "2026-11-21T09:00:00Z", "evidence": WORD}
TAPPED = {**STOP, "evidence": {**WORD, "method": "button"}}
OWN_STOP = {**STOP, "evidence": {**WORD, "method": "preference"}}


@pytest.mark.parametrize(
    ("updates", "kind"),
    [
        ([{}, STOP], "withdrawn"),
        ([{}, STOP, START], "granted"),
        ([{}, START, STOP], "granted"),  # by date, not by arrival
        ([{}, {**STOP, "categories": ["utility"]}, START], "granted"),  # it stood where the grant stands
        ([{}, STOP, START, {**STOP, "at": "2026-11-21T10:00:00Z"}], "withdrawn"),
        ([{}, STOP, {**START, "at": STOP["at"]}], "withdrawn"),  # a revoke wins in the same second
        ([STOP, START], "none"),
        ([START], "none"),
        ([{"expires_at": "2026-11-21T10:00:00Z"}, STOP, START], "expired"),
        ([{}, TAPPED, START], "withdrawn"),
        ([{}, TAPPED, {**STOP, "at": "2026-11-21T08:30:00Z"}, START], "withdrawn"),
        ([{}, OWN_STOP, START], "withdrawn"),
        ([{}, STOP, {**START, "categories": ["marketing"]}], "withdrawn"),
        ([{}, STOP, {**START, "business": "zeta"}], "withdrawn"),
        ([{}, {**STOP, "evidence": {**WORD, "actor": "business", "method": "call"}}, START], "withdrawn"),
        ([{}, {"action": "erase", "at": "2026-11-21T08:30:00Z"}, START], "none"),
    ],
)
def test_a_resume_lifts_what_its_method_took(updates: list[dict[str, Any]], kind: str) -> None:
    """START undoes a STOP word and shows what was there before it: never another way's revoke, never a new grant."""
    numbered = [{**update, "update_id": f"u-{place}"} for place, update in enumerate(updates)]
    assert holds(after(*numbered)) == kind


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"evidence": {**WORD, "actor": "business"}}, "not_active"),
        ({"evidence": {**WORD, "source": None}}, "evidence_missing"),
        ({"at": rfc3339(NOW_MS + AHEAD_MAX_MS + 1)}, "at_in_future"),
    ],
)
def test_a_resume_is_the_persons_own_act(fields: dict[str, Any], reason: str) -> None:
    """Nobody else can take an opt-out back, nor one that is still to come."""
    assert merge(None, checked(**{**START, **fields}), NOW_MS).reason == reason


@pytest.mark.parametrize("evidence", [None, {**WORD, "method": "button"}])
def test_a_resume_names_a_method_with_a_way_back(evidence: Any) -> None:
    """A resume by another method is no update of the contract."""
    with pytest.raises(ContractError, match="keyword, preference"):
        checked(**{**START, "evidence": evidence})
