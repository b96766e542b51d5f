"""Unit tests of the order of service."""

import pytest

from pipeline.throttle.bucket import Bucket, Limit
from pipeline.throttle.priority import PRIORITIES, PriorityPolicy, bulk_reserve

LIMIT = Limit(50, 145)
URGENT, NORMAL, BULK = range(3)
ALL = (True, True, True)
ONLY_BULK = (False, False, True)


def policy_after_bulk(limit: Limit, now_s: float) -> PriorityPolicy:
    """Give a policy whose guaranteed share has just been used."""
    policy = PriorityPolicy(limit)
    policy.served(BULK, now_s)
    return policy


def test_names() -> None:
    """The indexes stand for the contract's priorities, first served first."""
    assert PRIORITIES == ("urgent", "normal", "bulk")


def test_urgent_before_normal_before_bulk() -> None:
    """Who waits in a higher priority goes first."""
    policy, bucket = policy_after_bulk(LIMIT, 0.0), Bucket(LIMIT, tokens=145, now_s=0.0)
    assert policy.choose(ALL, bucket, 0.0, 0) == URGENT
    assert policy.choose((False, True, True), bucket, 0.0, 0) == NORMAL
    assert policy.choose(ONLY_BULK, bucket, 0.0, 0) == BULK


def test_nobody_waits() -> None:
    """Without a message there is no choice and no wait."""
    policy, bucket = PriorityPolicy(LIMIT), Bucket(LIMIT, tokens=145, now_s=0.0)
    assert policy.choose((False, False, False), bucket, 0.0, 0) is None
    assert policy.wait_s((False, False, False), bucket, 0.0, 0) is None


def test_nobody_goes_without_a_token() -> None:
    """The guaranteed share of bulk ignores the reserve, but not the bucket."""
    policy, bucket = PriorityPolicy(LIMIT), Bucket(LIMIT, tokens=0.9, now_s=0.0)
    assert policy.choose(ALL, bucket, 0.0, 0) is None


def test_sends_spoken_for_count() -> None:
    """Tokens of sends that are on their way are not given a second time."""
    policy, bucket = policy_after_bulk(LIMIT, 0.0), Bucket(LIMIT, tokens=2, now_s=0.0)
    assert policy.choose((True, False, False), bucket, 0.0, 1) == URGENT
    assert policy.choose((True, False, False), bucket, 0.0, 2) is None


def test_bulk_leaves_a_reserve_for_urgent() -> None:
    """Below 11 tokens bulk waits, while a code goes."""
    policy, bucket = policy_after_bulk(LIMIT, 0.0), Bucket(LIMIT, tokens=10.5, now_s=0.0)
    assert policy.choose(ONLY_BULK, bucket, 0.0, 0) is None
    assert policy.choose((True, False, True), bucket, 0.0, 0) == URGENT
    assert policy.wait_s(ONLY_BULK, bucket, 0.0, 0) == pytest.approx(0.01, rel=1e-3)


def test_bulk_goes_first_when_its_share_is_due() -> None:
    """Bulk that was passed over for 0.4 s (5 % of 50/s) goes before urgent, once, and into the reserve if it must."""
    policy, bucket = policy_after_bulk(LIMIT, 0.0), Bucket(LIMIT, tokens=0, now_s=0.38)
    assert policy.choose(ALL, bucket, 0.399, 0) is None
    assert policy.choose(ALL, bucket, 0.41, 0) == BULK
    policy.served(BULK, 0.41)
    assert policy.choose(ALL, bucket, 0.41, 0) == URGENT


def test_a_burst_of_bulk_is_not_held_against_it() -> None:
    """After 100 bulk messages in the ordinary order, urgent traffic holds up the next one for 0.4 s, not for 40."""
    policy, bucket = PriorityPolicy(LIMIT), Bucket(LIMIT, tokens=145, now_s=0.0)
    for _ in range(100):
        assert policy.choose(ONLY_BULK, bucket, 0.0, 0) == BULK
        policy.served(BULK, 0.0)
        bucket.take(0.0)
    assert policy.choose(ALL, bucket, 0.39, 0) == URGENT
    assert policy.choose(ALL, bucket, 0.4, 0) == BULK


