"""A number's requests against its limit."""

from __future__ import annotations

import pytest

from pipeline.operations.arrivals import Arrivals, allowed, per_second


def over(at_ms: list[int], rate_per_s: float, burst: int) -> float:
    """By how many requests the limit was exceeded at worst; negative: so many were left."""
    most = allowed(Arrivals(at_ms, (), rate_per_s, burst))
    return max(count - bound for count, bound in enumerate(most, 1))


@pytest.mark.parametrize(
    ("at_ms", "worst"),
    [
        ([0, 0, 0], 0),  # the whole burst at once
        ([0, 0, 0, 0], 1),
        ([0, 0, 0, 100], 0),  # a token has come
        ([0, 0, 0, 99], 0.01),
        ([0, 0, 0, 100, 200, 300, 350], 0.5),  # above over part of the time only
        ([0, 1000, 1000, 1000], 0),  # a full bucket does not gain more
        ([0, 5000], -2),
    ],
)
def test_the_tightest_envelope_counts(at_ms: list[int], worst: float) -> None:
    """A request is too many if any time up to it holds more than rate·t + burst, not only the time since the start."""
    assert over(at_ms, 10, 3) == pytest.approx(worst)


def test_nothing_is_within_any_limit() -> None:
    """A number that sent nothing exceeds nothing."""
    assert allowed(Arrivals((), (), 10, 3)) == []


def test_seconds_are_counted_from_the_beginning() -> None:
    """Each request falls into one second; those outside of the time are left out."""
    assert per_second([999, 1000, 1999, 2000, 4500, 5000], 1000, 4600) == [2, 1, 0, 1]
    assert per_second([], 0, 0) == [0]
