"""What a lane derives from its number's limit."""

from __future__ import annotations

import pytest

from pipeline.config import NumberSettings
from pipeline.sender.lane import GATHER_S, LOOK_MIN_S, Lane, gather_of, limit_of
from pipeline.sender.scopes import alone
from pipeline.throttle.bucket import Limit
from pipeline.whatsapp.profiles import PROFILES


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


def number(profile: str = "cloud", **fields: object) -> NumberSettings:
    """A number."""
    return NumberSettings.model_validate(
        {"business": "acme", "profile": profile, "base_url": "https://one", "token_env": "T", **fields}
    )


def test_an_upgrade_raises_rate_and_burst() -> None:
    """Meta raises a number to 1,000/s: all its shards go faster, less the margin, without a restart."""
    conf = number(partitions=[0, 1])
    lane = Lane("1", 0, 0, conf, PROFILES["cloud"].endpoint(conf.base_url, "1", "t"), alone(), 0.0)
    lane.follow_throughput(None, 0.0)
    assert lane.bucket.limit == lane.limit == Limit(40.0, 36.0)
    lane.follow_throughput("HIGH", 1.0)
    assert lane.bucket.limit == lane.limit == Limit(500.0, 450.0)
    assert (lane.in_flight_max, lane.gather_s) == (1000, GATHER_S)
    assert lane.bucket.tokens(1.0) == pytest.approx(36.0), "no more than it had, at first"
    lane.follow_throughput("STANDARD", 2.0)
    assert lane.bucket.limit == Limit(40.0, 36.0)


def test_an_upgrade_during_the_return_keeps_the_part() -> None:
    """Half of the new limit, if half of the old one was allowed."""
    conf = number()
    lane = Lane("1", 0, 0, conf, PROFILES["cloud"].endpoint(conf.base_url, "1", "t"), alone(), 0.0)
    lane.scopes.refused("number", "throttled", 0.0, 0.0, None, 0.0)
    lane.follow_factor(0.1)
    assert lane.bucket.limit.rate_per_s == 80.0, "in the spell nothing goes anyway"
    lane.scopes.answered(0.5, 5.0)
    lane.follow_factor(5.0)
    lane.follow_throughput("HIGH", 5.0)
    assert lane.bucket.limit.rate_per_s == 500.0


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        (number(rate_per_s=80, burst=80), Limit(1000.0, 900.0)),
        (number(rate_per_s=2000, burst=5000), Limit(2000.0, 4800.0)),
        (number(rate_per_s=20, burst=20), Limit(20.0, 18.0)),
        (number("360dialog"), Limit(1000.0, 900.0)),
        (number("v1"), Limit(50.0, 145.0)),
    ],
    ids=["explicit", "faster", "an operator's brake", "360dialog", "v1"],
)
def test_whom_an_upgrade_raises(conf: NumberSettings, expected: Limit) -> None:
    """Cloud numbers that use all of the standard throughput; a limit that was set lower stays."""
    assert limit_of(conf, "HIGH") == expected