def test_only_bulk_counts_against_the_share() -> None:
    """Serving the others does not postpone bulk."""
    policy, bucket = policy_after_bulk(LIMIT, 0.0), Bucket(LIMIT, tokens=145, now_s=0.0)
    policy.served(URGENT, 0.3)
    policy.served(NORMAL, 0.3)
    assert policy.choose(ALL, bucket, 0.4, 0) == BULK


def test_idle_bulk_overtakes_once() -> None:
    """Bulk that comes up after an hour overtakes urgent once, not hundreds of times."""
    policy, bucket = policy_after_bulk(LIMIT, 0.0), Bucket(LIMIT, tokens=145, now_s=3600.0)
    served = 0
    while policy.choose(ALL, bucket, 3600.0, 0) == BULK:
        policy.served(BULK, 3600.0)
        served += 1
    assert served == 1


def test_wait_for_bulk_ends_with_its_share() -> None:
    """Bulk waits for its share or for the reserve to fill, whichever comes first."""
    slow = Limit(50, 145).scaled(0.1)
    policy, bucket = policy_after_bulk(slow, 0.0), Bucket(slow, tokens=0, now_s=3.9)
    assert policy.wait_s(ONLY_BULK, bucket, 3.9, 0) == pytest.approx(0.2, rel=1e-3)
    assert policy.choose(ONLY_BULK, bucket, 4.11, 0) == BULK


def test_wait_for_others_is_the_bucket_s() -> None:
    """Urgent waits for one token, whatever bulk may not touch."""
    policy, bucket = policy_after_bulk(LIMIT, 0.0), Bucket(LIMIT, tokens=0, now_s=0.0)
    assert policy.wait_s((True, False, True), bucket, 0.0, 0) == bucket.wait_s(0.0)


@pytest.mark.parametrize(
    ("limit", "reserve"),
    [
        (Limit(50, 145), 10.0),
        (Limit(80, 72), 7.2),
        (Limit(20, 58), 4.0),
        (Limit(1, 5), 1.0),
        (Limit(50, 2), 0.5),
        (Limit(50, 1), 0.0),
    ],
)
def test_reserve(limit: Limit, reserve: float) -> None:
    """The reserve is 0.2 s of the rate or a tenth of the burst, at least a token, and never what bulk itself needs."""
    assert bulk_reserve(limit) == pytest.approx(reserve)


def test_burst_of_one_works_for_bulk() -> None:
    """With a burst of 1 there is no reserve and bulk uses the whole rate."""
    limit = Limit(10, 1)
    policy, bucket = policy_after_bulk(limit, 0.0), Bucket(limit, tokens=1, now_s=0.0)
    assert policy.choose(ONLY_BULK, bucket, 0.0, 0) == BULK
    bucket.take(0.0)
    policy.served(BULK, 0.0)
    assert policy.wait_s(ONLY_BULK, bucket, 0.0, 0) == pytest.approx(0.1, rel=1e-5)
    assert policy.choose(ONLY_BULK, bucket, 0.1, 0) == BULK


def test_follows_the_bucket_s_limit() -> None:
    """When a halt has slowed the bucket down, reserve and share shrink with it, so that bulk still goes."""
    policy, bucket = policy_after_bulk(LIMIT, 0.0), Bucket(LIMIT, tokens=145, now_s=0.0)
    assert policy.choose(ONLY_BULK, bucket, 0.0, 0) == BULK
    bucket.set_limit(Limit(5, 5), 0.0)
    assert policy.choose(ONLY_BULK, bucket, 0.0, 0) == BULK
    bucket.set_limit(Limit(5, 1), 0.0)
    assert policy.wait_s(ONLY_BULK, bucket, 0.0, 0) == 0
