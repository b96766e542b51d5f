"""The merge rule over any set of updates: commutative, idempotent, and true to its few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.records.codec import check, encode
from pipeline.records.consent import RETURNING, Consent, ConsentUpdate
from pipeline.records.consent_rule import AHEAD_MAX_MS, merge, standing
from pipeline.sender.withdrawn import Withdrawn
from tests.support.sender_values import message
from tests.unit.gate.making import ADA, NOW_MS

CATEGORIES = ("utility", "marketing")
PURPOSES = ("offers", "news")
USER = {"actor": "user", "method": "qr", "source": "poster"}
WORD = {"actor": "user", "method": "keyword", "source": "wamid.1"}
OWN_STOP = {"actor": "user", "method": "preference", "source": "whatsapp"}
NOW_HELD = NOW_MS + 10**9

moments = st.integers(0, 6).map(lambda half_seconds: NOW_MS + half_seconds * 500) | st.sampled_from(
    [NOW_MS - 86_400_000, NOW_MS + AHEAD_MAX_MS - 1, NOW_MS + AHEAD_MAX_MS + 1000, NOW_MS + 10**10]
)


@st.composite
def updates(draw: st.DrawFn) -> tuple[ConsentUpdate, int]:
    """An update of one person, and the broker time of its record."""
    action = draw(st.sampled_from(["grant", "grant", "revoke", "revoke", "resume", "erase"]))
    stars = ("*",) if action in ("revoke", "resume") else ()
    evidence = [WORD, OWN_STOP] if action == "resume" else [USER, WORD, OWN_STOP, {**USER, "actor": "system"}]
    value: dict[str, Any] = {
        "update_id": draw(st.sampled_from(["a", "b", "c"])),
        "recipient": ADA,
        "business": draw(st.sampled_from(["acme", "zeta", *(() if action == "grant" else ("*",))])),
        "action": action,
        "categories": draw(st.lists(st.sampled_from([*CATEGORIES, *stars]), min_size=1, max_size=2)),
        "purposes": draw(st.lists(st.sampled_from(["*", *PURPOSES]), min_size=1, max_size=2)),
        "at": rfc3339(draw(moments)),
        "expires_at": draw(st.none() | st.just(rfc3339(NOW_MS + 5000))),
        "evidence": draw(st.sampled_from(evidence)),
        "number": draw(st.sampled_from([None, "1", "2"])),
    }
    return check(ConsentUpdate, value), NOW_MS + draw(st.integers(0, 3)) * 1000


def merged(sequence: Sequence[tuple[ConsentUpdate, int]]) -> dict[str, Any] | None:
    """What is left of updates in that order."""
    consent: dict[str, Any] | None = None
    for update, broker_ms in sequence:
        consent = merge(consent, update, broker_ms).consent
    return consent


@given(st.lists(updates(), max_size=8).flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_order_of_updates_does_not_matter(orders: tuple[list[Any], list[Any]]) -> None:
    """Any order of the same updates leaves the same bytes on `consent`."""
    one, other = merged(orders[0]), merged(orders[1])
    assert (encode(one) if one else None) == (encode(other) if other else None)


@given(st.lists(updates(), max_size=8), st.data())
def test_any_order_repetition_and_halves_leave_the_same(found: list[Any], data: st.DataObject) -> None:
    """Read in any order, split anywhere, with parts read again after a restart, the updates leave the same consent."""
    order = data.draw(st.permutations(found))
    cut = data.draw(st.integers(0, len(order)))
    again = data.draw(st.lists(st.sampled_from(found), max_size=4)) if found else []
    replayed = [*order[cut:], *again, *order[:cut], *order[cut:]]
    assert merged(replayed) == merged(found)


@given(
    st.lists(updates(), max_size=8),
    st.integers(0, 8),
    st.sampled_from(CATEGORIES),
    st.sampled_from([None, *PURPOSES]),
)
def test_sender_is_never_less_strict_than_the_gate(
    found: list[Any], judged_after: int, category: str, purpose: str | None
) -> None:
    """A message admitted on what was known before does not go once the gate, knowing all, says withdrawn."""
    judged = standing(merged(found[:judged_after]), "acme", category, purpose, NOW_MS)
    if judged.kind != "granted" or judged.entry is None:
        return
    waiting = message(
        recipient=ADA, category=category, purpose=purpose, granted_ms=parse_rfc3339_ms(judged.entry["at"])
    )
    sender = Withdrawn()
    for update, broker_ms in found:
        sender.apply(update.model_dump_json().encode(), broker_ms)
    # What has expired is not the reader's: the message carries its own `valid_until`.
    if standing(merged(found), "acme", category, purpose, NOW_MS).kind in ("withdrawn", "none"):
        assert sender.forbids(waiting, NOW_MS)


@given(st.lists(updates(), min_size=1, max_size=8), st.data())
def test_an_update_again_changes_nothing(found: list[Any], data: st.DataObject) -> None:
    """Merging one of the updates a second time, at any later point, changes nothing and says so."""
    consent = merged(found)
    update, broker_ms = data.draw(st.sampled_from(found))
    again = merge(consent, update, broker_ms)
    assert (again.changed, again.consent) == (False, consent)


@given(st.lists(updates(), max_size=8))
def test_result_is_a_record_of_the_contract(found: list[Any]) -> None:
    """Whatever was merged, the record fits its model, and `changed` says whether it differs."""
    consent: dict[str, Any] | None = None
    for update, broker_ms in found:
        step = merge(consent, update, broker_ms)
        assert step.changed == (step.consent != consent)
        assert (step.result == "refused") == (step.reason is not None)
        consent = step.consent
    if consent is not None:
        Consent.model_validate(consent)


@given(st.lists(updates(), max_size=6), st.sampled_from(CATEGORIES), st.sampled_from(PURPOSES))
def test_nothing_is_granted_against_the_newest_word(found: list[Any], category: str, purpose: str) -> None:
    """Granted means: there is an accepted matching grant, and no matching revoke in the same second or later."""
    consent = merged(found)
    if standing(consent, "acme", category, purpose, NOW_MS).kind != "granted":
        return
    grants = [
        u.at // 1000 for u, ms in found if u.action == "grant" and _matches(u, category, purpose) and _good(u, ms)
    ]
    revokes = [
        min(u.at, ms + AHEAD_MAX_MS) // 1000
        for u, ms in found
        if u.action == "erase" or (u.action == "revoke" and _matches(u, category, purpose) and not _has_way_back(u))
    ]
    assert grants
    assert max(grants) > max(revokes, default=-1)


def _has_way_back(update: ConsentUpdate) -> bool:
    return update.evidence is not None and update.evidence.method in RETURNING


@given(st.lists(updates(), max_size=6), st.sampled_from(["keyword", "preference"]))
def test_a_resume_brings_back_what_its_method_took_and_nothing_else(found: list[Any], method: str) -> None:
    """After a resume of everything, all stands as if revokes and resumes by its method had never been."""
    evidence = {"actor": "user", "method": method, "source": "wamid.9"}
    value = {
        "update_id": "z", "recipient": ADA, "business": "*", "action": "resume", "categories": ["*"],
        "at": rfc3339(NOW_HELD), "evidence": evidence,
    }  # fmt: skip
    after = merged([*found, (check(ConsentUpdate, value), NOW_HELD)])
    others = [
        (u, ms)
        for u, ms in found
        if u.action in ("grant", "erase") or u.evidence is None or u.evidence.method != method
    ]
    without = merged(others)
    for category in (*CATEGORIES, "service"):
        for purpose in (None, *PURPOSES):
            kinds = [standing(one, "acme", category, purpose, NOW_MS).kind for one in (after, without)]
            assert kinds[0] == kinds[1]


def _matches(update: ConsentUpdate, category: str, purpose: str) -> bool:
    return (
        update.business in ("acme", "*")
        and bool({category, "*"} & set(update.categories))
        and bool({purpose, "*"} & set(update.purposes))
    )


def _good(update: ConsentUpdate, broker_ms: int) -> bool:
    evidence = update.evidence
    is_active = evidence is not None and evidence.actor == "user"
    return update.action == "grant" and is_active and update.at <= broker_ms + AHEAD_MAX_MS
