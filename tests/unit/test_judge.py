"""The judge of the integration tests finds each kind of broken promise: one that could not fail would say nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.campaign import Ids, asked, campaign, people
from tests.support.judge import Verdict, judge

NUMBER = "200000000000001"
REQUESTS = campaign(6, [NUMBER], people(3), Ids())
NAMES = [request["request_id"] for request in REQUESTS]
SOUND_STATS = {"excess": -5.0, "rate_per_s": 50.0, "utilisation": 0.9}


def row(name: str, t_s: float = 0.0, **fields: Any) -> dict[str, Any]:
    """A message that the API took."""
    return {
        "t_ns": round(t_s * 1e9), "profile": "v1", "text": name, "accepted": True, "status": 201, "fault": "", **fields,
    }  # fmt: skip


def event(name: str, kind: str = "accepted", **fields: Any) -> dict[str, Any]:
    """A terminal event, unless said otherwise."""
    return {"event_id": f"end-{name}", "request_id": name, "type": kind, "reason": None, **fields}


def verdict(
    rows: list[dict[str, Any]] | None = None, events: list[dict[str, Any]] | None = None,
    not_allowed: frozenset[str] = frozenset(), lag_s: float = 0.001, **stats: Any,
) -> Verdict:  # fmt: skip
    """A campaign in which everything went well, but for what is given."""
    return judge(
        [asked(request, is_allowed=request["to"] not in not_allowed) for request in REQUESTS],
        [row(name, index / 10) for index, name in enumerate(NAMES)] if rows is None else rows,
        [event(name) for name in NAMES] if events is None else events,
        {"max_lag_s": lag_s, "senders": {NUMBER: {**SOUND_STATS, **stats}}},
    )


def rows_of(*names: str) -> list[dict[str, Any]]:
    """Taken messages, in this order."""
    return [row(name, index / 10) for index, name in enumerate(names)]


def test_a_sound_campaign_has_no_problems() -> None:
    """Everything taken once, in order, within the limit, with one end each: nothing to complain about."""
    found = verdict()
    assert found.problems() == []
    assert (found.requests, found.taken, found.types) == (6, 6, {"accepted": 6})


def test_a_message_that_was_never_taken_is_lost() -> None:
    """The event alone does not count: what the API did not take is lost, and its event a lie."""
    assert verdict(rows_of(*NAMES[:5])).problems() == ["lost=1", "accepted_unsent=1"]


def test_a_message_that_was_taken_twice_is_a_duplicate() -> None:
    """A repeat counts, and does not count as out of order."""
    found = verdict(rows_of(*NAMES, NAMES[0]))
    assert found.problems() == ["duplicates=1"]
    assert found.problems(duplicates_max=1) == []


def test_a_later_message_first_is_out_of_order() -> None:
    """The two of one person changed places; those of different people may."""
    assert verdict(rows_of(*NAMES[3:], *NAMES[:3])).problems() == ["order_violations=3"]
    assert verdict(rows_of(NAMES[1], NAMES[0], *NAMES[2:])).problems() == []


def test_a_message_without_leave_is_seen() -> None:
    """Somebody who did not opt in got something; that they got nothing is no loss."""
    nobody = frozenset({REQUESTS[0]["to"]})
    assert verdict(not_allowed=nobody).problems() == ["not_allowed_sent=2"]
    events = [event(name, "rejected" if name in (NAMES[0], NAMES[3]) else "accepted") for name in NAMES]
    taken = rows_of(NAMES[1], NAMES[2], NAMES[4], NAMES[5])
    assert verdict(taken, events, nobody).problems() == []


def test_a_message_that_nobody_asked_for_is_seen() -> None:
    """A text that belongs to no request."""
    assert verdict(rows_of(*NAMES, "who?")).problems() == ["strangers=1"]


def test_ends_are_counted_by_event_id() -> None:
    """An event that was written again is one event; two ids are two ends; none is none; a false end is seen."""
    sound = [event(name) for name in NAMES]
    assert verdict(events=[*sound, sound[0]]).problems() == []
    assert verdict(events=[*sound, event(NAMES[0], event_id="other")]).problems() == ["more_than_one_terminal=1"]
    assert verdict(events=[*sound[1:], event(NAMES[0], "queued")]).problems() == ["no_terminal=1"]
    assert verdict(events=[*sound[1:], event(NAMES[0], "failed")]).problems() == ["sent_unaccepted=1"]


@pytest.mark.parametrize(
    ("excess", "lag_s", "is_over"), [(0.0, 0.0, False), (0.5, 0.0, True), (5.0, 0.06, False), (5.0, 0.02, True)]
)
def test_excess_is_forgiven_only_as_far_as_the_simulator_was_late(excess: float, lag_s: float, is_over: bool) -> None:
    """A simulator that ran on time forgives nothing; a late one what its lateness explains."""
    assert bool(verdict(excess=excess, lag_s=lag_s).problems()) is is_over


def test_a_second_bucket_is_seen_on_a_slow_machine() -> None:
    """An overrun by a whole burst is no matter of lateness, however slow the machine is."""
    assert verdict(excess=145.0, lag_s=0.5).problems() != []


def test_the_limit_refuses_nobody_who_keeps_it() -> None:
    """A 429 of the limit itself, without an excess that explains it, is a fault of the simulator or of the test."""
    refused = row("x", accepted=False, status=429)
    assert verdict([*rows_of(*NAMES), refused]).problems() == ["limit_refusals=1"]
    spell = row("x", accepted=False, status=429, fault="429")
    found = verdict([*rows_of(*NAMES), spell])
    assert (found.problems(), found.refused, found.limit_refusals) == ([], {429: 1}, 0)
