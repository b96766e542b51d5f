"""May this message go? One test per check, in their order."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.gate.admission import Admit, Defer, Facts, Reject, decide, end_of
from pipeline.records.codec import check
from pipeline.records.consent_rule import Standing
from pipeline.records.request import MAX_AHEAD_MS, Request
from tests.unit.gate import making
from tests.unit.gate.making import NOW_MS

TTL_S = 86_400
HOUR_MS = 3_600_000


def entry(status: str = "granted", expires_ms: int | None = None) -> dict[str, Any]:
    """A consent entry."""
    return {
        "update_id": "u-1", "status": status, "at": rfc3339(NOW_MS - 1000), "method": "qr", "source": "poster",
        "expires_at": rfc3339(expires_ms) if expires_ms is not None else None,
    }  # fmt: skip


GRANTED = Standing("granted", entry())


def judge(fields: dict[str, Any] | None = None, **facts: Any) -> Admit | Defer | Reject:
    """Decide about a request that is good but for what is said."""
    known: dict[str, Any] = {
        "now_ms": NOW_MS, "source_ms": NOW_MS, "profile": "cloud", "ttl_s": TTL_S, "window_until_ms": None,
        "standing": GRANTED, **facts,
    }  # fmt: skip
    return decide(check(Request, making.request(**(fields or {}))), Facts(**known))


def reason(decision: Admit | Defer | Reject) -> str:
    """Why it was refused."""
    assert isinstance(decision, Reject)
    return decision.reason


def test_template_with_grant_is_admitted() -> None:
    """A good template request with a grant goes, valid until its default end."""
    found = judge()
    assert isinstance(found, Admit)
    assert (found.priority, found.expires_ms, found.valid_until_ms, found.valid_cause) == (
        "normal", NOW_MS + TTL_S * 1000, NOW_MS + TTL_S * 1000, "expired",
    )  # fmt: skip
    assert found.consent is not None
    assert found.consent["update_id"] == "u-1"


@pytest.mark.parametrize(
    ("category", "asked", "given"),
    [
        ("authentication", None, "urgent"),
        ("utility", None, "normal"),
        ("marketing", None, "bulk"),
        ("utility", "bulk", "bulk"),
    ],
)
def test_priority_is_the_category_s_unless_asked_for(category: str, asked: str | None, given: str) -> None:
    """Codes are urgent and campaigns bulk, unless the request says otherwise."""
    found = judge({"category": category, "priority": asked})
    assert isinstance(found, Admit)
    assert found.priority == given


def test_bad_body_is_invalid_before_anything_else() -> None:
    """A body that the API would refuse is `invalid`, with the path, even without consent."""
    found = judge({"message": {"type": "template"}}, standing=Standing("none", None))
    assert isinstance(found, Reject)
    assert (found.kind, found.reason) == ("rejected", "invalid")
    assert "message.template" in (found.detail or "")


def test_a_user_id_is_no_recipient_of_v1() -> None:
    """Whom a profile cannot reach is `invalid` for it, before a token is spent."""
    found = judge({"to": "US.13491208655302741918"}, profile="v1")
    assert isinstance(found, Reject)
    assert (found.reason, (found.detail or "").partition(":")[0]) == ("invalid", "to")
    assert isinstance(judge({"to": "US.13491208655302741918"}, profile="cloud"), Admit)


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": rfc3339(NOW_MS + MAX_AHEAD_MS + 1)},
        {"not_before": rfc3339(NOW_MS + MAX_AHEAD_MS + 1)},
        {"not_before": rfc3339(NOW_MS + 2000), "expires_at": rfc3339(NOW_MS + 2000)},
    ],
)
def test_impossible_dates_are_invalid(fields: dict[str, Any]) -> None:
    """Dates more than 7 days ahead, or an end before the beginning, are `invalid`."""
    assert reason(judge(fields)) == "invalid"


def test_unknown_number_is_told_before_expiry_and_consent() -> None:
    """A number that is not in the settings is `unknown_number`."""
    assert reason(judge(profile=None, source_ms=0)) == "unknown_number"


def test_expiry_comes_before_consent() -> None:
    """What is too late is `expired`, exactly at its end, by its own time or the category's."""
    late = judge({"expires_at": rfc3339(NOW_MS)}, standing=Standing("none", None))
    assert isinstance(late, Reject)
    assert (late.kind, late.reason) == ("expired", "expired")
    assert reason(judge(source_ms=NOW_MS - TTL_S * 1000)) == "expired"
    assert isinstance(judge({"expires_at": rfc3339(NOW_MS + 1)}), Admit)


def test_default_end_counts_from_not_before() -> None:
    """A scheduled request without an end of its own does not expire before it may go."""
    scheduled = check(Request, making.request(not_before=rfc3339(NOW_MS + 2 * TTL_S * 1000)))
    assert end_of(scheduled, NOW_MS, TTL_S) == NOW_MS + 3 * TTL_S * 1000


