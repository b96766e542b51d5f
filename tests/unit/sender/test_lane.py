"""What a lane derives from its number's limit."""

from __future__ import annotations

import pytest

from pipeline.sender.lane import GATHER_S, LOOK_MIN_S, gather_of
from pipeline.throttle.bucket import Limit


@pytest.mark.parametrize(
    ("limit", "expected_s"),
    [
        (Limit(50.0, 145.0), GATHER_S),
        (Limit(80.0, 72.0), GATHER_S),
        (Limit(1000.0, 21.0), 0.01),
        (Limit(80.0, 1.0), LOOK_MIN_S),
    ],
    ids=["v1", "cloud", "fast", "no burst"],
)
def test_tokens_never_gather_to_a_full_bucket(limit: Limit, expected_s: float) -> None:
    """What comes in while tokens gather is at most half of what the bucket holds beyond one; without that, at once."""
    gather_s = gather_of(limit)
    assert gather_s == pytest.approx(expected_s)
    assert gather_s == LOOK_MIN_S or gather_s * limit.rate_per_s <= (limit.burst - 1.0) / 2.0 + 1e-9
