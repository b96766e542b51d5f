"""Whatever arrives when: the referee's bucket never lets more through than rate·t + burst, in any interval."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.simulator.limits import NS_PER_S, Envelope, Limit, TokenBucket

GAPS_NS = st.lists(
    st.one_of(st.just(0), st.integers(0, 50_000_000), st.integers(0, 5 * NS_PER_S)), min_size=1, max_size=30
)
LIMITS = st.builds(Limit, st.sampled_from([0.5, 7.0, 20.0, 50.0, 80.0, 1000.0]), st.integers(1, 20))


def _times(gaps_ns: list[int]) -> list[int]:
    times, now_ns = [], 0
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        times.append(now_ns)
    return times


def _worst(times: list[int], limit: Limit) -> Fraction:
    """The largest count − (burst + rate·t) over all intervals, by brute force."""
    rate = Fraction(limit.rate_per_s)
    return max(
        last - first + 1 - limit.burst - rate * (times[last] - times[first]) / NS_PER_S
        for first in range(len(times))
        for last in range(first, len(times))
    )


@settings(deadline=None)
@given(GAPS_NS, LIMITS)
def test_bucket_never_accepts_above_the_envelope(gaps_ns: list[int], limit: Limit) -> None:
    """No interval holds more accepted requests than rate·t + burst."""
    bucket = TokenBucket(limit, 0)
    accepted = [t_ns for t_ns in _times(gaps_ns) if bucket.take(t_ns)]
    assert accepted
    assert _worst(accepted, limit) <= 0


@settings(deadline=None)
@given(GAPS_NS, LIMITS)
def test_bucket_refuses_only_what_would_exceed(gaps_ns: list[int], limit: Limit) -> None:
    """Each refused request would have exceeded the envelope together with those accepted before."""
    bucket = TokenBucket(limit, 0)
    accepted: list[int] = []
    for t_ns in _times(gaps_ns):
        if bucket.take(t_ns):
            accepted.append(t_ns)
        else:
            assert _worst([*accepted, t_ns], limit) > 0


@settings(deadline=None)
@given(GAPS_NS, LIMITS)
def test_envelope_measures_the_worst_interval(gaps_ns: list[int], limit: Limit) -> None:
    """The excess computed arrival by arrival is that of the worst of all intervals."""
    envelope = Envelope(limit, 0)
    times = _times(gaps_ns)
    for t_ns in times:
        envelope.arrive(t_ns)
    assert envelope.excess is not None
    assert abs(envelope.excess - float(_worst(times, limit))) < 1e-9