@pytest.mark.parametrize(("category", "told"), [("service", "window_closed"), ("utility", "template_required")])
def test_free_form_needs_an_open_window(category: str, told: str) -> None:
    """Free text outside the 24 h window is refused, up to the millisecond in which the window closes."""
    fields = {"category": category, "message": making.text()}
    assert reason(judge(fields)) == told
    assert reason(judge(fields, window_until_ms=NOW_MS)) == told
    assert isinstance(judge(fields, window_until_ms=NOW_MS + 1), Admit)


@pytest.mark.parametrize(
    ("kind", "told"), [("none", "no_consent"), ("withdrawn", "consent_withdrawn"), ("expired", "consent_expired")]
)
def test_no_grant_no_message(kind: Any, told: str) -> None:
    """Without a standing grant nothing goes, and the event says which entry that rests on."""
    there = entry("revoked") if kind == "withdrawn" else None
    found = judge(standing=Standing(kind, there))
    assert isinstance(found, Reject)
    assert found.reason == told
    assert (found.consent is not None) == (there is not None)


def test_service_needs_no_grant_but_obeys_a_revoke() -> None:
    """In an open window a service message goes without a grant, and never against a revoke."""
    service = {"category": "service", "message": making.text()}
    until = NOW_MS + HOUR_MS
    for kind in ("none", "expired"):
        found = judge(service, window_until_ms=until, standing=Standing(kind, None))
        assert isinstance(found, Admit)
        assert (found.consent, found.valid_until_ms, found.valid_cause) == (None, until, "window_closed")
    withdrawn = Standing("withdrawn", entry("revoked"))
    assert reason(judge(service, window_until_ms=until, standing=withdrawn)) == "consent_withdrawn"


def test_judgement_ends_with_the_earliest_of_its_reasons() -> None:
    """`valid_until` is the earliest of consent's end, window's end and expiry, and says which."""
    free = {"message": making.text(), "expires_at": rfc3339(NOW_MS + 3 * HOUR_MS)}
    ends = Standing("granted", entry(expires_ms=NOW_MS + HOUR_MS))
    found = judge(free, standing=ends, window_until_ms=NOW_MS + 2 * HOUR_MS)
    assert isinstance(found, Admit)
    assert (found.valid_until_ms, found.valid_cause) == (NOW_MS + HOUR_MS, "consent_expired")
    found = judge(free, window_until_ms=NOW_MS + 2 * HOUR_MS)
    assert isinstance(found, Admit)
    assert (found.valid_until_ms, found.valid_cause) == (NOW_MS + 2 * HOUR_MS, "window_closed")
    found = judge({"expires_at": rfc3339(NOW_MS + 3 * HOUR_MS)}, window_until_ms=NOW_MS + 2 * HOUR_MS)
    assert isinstance(found, Admit)
    assert (found.valid_until_ms, found.valid_cause) == (NOW_MS + 3 * HOUR_MS, "expired")


def test_scheduled_message_waits() -> None:
    """`not_before` ahead defers; an hour or more means that it is judged anew when due."""
    found = judge({"not_before": rfc3339(NOW_MS + HOUR_MS - 1)})
    assert isinstance(found, Defer)
    assert (found.due_ms, found.reason, found.via_gate) == (NOW_MS + HOUR_MS - 1, "scheduled", False)
    found = judge({"not_before": rfc3339(NOW_MS + HOUR_MS)})
    assert isinstance(found, Defer)
    assert found.via_gate
    assert isinstance(judge({"not_before": rfc3339(NOW_MS)}), Admit)
    assert reason(judge({"not_before": rfc3339(NOW_MS + HOUR_MS)}, standing=Standing("none", None))) == "no_consent"


def test_a_cancelled_campaign_ends_its_messages_after_expiry_and_before_suppression() -> None:
    """In the design's order: an expired one is expired, a suppressed person's message is cancelled all the same."""
    found = judge(campaign="cancelled", suppression={"reason": "x", "at": rfc3339(NOW_MS), "until": None})
    assert isinstance(found, Reject)
    assert (found.kind, found.reason) == ("cancelled", "campaign_cancelled")
    assert reason(judge({"expires_at": rfc3339(NOW_MS - 1)}, campaign="cancelled")) == "expired"


def test_a_paused_campaign_s_message_waits_through_the_gate() -> None:
    """Who might go now waits for more than an hour, outside the order, or until it ends; who may not go is refused."""
    found = judge(campaign="paused")
    assert isinstance(found, Defer)
    assert (found.reason, found.via_gate) == ("held_campaign", True)
    assert found.due_ms - NOW_MS > HOUR_MS
    short = judge({"expires_at": rfc3339(NOW_MS + 5_000)}, campaign="paused")
    assert isinstance(short, Defer)
    assert short.due_ms == NOW_MS + 5_000
    assert reason(judge(campaign="paused", standing=Standing("none", None))) == "no_consent"
