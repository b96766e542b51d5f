"""Customer service windows at their edges."""

from __future__ import annotations

from pipeline.clock import rfc3339
from pipeline.gate.windows import WINDOW_MS, open_until, open_window
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, OTHER


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
