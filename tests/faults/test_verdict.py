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
