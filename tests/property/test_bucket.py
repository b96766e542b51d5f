"""Properties of the token bucket: the API's limit holds over every interval, and none of it is wasted."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.throttle.bucket import Bucket, Limit, inherited_tokens, seconds_until

TOLERANCE_SENDS = 1e-3

rates = st.floats(0.1, 1000)
bursts = st.floats(1, 200)
limits = st.builds(Limit, rates, bursts)
starts_s = st.floats(0, 1e6)
gaps_s = st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 10))


def greedy(bucket: Bucket, now_s: float, sends: int) -> list[float]:
    """Send as soon as the bucket lets us, and give the moments."""
    taken_s = []
    for _ in range(sends):
        now_s += bucket.wait_s(now_s)
        bucket.take(now_s)
        taken_s.append(now_s)
    return taken_s


def assert_conforms(taken_s: list[float], limit: Limit) -> None:
    """Check every interval that begins and ends with a send: for all i ≤ j, j - i + 1 ≤ burst + rate · (t_j - t_i)."""
    lowest = math.inf
    for i, time_s in enumerate(taken_s):
        ahead = i - limit.rate_per_s * (time_s - taken_s[0])
        lowest = min(lowest, ahead)
        assert ahead - lowest + 1 <= limit.burst + TOLERANCE_SENDS


@given(limits, st.floats(0, 1), starts_s, st.lists(gaps_s, max_size=60))
def test_no_interval_exceeds_rate_and_burst(limit: Limit, part: float, start_s: float, gaps: list[float]) -> None:
    """Whenever sends are tried, those which conform never exceed rate · t + burst, in no interval."""
    bucket = Bucket(limit, tokens=limit.burst * part, now_s=start_s)
    now_s = start_s
    taken_s: list[float] = []
    for gap_s in gaps:
        now_s += gap_s
        while bucket.has(now_s) and len(taken_s) < 200:
            bucket.take(now_s)
            taken_s.append(now_s)
    assert_conforms(taken_s, limit)


@given(limits, starts_s, st.lists(st.floats(-5, 5), max_size=60))
def test_a_clock_that_steps_back_makes_no_token(limit: Limit, start_s: float, steps_s: list[float]) -> None:
    """With readings that go back, the limit still holds on the clock of the newest reading."""
    bucket = Bucket(limit, tokens=limit.burst, now_s=start_s)
    now_s, newest_s = start_s, start_s
    taken_s: list[float] = []
    for step_s in steps_s:
        now_s = max(0.0, now_s + step_s)
        while bucket.has(now_s) and len(taken_s) < 200:
            newest_s = max(newest_s, now_s)
            bucket.take(now_s)
            taken_s.append(newest_s)
    assert_conforms(taken_s, limit)


@given(st.lists(st.tuples(limits, st.floats(0, 2), st.integers(0, 20)), min_size=1, max_size=8), starts_s)
def test_changing_limits_grant_no_more_than_each_does(phases: list[tuple[Limit, float, int]], start_s: float) -> None:
    """Over any interval, sends stay within the burst at its beginning plus what the rates since then gave."""
    bucket = Bucket(phases[0][0], tokens=phases[0][0].burst, now_s=start_s)
    now_s, earned = start_s, 0.0
    sends: list[tuple[float, float]] = []
    for limit, length_s, tries in phases:
        bucket.set_limit(limit, now_s)
        for _ in range(tries):
            while bucket.has(now_s) and len(sends) < 200:
                bucket.take(now_s)
                sends.append((earned, limit.burst))
            now_s += length_s / tries
            earned += limit.rate_per_s * length_s / tries
    allowed = math.inf
    for i, (earned_before, burst) in enumerate(sends):
        allowed = min(allowed, burst - earned_before + i)
        assert i + 1 <= allowed + earned_before + TOLERANCE_SENDS


@given(limits, limits, st.floats(0, 1), starts_s, gaps_s)
def test_a_change_of_limit_keeps_the_tokens(old: Limit, new: Limit, part: float, start_s: float, gap_s: float) -> None:
    """The tokens before are the tokens after, capped by the new burst."""
    bucket = Bucket(old, tokens=old.burst * part, now_s=start_s)
    held = bucket.tokens(start_s + gap_s)
    bucket.set_limit(new, start_s + gap_s)
    assert math.isclose(bucket.tokens(start_s + gap_s), min(held, new.burst), abs_tol=TOLERANCE_SENDS)


@given(limits, st.floats(0, 1), starts_s, st.integers(1, 300))
def test_a_greedy_sender_uses_every_token(limit: Limit, part: float, start_s: float, sends: int) -> None:
    """Whoever always has work sends the tokens it began with at once, and then exactly the rate."""
    tokens = limit.burst * part
    taken_s = greedy(Bucket(limit, tokens=tokens, now_s=start_s), start_s, sends)
    due_s = start_s + max(0.0, (sends - tokens) / limit.rate_per_s)
    assert abs(taken_s[-1] - due_s) * limit.rate_per_s <= TOLERANCE_SENDS


@given(limits, st.floats(0, 1), starts_s, gaps_s, st.floats(0, 1), st.integers(0, 5))
def test_the_wait_is_exact(
    limit: Limit, part: float, start_s: float, gap_s: float, reserved: float, spoken_for: int
) -> None:
    """After the wait a send conforms; a hundredth of a token before it does not; without a wait it does now."""
    reserve = reserved * max(0.0, limit.burst - 1 - spoken_for)
    spoken_for = min(spoken_for, int(limit.burst) - 1)
    bucket = Bucket(limit, tokens=limit.burst * part, now_s=start_s)
    now_s = start_s + gap_s
    wait_s = bucket.wait_s(now_s, reserve, spoken_for)
    assert 0 <= wait_s < math.inf
    assert (wait_s == 0) == bucket.has(now_s, reserve, spoken_for)
    assert bucket.has(now_s + wait_s, reserve, spoken_for)
    early_s = wait_s - 0.01 / limit.rate_per_s
    if early_s > 0:
        assert not bucket.has(now_s + early_s, reserve, spoken_for)


@given(limits, st.floats(0, 1), starts_s, st.integers(0, 20))
def test_sends_spoken_for_find_their_tokens(limit: Limit, part: float, start_s: float, spoken_for: int) -> None:
    """If one more send conforms after n others, then all n + 1 conform, whichever leaves first."""
    bucket = Bucket(limit, tokens=limit.burst * part, now_s=start_s)
    if bucket.has(start_s, 0.0, spoken_for):
        for _ in range(spoken_for + 1):
            bucket.take(start_s)
    else:
        assert bucket.tokens(start_s) < spoken_for + 1


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_waiting_as_told_reaches_the_moment(due_s: float, now_s: float) -> None:
    """The wait, added to the reading in floats, is never short of the moment and hardly beyond it."""
    wait_s = seconds_until(due_s, now_s)
    assert now_s + wait_s >= due_s
    assert wait_s == 0 or wait_s <= due_s - now_s + math.ulp(due_s)


@given(
    limit=limits,
    part=st.floats(0, 1),
    sends=st.integers(1, 150),
    pause_s=st.floats(0, 5),
    more=st.integers(1, 150),
    slack_s=st.floats(0, 1),
    late=st.floats(0, 1),
)
def test_a_new_owner_never_exceeds_what_the_old_one_left(
    limit: Limit, part: float, sends: int, pause_s: float, more: int, slack_s: float, late: float
) -> None:
    """Old and new owner together stay within the limit, though the last stamp may be early by up to the slack."""
    old = Bucket(limit, tokens=limit.burst * part, now_s=1000.0)
    taken_s = greedy(old, 1000.0, sends)
    opened_s = taken_s[-1] + pause_s
    tokens = inherited_tokens(
        last_attempt_s=taken_s[-1] - slack_s * late, opened_s=opened_s, limit=limit, slack_s=slack_s
    )
    assert tokens <= old.tokens(opened_s) + TOLERANCE_SENDS
    assert_conforms(taken_s + greedy(Bucket(limit, tokens=tokens, now_s=opened_s), opened_s, more), limit)


@given(st.floats(0.1, 100), st.integers(1, 16), st.floats(1, 10))
def test_lanes_together_have_the_number_s_limit(rate: float, shards: int, burst_each: float) -> None:
    """The lanes of a number never sum up to more than the number has."""
    part = Limit(rate, burst_each * shards).shared(shards)
    assert part.rate_per_s * shards == pytest.approx(rate)
    assert part.burst * shards == pytest.approx(burst_each * shards)


@given(limits, st.floats(0, 0.2), st.lists(st.tuples(gaps_s, st.floats(0, 1)), min_size=1, max_size=100))
def test_the_margin_absorbs_jitter(limit: Limit, jitter_s: float, sends: list[tuple[float, float]]) -> None:
    """Requests that leave within the smaller burst arrive within the whole one, each delayed by up to the jitter."""
    inner = limit.less_margin(jitter_s)
    if inner.burst == 1.0:
        return
    bucket = Bucket(inner, tokens=inner.burst, now_s=100.0)
    now_s, arrived_s = 100.0, []
    for gap_s, delay in sends:
        now_s += gap_s + bucket.wait_s(now_s + gap_s)
        bucket.take(now_s)
        arrived_s.append(now_s + delay * jitter_s)
    arrived_s.sort()
    assert all(a <= b for a, b in pairwise(arrived_s))
    assert_conforms(arrived_s, limit)
