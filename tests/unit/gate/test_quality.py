"""Bulk of a number that WhatsApp rates red is held, from the request to its event, and goes on by itself."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.gate.item import Out
from pipeline.gate.quality import LOOK_AGAIN_MS
from pipeline.gate.requests import Wait
from pipeline.records.ready import parse_ready
from tests.unit.gate import making
from tests.unit.gate.making import NOW_MS, NUMBER, OTHER, Tables, body

BULK = {"category": "marketing", "purpose": None}
RED = {"kind": "number", "id": NUMBER, "aspect": "quality", "event": "FLAGGED", "flagged": True, "at": rfc3339(NOW_MS)}


def red(**policy: Any) -> Tables:
    """Everybody allows everything, and WhatsApp has flagged the number."""
    tables = Tables(policy=policy)
    tables.grant(categories=["utility", "marketing", "authentication"])
    tables.grant(update_id="u-2", business="zeta", categories=["marketing"])
    tables.account.put(f"number:{NUMBER}/quality", RED)
    return tables


def outs_of(tables: Tables, value: Any, **fields: Any) -> dict[str, Out]:
    """What is written about a request, by topic."""
    outs = tables.judge(value, **fields)
    assert not isinstance(outs, Wait)
    return {out.topic: out for out in outs}


def test_bulk_is_held_and_looked_at_again_in_an_hour() -> None:
    """`deferred: held_quality`, on the topic that brings it back through the gate."""
    outs = outs_of(red(), making.request(**BULK))
    event, copy = body(outs["outbound-events"]), parse_ready(body(outs["delayed-retry-1h"]))
    assert (event["type"], event["reason"]) == ("deferred", "held_quality")
    assert event["due_at"] == rfc3339(NOW_MS + LOOK_AGAIN_MS)
    assert (copy.via_gate, copy.due_ms) == (True, NOW_MS + LOOK_AGAIN_MS)


@pytest.mark.parametrize("fields", [{"category": "utility"}, {**BULK, "priority": "urgent"}, {**BULK, "from": OTHER}])
def test_urgent_normal_and_other_numbers_go_on(fields: dict[str, Any]) -> None:
    """Only bulk, and only that number's."""
    assert red().outcome(making.request(**fields))["type"] == "queued"


def test_it_goes_on_when_the_flag_is_lifted() -> None:
    """The next look, within the hour, finds the number well; as long as it does not, the message is held again."""
    tables = red()
    later_ms = NOW_MS + LOOK_AGAIN_MS
    again = tables.outcome(making.request(**BULK), now_ms=later_ms)
    assert (again["reason"], again["due_at"]) == ("held_quality", rfc3339(later_ms + LOOK_AGAIN_MS))
    tables.account.put(f"number:{NUMBER}/quality", {**RED, "flagged": False})
    assert tables.outcome(making.request(**BULK), now_ms=later_ms)["type"] == "queued"


def test_who_would_expire_meanwhile_is_judged_at_its_end() -> None:
    """It ends as `expired` then, not an hour late."""
    tables, ends_ms = red(), NOW_MS + 600_000
    wanted = making.request(**BULK, expires_at=rfc3339(ends_ms))
    assert tables.outcome(wanted)["due_at"] == rfc3339(ends_ms)
    assert tables.outcome(wanted, now_ms=ends_ms)["type"] == "expired"


@pytest.mark.parametrize("policy", ["slow", "none"])
def test_other_policies_hold_nothing(policy: str) -> None:
    """`slow` is the sender's part, `none` is nobody's."""
    assert red(on_quality_red=policy).outcome(making.request(**BULK))["type"] == "queued"


def test_what_is_refused_is_not_held() -> None:
    """Consent comes first."""
    tables = red()
    tables.grant(update_id="u-3", action="revoke", at="2026-11-21T08:00:00.000Z", categories=["marketing"])
    assert tables.outcome(making.request(**BULK))["reason"] == "consent_withdrawn"
