"""The verdict itself: what counts as lost when people opt out, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.records.outbound import outbound_event
from tests.faults.verdict import Findings, find
from tests.support.campaign import ENTRANCE, request

NUMBER, ADA = "200000000000001", "15550000001"
SOURCE = {"topic": "outbound-requests", "partition": 0, "offset": 0, "timestamp_ms": 0}
MADE = request("r-1", NUMBER, ADA)


def findings(kind: str, reason: str | None, *more: tuple[str, str | None], is_taken: bool, opts_out: bool) -> Findings:
    """Of one request that ended so, and was told of again as having ended otherwise."""
    row = {"profile": "cloud", "accepted": True, "text": "r-1", "to": ADA, "t_ns": 1, "sender": NUMBER, "status": 200}
    events: list[dict[str, Any]] = [
        outbound_event(kind, MADE, SOURCE, at_ms=0, stage="sender", reason=reason)
        for kind, reason in ((kind, reason), *more)
    ]
    return find(
        [(MADE, ENTRANCE)], [row] if is_taken else [], events,
        {"senders": {}, "max_lag_s": 0.0, "started_monotonic_ns": 0},
        opted_out={ADA: 2} if opts_out else {}, undone=(), zombie_posts=0, lag_s=0.0, loaded_ns=(0, 10),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "reason", "opts_out", "lost"),
    [
        ("rejected", "consent_withdrawn", True, 0),
        ("failed", "outcome_unknown", True, 0),
        ("failed", "outcome_unknown", False, 1),
        ("failed", "api_rejected", True, 1),
    ],
)
def test_only_an_opt_out_excuses_what_was_not_sent(kind: str, reason: str, opts_out: bool, lost: int) -> None:
    """Unsent is lost, but for who opted out: refused for that, or of unknown outcome and not to be sent again."""
    assert findings(kind, reason, is_taken=False, opts_out=opts_out).base.lost == lost


def test_unknown_but_taken_before_an_opt_out_is_no_stranger() -> None:
    """The API took it before the person opted out, and nobody could tell: neither lost nor sent without leave."""
    base = findings("failed", "outcome_unknown", is_taken=True, opts_out=True).base
    assert (base.lost, base.not_allowed_sent, base.sent_unaccepted) == (0, 0, 1)


def test_the_first_end_counts() -> None:
    """A gate judges a request again after a crash, and the person has opted out meanwhile: it was sent all the same."""
    found = findings("accepted", None, ("rejected", "consent_withdrawn"), is_taken=True, opts_out=True)
    assert found.base.problems() == []
    assert findings("rejected", "consent_withdrawn", ("accepted", None), is_taken=True, opts_out=True).base.problems()


def posted(category: str, taken_back: list[str], *, after_s: float) -> Findings:
    """Of one message that was POSTed so long after the person opted out of these categories."""
    made = request("r-1", NUMBER, ADA, category=category)
    row = {
        "profile": "cloud", "accepted": True, "text": "r-1", "to": ADA, "t_ns": int(after_s * 1e9), "sender": NUMBER,
        "status": 200,
    }  # fmt: skip
    event = outbound_event("accepted", made, SOURCE, at_ms=0, stage="sender")
    return find(
        [(made, ENTRANCE)], [row], [event], {"senders": {}, "max_lag_s": 0.0, "started_monotonic_ns": 10},
        opted_out={ADA: 10}, taken_back={ADA: taken_back}, undone=(), zombie_posts=0, lag_s=0.0, loaded_ns=(0, 10),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("category", "taken_back", "after_s", "late"),
    [
        ("marketing", ["marketing"], 1.5, 1),
        ("utility", ["*"], 1.5, 1),
        ("utility", ["marketing"], 1.5, 0),
        ("marketing", ["*"], 0.9, 0),
    ],
)
def test_only_what_was_taken_back_may_come_too_late(
    category: str, taken_back: list[str], after_s: float, late: int
) -> None:
    """Who stopped marketing still gets codes and orders; within the second nothing is late."""
    assert posted(category, taken_back, after_s=after_s).sent_after_opt_out == late


def test_lag_of_opt_outs_is_printed() -> None:
    """The last forbidden POST after each opt-out, as a figure: also what is within the promise."""
    assert posted("marketing", ["*"], after_s=0.9).opt_out_lag_s["max"] == 0.9
    assert posted("utility", ["marketing"], after_s=0.9).opt_out_lag_s["max"] == 0.0


def test_refused_by_whatsapps_own_stop_is_not_lost() -> None:
    """131050 ends a request as `api_rejected`: that is the opt-out, told by the answer."""
    event = outbound_event("failed", MADE, SOURCE, at_ms=0, stage="sender", reason="api_rejected")
    found = find(
        [(MADE, ENTRANCE)], [], [event], {"senders": {}, "max_lag_s": 0.0, "started_monotonic_ns": 0},
        opted_out={ADA: 2}, refused=[ADA], undone=(), zombie_posts=0, lag_s=0.0, loaded_ns=(0, 10),
    )  # fmt: skip
    assert found.base.lost == 0
