"""Changes of consent that an operator writes are judged as the gate judges them, and audited."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest

from pipeline.clock import rfc3339
from pipeline.errors import ContractError
from pipeline.operations.acts import Actor
from pipeline.operations.consent import UpdateRules, change_consent, refusal_of, update_record
from pipeline.records.account import AuditEvent
from pipeline.records.codec import check
from pipeline.records.consent import ConsentUpdate
from pipeline.records.consent_rule import merge

NOW_MS = 1_795_341_600_000
RULES = UpdateRules(frozenset({"acme"}), needs_text=False, now_ms=NOW_MS)
ADA = Actor("ada", "console")
GRANT: dict[str, Any] = {
    "update_id": "u-1", "recipient": "+1 555 010 9999", "business": "acme", "action": "grant",
    "categories": ["utility"], "at": rfc3339(NOW_MS),
    "evidence": {"method": "checkbox", "source": "x", "actor": "user"},
}  # fmt: skip


def test_a_grant_is_one_record() -> None:
    """A grant goes to its person's key in normal form; the contract audits no grant."""
    change = change_consent(ADA, GRANT, RULES, reason=None)
    assert change.act.audit is None
    [record] = change.act.records
    assert (record.topic, record.key) == ("consent-updates", "15550109999")
    assert record.value == change.raw
    assert change.update.recipient == "15550109999"


@pytest.mark.parametrize("action", ["revoke", "erase"])
def test_an_opt_out_is_audited(action: str) -> None:
    """Who took consent back for somebody else, by which door and why, stands on audit-events."""
    categories = ["*"] if action == "revoke" else []
    change = change_consent(ADA, {**GRANT, "action": action, "categories": categories}, RULES, reason="asked by phone")
    assert change.act.audit is not None
    told = check(AuditEvent, orjson.loads(change.act.audit.value or b""))
    assert (told.actor, told.via, told.action) == ("ada", "console", action)
    assert (told.target, told.reason) == ("recipient:15550109999", "asked by phone")
    assert told.after is not None
    assert told.after["update_id"] == "u-1"


def test_local_refusals_are_the_gates_refusals() -> None:
    """For every combination of business, action, evidence and time the command judges as the gate's rule does."""
    methods, sources = (None, "checkbox"), (None, "x")
    actors = (None, "user", "business")
    seen = set()
    for business, action, method, source, actor, text, at_ms, needs_text, known in itertools.product(
        ("acme", "other"), ("grant", "revoke"), methods, sources, actors, (None, "t"),
        (NOW_MS, NOW_MS + 300_001), (True, False), (None, frozenset({"acme"})),
    ):  # fmt: skip
        update = check(ConsentUpdate, {
            "update_id": "u", "recipient": "15550109999", "business": business, "action": action,
            "categories": ["utility"], "at": rfc3339(at_ms),
            "evidence": {"method": method, "source": source, "actor": actor, "text": text},
        })  # fmt: skip
        reason = refusal_of(update, UpdateRules(known, needs_text, NOW_MS))
        assert reason == merge(None, update, NOW_MS, businesses=known, needs_text=needs_text).reason
        seen.add(reason)
    assert seen == {None, "unknown_business", "evidence_missing", "not_active", "at_in_future"}


def test_refusal_says_what_to_do() -> None:
    """A refused update names the reason as the gate would, and what would be right."""
    value = {**GRANT, "business": "other"}
    with pytest.raises(ContractError, match="unknown_business: not configured; there are: acme"):
        update_record(value, RULES)
