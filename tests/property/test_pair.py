"""Properties of the pair buckets: nobody gets more than the pair limit, at any size of memory."""

import math
from collections import defaultdict
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.throttle.pair import PairBuckets

EVERY_S = 6.0
recipients = st.sampled_from([f"55119999{i:05d}" for i in range(12)])
tries = st.lists(st.tuples(recipients, st.one_of(st.just(0.0), st.floats(0, 20))), max_size=120)


def assert_conforms(times_s: list[float], burst: int) -> None:
    """Check every interval of one recipient that begins and ends with a message."""
    for i, first_s in enumerate(times_s):
        for j in range(i, len(times_s)):
            assert j - i + 1 <= burst + (times_s[j] - first_s) / EVERY_S + 1e-3


@given(tries, st.integers(1, 45), st.integers(1, 20))
def test_no_recipient_gets_more_than_the_limit(attempts: list[tuple[str, float]], burst: int, capacity: int) -> None:
    """Whatever the order, the pauses and the memory, each recipient stays within one per 6 s plus the burst."""
    pairs = PairBuckets(EVERY_S, burst, capacity)
    now_s = 0.0
    sent: defaultdict[str, list[float]] = defaultdict(list)
    for recipient, gap_s in attempts:
        now_s += gap_s
        if pairs.wait_s(recipient, now_s) == 0:
            pairs.take(recipient, now_s)
            sent[recipient].append(now_s)
        assert len(pairs) <= capacity
    for times_s in sent.values():
        assert_conforms(times_s, burst)


@given(tries, st.integers(1, 45))
def test_with_room_nobody_waits_longer_than_alone(attempts: list[tuple[str, float]], burst: int) -> None:
    """Below the cap a recipient's wait depends on that recipient's messages only, though full buckets are forgotten."""
    together = PairBuckets(EVERY_S, burst)
    alone: defaultdict[str, PairBuckets] = defaultdict(lambda: PairBuckets(EVERY_S, burst))
    now_s = 0.0
    for recipient, gap_s in attempts:
        now_s += gap_s
        wait_s = together.wait_s(recipient, now_s)
        assert wait_s == alone[recipient].wait_s(recipient, now_s)
        if wait_s == 0:
            together.take(recipient, now_s)
            alone[recipient].take(recipient, now_s)


@given(tries, st.integers(1, 5), st.integers(1, 20))
def test_the_wait_is_enough_and_bounded(attempts: list[tuple[str, float]], burst: int, capacity: int) -> None:
    """Whoever waits as told may send, and no wait is longer than one interval, at the cap, too."""
    pairs = PairBuckets(EVERY_S, burst, capacity)
    now_s = 1000.0
    for recipient, gap_s in attempts:
        now_s += gap_s
        wait_s = pairs.wait_s(recipient, now_s)
        assert 0 <= wait_s <= EVERY_S + 1e-6
        now_s += wait_s
        pairs.take(recipient, now_s)


@given(
    st.lists(st.floats(0, 300), max_size=60),
    st.integers(1, 45),
    st.randoms(use_true_random=False),
    st.integers(1, 3),
)
def test_a_new_owner_knows_what_the_old_one_sent(
    gaps_s: list[float], burst: int, shuffle: Random, capacity: int
) -> None:
    """Seeded with the attempts in any order, the new buckets let no message go before the old ones would."""
    old, new = PairBuckets(EVERY_S, burst), PairBuckets(EVERY_S, burst, capacity)
    now_s = 0.0
    sent: list[float] = []
    for gap_s in gaps_s:
        now_s += gap_s / 30
        if old.wait_s("ada", now_s) == 0:
            old.take("ada", now_s)
            sent.append(now_s)
    shuffled = sent.copy()
    shuffle.shuffle(shuffled)
    for i in range(capacity):
        new.seed(f"other-{i}", [now_s], now_s)
    new.seed("ada", shuffled, now_s)
    assert new.wait_s("ada", now_s) >= old.wait_s("ada", now_s) - 1e-9
    assert math.isfinite(new.wait_s("ada", now_s))
