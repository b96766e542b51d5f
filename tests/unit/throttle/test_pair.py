"""Unit tests of the pair buckets: one number to one recipient."""

import math

import pytest

from pipeline.throttle.pair import PairBuckets

ADA = "5511999990001"
BOB = "5511999990002"


def test_burst_then_one_per_interval() -> None:
    """After a rest 45 messages may go to one recipient, then one per 6 s."""
    pairs = PairBuckets(6.0, 45)
    for _ in range(45):
        assert pairs.wait_s(ADA, 100.0) == 0
        pairs.take(ADA, 100.0)
    assert pairs.wait_s(ADA, 100.0) == pytest.approx(6.0, rel=1e-5)
    assert pairs.wait_s(ADA, 106.0) == 0


def test_recipients_do_not_share() -> None:
    """What went to Ada does not slow down Bob."""
    pairs = PairBuckets(6.0, 1)
    pairs.take(ADA, 0.0)
    assert pairs.wait_s(ADA, 0.0) > 0
    assert pairs.wait_s(BOB, 0.0) == 0


def test_take_too_early() -> None:
    """A message that does not conform is a caller's error and spends nothing."""
    pairs = PairBuckets(6.0, 1)
    pairs.take(ADA, 0.0)
    with pytest.raises(ValueError, match="pair limit"):
        pairs.take(ADA, 5.0)
    assert pairs.wait_s(ADA, 6.0) == 0


def test_full_buckets_are_forgotten() -> None:
    """Memory follows the recipients of the last moments, not those of the whole campaign."""
    pairs = PairBuckets(6.0, 45)
    for i in range(10_000):
        pairs.take(str(i), i / 80)
        assert len(pairs) <= 2 * 6 * 80 + 2


def test_seed_accounts_for_earlier_owners() -> None:
    """A new owner waits as long as the old one would have."""
    old, new = PairBuckets(6.0, 3), PairBuckets(6.0, 3)
    times = [0.0, 1.0, 7.5, 8.0]
    for time_s in times:
        old.take(ADA, time_s)
    new.seed(ADA, reversed(times), 9.0)
    assert new.wait_s(ADA, 9.0) == pytest.approx(old.wait_s(ADA, 9.0))
    assert new.wait_s(ADA, 9.0) > 0


def test_seed_with_old_attempts_only() -> None:
    """Attempts whose tokens are back need no memory."""
    pairs = PairBuckets(6.0, 3)
    pairs.seed(ADA, [0.0, 1.0], 100.0)
    assert len(pairs) == 0
    assert pairs.wait_s(ADA, 100.0) == 0


def test_seed_from_the_future_counts_as_now() -> None:
    """An attempt that a clock ahead of ours stamped does not make anyone wait beyond the interval."""
    pairs = PairBuckets(6.0, 1)
    pairs.seed(ADA, [1000.0], 10.0)
    assert pairs.wait_s(ADA, 10.0) == pytest.approx(6.0, rel=1e-5)


def test_seed_beyond_the_burst_leaves_no_debt() -> None:
    """However many attempts there were, the next message waits for one interval only."""
    pairs = PairBuckets(6.0, 2)
    pairs.seed(ADA, [10.0] * 500, 10.0)
    assert pairs.wait_s(ADA, 10.0) == pytest.approx(6.0, rel=1e-5)


def test_beyond_capacity_the_others_share_one_bucket() -> None:
    """At the cap nobody is forgotten early: those who find no room wait for each other, those with room do not."""
    pairs = PairBuckets(6.0, 2, capacity=1)
    pairs.take(ADA, 0.0)
    pairs.take(BOB, 0.0)
    pairs.take("carla", 0.0)
    assert len(pairs) == 1
    assert pairs.wait_s(BOB, 0.0) == pytest.approx(6.0, rel=1e-5)
    assert pairs.wait_s("dario", 0.0) == pytest.approx(6.0, rel=1e-5)
    assert pairs.wait_s(ADA, 0.0) == 0


def test_after_the_rush_everybody_has_an_own_bucket_again() -> None:
    """Once the shared bucket is full again and there is room, recipients stop waiting for each other."""
    pairs = PairBuckets(6.0, 1, capacity=1)
    pairs.take(ADA, 0.0)
    pairs.take(BOB, 0.0)
    assert pairs.wait_s("carla", 6.0) == 0
    pairs.take("carla", 6.0)
    assert len(pairs) == 1
    assert pairs.wait_s("dario", 6.0) == 0


def test_room_at_the_cap_is_found_without_a_take() -> None:
    """Asking is enough to forget full buckets: a lane in which everybody waits does not stay in the shared bucket."""
    pairs = PairBuckets(6.0, 1, capacity=3)
    for name in ("a", "b", "c"):
        pairs.take(name, 0.0)
    pairs.wait_s("x", 7.0)
    assert len(pairs) == 1


@pytest.mark.parametrize(
    ("every_s", "burst", "capacity"), [(0, 1, 1), (-1, 1, 1), (math.inf, 1, 1), (math.nan, 1, 1), (6, 0, 1), (6, 1, 0)]
)
def test_impossible_arguments(every_s: float, burst: int, capacity: int) -> None:
    """A limit nobody could send under, or no memory at all, is refused."""
    with pytest.raises(ValueError, match="must be"):
        PairBuckets(every_s, burst, capacity)
