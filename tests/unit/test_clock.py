"""Clocks and times as records write them."""

from __future__ import annotations

import time

import pytest

from pipeline import clock


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2026-11-22T10:00:00.000Z", 1_795_341_600_000),
        ("2026-11-22T10:00:00Z", 1_795_341_600_000),
        ("2026-11-22T11:00:00.5+01:00", 1_795_341_600_500),
        ("2026-11-22T04:29:59.9999-05:30", 1_795_341_599_999),
        ("2024-02-29T23:59:59.999Z", 1_709_251_199_999),
    ],
)
def test_times_with_any_offset_are_read(text: str, unix_ms: int) -> None:
    """Any RFC 3339 offset is read; what is finer than a millisecond is cut off."""
    assert clock.parse_rfc3339_ms(text) == unix_ms


@pytest.mark.parametrize("text", ["2026-11-22T10:00:00", "2026-11-22", "yesterday", "", "2026-13-01T00:00:00Z"])
def test_times_without_offset_or_meaning_are_refused(text: str) -> None:
    """A time without an offset means nothing, and is refused like one that is none."""
    with pytest.raises(ValueError, match=r"offset|isoformat|month"):
        clock.parse_rfc3339_ms(text)


@pytest.mark.parametrize("unix_ms", [0, 1, 999, 1_795_341_600_000, 253_402_300_799_999])
def test_written_times_are_read_back(unix_ms: int) -> None:
    """What is written is UTC with milliseconds and reads as the same moment."""
    text = clock.rfc3339(unix_ms)
    assert len(text) == len("2026-11-22T10:00:00.000Z")
    assert text.endswith("Z")
    assert clock.parse_rfc3339_ms(text) == unix_ms


def test_host_clock_agrees_in_both_units() -> None:
    """Seconds and milliseconds are one clock, the host's."""
    before = time.time()
    seconds, millis = clock.unix_s(), clock.unix_ms()
    assert before <= seconds
    assert int(before * 1000) <= millis


def test_steady_clock_never_steps_back() -> None:
    """Readings of the steady clock never decrease."""
    readings = [clock.steady_s() for _ in range(1000)]
    assert readings == sorted(readings)
