"""Properties of the order of service: bulk has its share, urgent does not wait for bulk, nothing is wasted."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.throttle.bucket import Bucket, Limit
from pipeline.throttle.priority import BULK_SHARE, PriorityPolicy, bulk_reserve

URGENT, NORMAL, BULK = range(3)
limits = st.builds(Limit, st.floats(1, 200), st.floats(1, 200))
masks = st.tuples(st.booleans(), st.booleans(), st.booleans())


def serve(
    policy: PriorityPolicy, bucket: Bucket, waiting: tuple[bool, bool, bool], now_s: float, until_s: float
) -> tuple[list[int], float]:
    """Serve an endless backlog until `until_s`, as soon as it may go; give the served and the next free moment."""
    served: list[int] = []
    while True:
        index = policy.choose(waiting, bucket, now_s, 0)
        if index is None:
            wait_s = policy.wait_s(waiting, bucket, now_s, 0)
            assert wait_s is not None
            assert wait_s > 0
            if now_s + wait_s > until_s:
                return served, now_s
            now_s += wait_s
            continue
        assert waiting[index]
        bucket.take(now_s)
        policy.served(index, now_s)
        served.append(index)


@settings(deadline=None)
@given(limits, st.floats(0, 1), masks)
def test_every_backlog_uses_the_whole_rate(limit: Limit, part: float, waiting: tuple[bool, bool, bool]) -> None:
    """Whoever waits, all tokens but bulk's reserve are used."""
    assume(any(waiting))
    policy, bucket = PriorityPolicy(limit), Bucket(limit, tokens=limit.burst * part, now_s=10.0)
    length_s = 100 / limit.rate_per_s
    served, _ = serve(policy, bucket, waiting, 10.0, 10.0 + length_s)
    assert len(served) >= limit.burst * part + 100 - bulk_reserve(limit) - 1.001
    assert len(served) <= limit.burst * part + 100.001


@settings(deadline=None)
@given(limits, st.floats(0, 1), st.booleans(), st.integers(40, 400))
def test_bulk_gets_its_share(limit: Limit, part: float, with_normal: bool, tokens: int) -> None:
    """While urgent messages fill the rate for ever, one in twenty is a bulk one, to within one."""
    policy, bucket = PriorityPolicy(limit), Bucket(limit, tokens=limit.burst * part, now_s=10.0)
    length_s = tokens / limit.rate_per_s
    served, _ = serve(policy, bucket, (True, with_normal, True), 10.0, 10.0 + length_s)
    assert abs(served.count(BULK) - BULK_SHARE * tokens) <= 2
    assert NORMAL not in served


@settings(deadline=None)
@given(limits, st.floats(0, 1), st.floats(0.1, 20))
def test_urgent_never_waits_for_a_token_while_bulk_flows(limit: Limit, part: float, flow: float) -> None:
    """A code that comes up while bulk uses the limit goes at once, and so do as many as the reserve holds."""
    assume(limit.burst >= 3)
    policy, bucket = PriorityPolicy(limit), Bucket(limit, tokens=limit.burst * part, now_s=10.0)
    _, now_s = serve(policy, bucket, (False, False, True), 10.0, 10.0 + (60 + flow) / limit.rate_per_s)
    # Both decisions round in favour of the sender, by a millionth of a token each.
    now_s += 1e-5 / limit.rate_per_s
    for _ in range(int(bulk_reserve(limit))):
        assert policy.choose((True, True, True), bucket, now_s, 0) == URGENT
        bucket.take(now_s)
        policy.served(URGENT, now_s)


@given(limits, st.lists(st.tuples(masks, st.floats(0, 2), st.integers(0, 3)), max_size=80), st.floats(0.05, 1))
def test_the_wait_leads_to_a_choice(
    limit: Limit, moments: list[tuple[tuple[bool, bool, bool], float, int]], factor: float
) -> None:
    """Without a wait somebody may go, after the wait somebody may go, and who may go is somebody who waits."""
    policy, bucket = PriorityPolicy(limit), Bucket(limit, tokens=limit.burst, now_s=0.0)
    now_s = 0.0
    for i, (waiting, gap, spoken_for) in enumerate(moments):
        now_s += gap * 3 / limit.rate_per_s
        if i == 20:
            bucket.set_limit(limit.scaled(factor), now_s)
        fits = min(spoken_for, int(bucket.limit.burst - 1 - bulk_reserve(bucket.limit)))
        index = policy.choose(waiting, bucket, now_s, fits)
        wait_s = policy.wait_s(waiting, bucket, now_s, fits)
        if wait_s is None:
            assert index is None
            assert not any(waiting)
            continue
        assert (index is None) == (wait_s > 0)
        now_s += wait_s
        index = policy.choose(waiting, bucket, now_s, fits)
        assert index is not None
        assert waiting[index]
        policy.served(index, now_s)
        bucket.take(now_s)


@given(limits, st.floats(0, 1), st.lists(masks, max_size=60))
def test_order_of_service(limit: Limit, part: float, moments: list[tuple[bool, bool, bool]]) -> None:
    """Normal never goes while urgent waits; only bulk overtakes, and never twice within half its interval."""
    policy, bucket = PriorityPolicy(limit), Bucket(limit, tokens=limit.burst * part, now_s=0.0)
    now_s, overtook_s = 0.0, -1e9
    for waiting in moments:
        wait_s = policy.wait_s(waiting, bucket, now_s, 0)
        if wait_s is None:
            continue
        now_s += wait_s
        index = policy.choose(waiting, bucket, now_s, 0)
        assert index is not None
        assert not (index == NORMAL and waiting[URGENT])
        if index == BULK and (waiting[URGENT] or waiting[NORMAL]):
            assert now_s - overtook_s >= 0.499 / (BULK_SHARE * limit.rate_per_s)
            overtook_s = now_s
        policy.served(index, now_s)
        bucket.take(now_s)
