"""Customer service windows at their edges."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.gate.windows import WINDOW_MS, open_until, open_window
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, OTHER, Tables, item, message_event, request, text

DAY_S = 86_400


def test_message_opens_a_window_of_24_hours() -> None:
    """The window runs from the moment the person wrote, not from when we heard of it."""
    record = open_window(None, ADA, NUMBER, NOW_MS - 5000, NOW_MS, "wamid.1")
    assert record == {
        "recipient": ADA,
        "windows": {
            NUMBER: {
                "opened_at": rfc3339(NOW_MS - 5000),
                "until": rfc3339(NOW_MS - 5000 + WINDOW_MS),
                "message_id": "wamid.1",
            }
        },
    }
    assert open_until(record, NUMBER) == NOW_MS - 5000 + WINDOW_MS
    assert open_until(record, OTHER) is None
    assert open_until(None, NUMBER) is None


def test_later_message_prolongs_and_an_older_one_changes_nothing() -> None:
    """Webhooks come out of order and twice: only a later message moves the window."""
    record = open_window(None, ADA, NUMBER, NOW_MS, NOW_MS, None)
    assert open_window(record, ADA, NUMBER, NOW_MS, NOW_MS, None) is None
    assert open_window(record, ADA, NUMBER, NOW_MS - 1, NOW_MS, None) is None
    assert open_until(open_window(record, ADA, NUMBER, NOW_MS + 1, NOW_MS + 9, None), NUMBER) == NOW_MS + 1 + WINDOW_MS


def test_message_from_the_future_opens_no_longer_window() -> None:
    """A clock ahead of the broker's does not buy time."""
    assert open_until(open_window(None, ADA, NUMBER, NOW_MS + WINDOW_MS, NOW_MS, None), NUMBER) == NOW_MS + WINDOW_MS


def test_message_of_yesterday_opens_nothing() -> None:
    """A webhook redelivered after a day tells of a window that is over."""
    assert open_window(None, ADA, NUMBER, NOW_MS - WINDOW_MS, NOW_MS, None) is None
    assert open_window(None, ADA, NUMBER, NOW_MS - WINDOW_MS + 1, NOW_MS, None) is not None


def test_windows_of_other_numbers_stay_until_they_are_over() -> None:
    """One record holds a person's windows with all numbers, and none that is over."""
    first = open_window(None, ADA, OTHER, NOW_MS, NOW_MS, None)
    both = open_window(first, ADA, NUMBER, NOW_MS + 1, NOW_MS + 1, None)
    assert both is not None
    assert set(both["windows"]) == {NUMBER, OTHER}
    later = NOW_MS + WINDOW_MS
    assert set((open_window(both, ADA, NUMBER, later, later, None) or {})["windows"]) == {NUMBER}


# -- from an inbound event to a judgement ----------------------------------------------------------------------------
def judged(after_s: float, *, said_s: float = 0.0, number: str = NUMBER, **event: Any) -> str:
    """How a free-form request ends so long after the broker had an event; `said_s`: WhatsApp's clock against it."""
    tables = Tables()
    told = {"at": rfc3339(NOW_MS + int(said_s * 1000)), "number": number, **event}
    tables.inbound.apply(item("inbound", message_event(**told), timestamp_ms=NOW_MS))
    later_ms = NOW_MS + int(after_s * 1000)
    asked = request(category="service", purpose=..., message=text())
    found = tables.outcome(asked, now_ms=later_ms, timestamp_ms=later_ms)
    return str(found["reason"] or found["type"])


@pytest.mark.parametrize(
    ("after_s", "expected"),
    [(DAY_S - 1, "queued"), (DAY_S - 0.001, "queued"), (DAY_S, "window_closed"), (DAY_S + 1, "window_closed")],
)
def test_free_form_at_the_edge_of_the_window(after_s: float, expected: str) -> None:
    """23:59:59 after the person wrote a free-form message may go; at 24:00:00 and 24:00:01 it may not."""
    assert judged(after_s) == expected


@pytest.mark.parametrize(
    ("said_s", "after_s", "expected"),
    [
        (300, DAY_S - 1, "queued"),
        (300, DAY_S, "window_closed"),
        (-300, DAY_S - 301, "queued"),
        (-300, DAY_S - 300, "window_closed"),
    ],
    ids=["ahead-inside", "ahead-over", "behind-inside", "behind-over"],
)
def test_no_clock_opens_a_longer_window(said_s: float, after_s: float, expected: str) -> None:
    """WhatsApp's date counts, but never beyond the broker's time: a clock that is ahead buys nothing."""
    assert judged(after_s, said_s=said_s) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "call", "status": "connect", "message_id": "wacid.1"}, "queued"),
        ({"type": "call", "status": "terminate"}, "window_closed"),
        ({"type": "call", "status": "connect", "recipient": None}, "window_closed"),
        ({"body": {"type": "text", "referral": {"source_type": "ad"}}}, "queued"),
        ({"body": {"type": "system"}}, "window_closed"),
        ({"type": "status", "status": "delivered", "pricing": {"type": "free_entry_point"}}, "window_closed"),
    ],
    ids=["call", "end-of-call", "own-call", "advertisement", "notice", "free-entry-point"],
)
def test_what_opens_a_window(event: dict[str, Any], expected: str) -> None:
    """A message or the beginning of a call of the person does; the business' own call, notices and prices do not."""
    assert judged(1, **event) == expected


def test_free_entry_point_admits_nothing_after_a_day() -> None:
    """The 72 h after an advertisement are about prices: free-form messages have their 24 h."""
    assert judged(DAY_S + 1, body={"type": "text", "referral": {"source_type": "ad"}}) == "window_closed"


def test_window_is_of_one_number() -> None:
    """Who wrote to one number of a business has opened no window with another one."""
    assert judged(1, number=OTHER) == "window_closed"
