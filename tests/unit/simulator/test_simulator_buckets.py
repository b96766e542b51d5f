"""The referee's buckets: full at first, exact in refilling, honest in measuring."""

from __future__ import annotations

from pipeline.simulator.limits import NS_PER_S, Envelope, Limit, PairLimit, TokenBucket

V1 = Limit(50, 150)
INTERVAL_NS = NS_PER_S // 50


def test_bucket_starts_full_and_then_refuses() -> None:
    """A fresh bucket grants its burst at once and not one more."""
    bucket = TokenBucket(V1, 0)
    assert sum(bucket.take(0) for _ in range(400)) == 150


def test_bucket_refills_continuously_to_the_nanosecond() -> None:
    """The next token is there after exactly 1/rate, and not a nanosecond before."""
    bucket = TokenBucket(V1, 0)
    while bucket.take(0):
        pass
    assert bucket.wait_ns(0) == INTERVAL_NS
    assert not bucket.take(INTERVAL_NS - 1)
    assert bucket.take(INTERVAL_NS)


def test_bucket_refused_request_takes_nothing() -> None:
    """Knocking on an empty bucket does not delay the next token."""
    bucket = TokenBucket(V1, 0)
    while bucket.take(0):
        pass
    for t_ns in range(0, INTERVAL_NS, INTERVAL_NS // 10):
        assert not bucket.take(t_ns)
    assert bucket.take(INTERVAL_NS)


def test_bucket_never_holds_more_than_its_burst() -> None:
    """An hour of silence grants the burst, not an hour of tokens."""
    bucket = TokenBucket(V1, 0)
    hour_ns = 3600 * NS_PER_S
    assert sum(bucket.take(hour_ns) for _ in range(1000)) == 150


def test_bucket_paced_at_the_rate_is_never_refused() -> None:
    """Requests at exactly the rate all pass, also long after the burst is spent: nothing is lost to rounding."""
    bucket = TokenBucket(V1, 0)
    while bucket.take(0):
        pass
    assert all(bucket.take(number * INTERVAL_NS) for number in range(1, 5000))


def test_bucket_with_a_new_limit_keeps_its_level() -> None:
    """A change of the limit gives no fresh burst and cuts what is above the new one."""
    bucket = TokenBucket(Limit(50, 10), 0)
    while bucket.take(0):
        pass
    bucket.relimit(Limit(50, 100), 0)
    assert not bucket.take(0)
    full = TokenBucket(Limit(50, 100), 0)
    full.relimit(Limit(50, 3), 0)
    assert sum(full.take(0) for _ in range(10)) == 3


def test_envelope_within_the_burst_is_not_above_zero() -> None:
    """A burst of exactly the size allowed has an excess of 0, one less has −1."""
    envelope = Envelope(V1, 0)
    measured = [envelope.excess]
    for _ in range(150):
        envelope.arrive(0)
        measured.append(envelope.excess)
    assert measured[0] is None
    assert measured[-2:] == [-1, 0]


def test_envelope_keeps_the_worst_interval() -> None:
    """Ten too many in a moment stay on record after any silence."""
    envelope = Envelope(V1, 0)
    for _ in range(160):
        envelope.arrive(0)
    envelope.arrive(3600 * NS_PER_S)
    assert envelope.excess == 10


def test_envelope_sees_a_second_burst_too_soon() -> None:
    """Two full bursts a second apart exceed the envelope by 150 − 50."""
    envelope = Envelope(V1, 0)
    for t_ns in (0, NS_PER_S):
        for _ in range(150):
            envelope.arrive(t_ns)
    assert envelope.excess == 100


def test_pair_limit_is_per_sender_and_recipient() -> None:
    """A spent pair stops neither the sender's other recipients nor other senders."""
    pairs = PairLimit(Limit(1 / 6, 2))
    for _ in range(2):
        assert pairs.has_token("a", "ada", 0)
        pairs.take("a", "ada", 0)
    assert not pairs.has_token("a", "ada", 0)
    assert pairs.has_token("a", "bob", 0)
    assert pairs.has_token("b", "ada", 0)
    assert pairs.has_token("a", "ada", 7 * NS_PER_S)


def test_pair_limit_forgets_what_is_full_again_and_stays_bounded() -> None:
    """Pairs that owe nothing are dropped, and there are never more than the maximum."""
    pairs = PairLimit(Limit(1, 1), pairs_max=3)
    for number in range(10):
        pairs.take("a", str(number), 0)
    assert len(pairs) == 3
    pairs.take("a", "late", 10 * NS_PER_S)
    assert len(pairs) == 1
