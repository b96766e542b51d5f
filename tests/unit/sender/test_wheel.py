"""The timing wheel made of topics."""

from __future__ import annotations

import pytest

from pipeline.sender.wheel import (
    HOUR_MS,
    PAIR_DELAY_MAX_S,
    goes_through_gate,
    hop_delay_ms,
    matures_ms,
    pair_delay_s,
    tier_for,
    transient_delay_s,
)


@pytest.mark.parametrize(
    ("remaining_ms", "tier"),
    [
        (-5, "delayed-retry"), (0, "delayed-retry"), (59_999, "delayed-retry"), (60_000, "delayed-retry-1m"),
        (599_999, "delayed-retry-1m"), (600_000, "delayed-retry-10m"), (3_600_000, "delayed-retry-1h"),
        (86_400_000, "delayed-retry-1h"),
    ],
)  # fmt: skip
def test_a_copy_goes_to_the_largest_tier_that_is_not_too_long(remaining_ms: int, tier: str) -> None:
    """The 5 s tier below that: memory, not the tier, gives precision."""
    assert tier_for(remaining_ms) == tier


def test_a_copy_matures_with_its_tier_or_when_its_message_is_due() -> None:
    """A due time that lies ahead comes first if it is earlier; one that has passed says nothing."""
    assert matures_ms("delayed-retry", 1000, 0, 2000) == 6000
    assert matures_ms("delayed-retry-1m", 1000, 30_000, 2000) == 30_000
    assert matures_ms("delayed-retry-1m", 1000, 90_000, 2000) == 61_000


def test_hops_rest_twice_as_long_each_time_up_to_an_hour() -> None:
    """A message in hand for long does not fill the topics with copies."""
    assert [hop_delay_ms(hops) for hops in range(4)] == [5_000, 10_000, 20_000, 40_000]
    assert hop_delay_ms(60) == HOUR_MS


def test_transient_errors_back_off() -> None:
    """1, 2, 4 … seconds up to 5 minutes, up to a quarter longer."""
    assert [transient_delay_s(spent, 0.0) for spent in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert transient_delay_s(50, 0.0) == 300.0
    assert 1.0 <= transient_delay_s(1, 0.999) < 1.25


def test_a_pair_limit_backs_off_by_four() -> None:
    """1, 4, 16, 64 … seconds up to a bound, beyond which the pair has its whole burst back."""
    assert [pair_delay_s(failures) for failures in range(6)] == [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0]
    assert pair_delay_s(10_000) == PAIR_DELAY_MAX_S


def test_what_waits_an_hour_is_judged_anew() -> None:
    """Consent, window and template may have changed by then."""
    assert goes_through_gate(HOUR_MS + 5, 5)
    assert not goes_through_gate(HOUR_MS + 4, 5)
