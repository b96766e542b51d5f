"""Properties of a halt: few probes, a quick return, never a wait for ever, and the true limit found."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.throttle.bucket import Bucket, Limit
from pipeline.throttle.halt import RETRY_AFTER_S_MAX, Halt, Open, Probe, Wait

jitters = st.floats(0, 1, exclude_max=True)
seeds = st.integers(0, 2**32)
latencies_s = st.floats(0.001, 0.3)


def run_spell(halt: Halt, start_s: float, length_s: float, latency_s: float, random: Random, says: bool) -> list[float]:
    """Send probes as soon as the halt lets us, to an API that refuses for `length_s`; give when they left."""
    end_s = start_s + length_s
    retry_after_s = length_s if says else None
    halt.refused(start_s, retry_after_s, random.random())
    now_s = start_s
    probes_s: list[float] = []
    for _ in range(1000):
        state = halt.state(now_s)
        if isinstance(state, Open):
            return probes_s
        if isinstance(state, Wait):
            now_s += state.seconds
            continue
        halt.probing(now_s)
        probes_s.append(now_s)
        arrives_s = now_s + latency_s / 2
        now_s += latency_s
        if arrives_s < end_s:
            halt.refused(now_s, end_s - arrives_s if says else None, random.random())
        else:
            halt.accepted(now_s)
    raise AssertionError("the halt never ended")


@given(seeds, st.floats(0, 1e6), latencies_s)
def test_few_probes_and_a_quick_return(seed: int, start_s: float, latency_s: float) -> None:
    """In a spell of 10 s at most 25 probes leave, and one is accepted within 1.5 s of its end plus the latency."""
    probes_s = run_spell(Halt(), start_s, 10.0, latency_s, Random(seed), says=False)
    assert len([p for p in probes_s if p < start_s + 10.0]) <= 25
    assert probes_s[-1] <= start_s + 10.0 + 1.5


@given(seeds, st.floats(0.5, 3600), latencies_s)
def test_a_spell_is_overstayed_by_an_eighth_of_its_length_at_most(seed: int, length_s: float, latency_s: float) -> None:
    """However long the API is closed, the first accepted probe follows in proportion, and within about a minute."""
    probes_s = run_spell(Halt(), 0.0, length_s, latency_s, Random(seed), says=False)
    assert probes_s[-1] - length_s <= min(60.0, max(0.6, length_s * 0.125)) + latency_s


@given(seeds, st.floats(0.5, 3000), latencies_s)
def test_with_retry_after_the_first_probe_comes_after_it(seed: int, length_s: float, latency_s: float) -> None:
    """If the API says when, nothing is sent before, and the first probe is accepted soon after."""
    probes_s = run_spell(Halt(), 0.0, length_s, latency_s, Random(seed), says=True)
    assert len(probes_s) == 1
    assert length_s <= probes_s[0] <= length_s + 0.3


events = st.lists(
    st.tuples(
        st.sampled_from(["refused", "retry_after", "accepted", "probing", "lost", "nothing"]),
        st.one_of(st.just(0.0), st.floats(0, 100)),
        st.one_of(st.floats(0, 7200), st.floats(allow_nan=True)),
        jitters,
    ),
    max_size=60,
)


@given(events)
def test_a_halt_never_waits_for_ever(history: list[tuple[str, float, float, float]]) -> None:
    """After any history the wait is bounded, and waiting as told leads to a probe or an open halt."""
    halt, now_s, probe_timeout_s = Halt(probe_timeout_s=20.0), 0.0, 20.0
    for what, gap_s, retry_after_s, jitter in history:
        now_s += gap_s
        match what:
            case "refused":
                halt.refused(now_s, None, jitter)
            case "retry_after":
                halt.refused(now_s, retry_after_s, jitter)
            case "accepted":
                halt.accepted(now_s)
            case "probing":
                halt.probing(now_s)
            case "lost":
                halt.probe_lost(now_s)
        state = halt.state(now_s)
        assert halt.is_halted(now_s) == (halt.since_s is not None)
        if isinstance(state, Open):
            assert 0 < state.factor <= 1
        if isinstance(state, Wait):
            assert 0 < state.seconds <= max(probe_timeout_s, RETRY_AFTER_S_MAX + 1)
            assert halt.state(now_s + state.seconds) == Probe()


@given(events)
def test_only_one_probe_at_a_time(history: list[tuple[str, float, float, float]]) -> None:
    """Until its verdict or time-out, a probe that left keeps every other request back."""
    halt, now_s = Halt(probe_timeout_s=20.0), 0.0
    for what, gap_s, _, jitter in history:
        now_s += gap_s
        if what == "accepted":
            halt.accepted(now_s)
        else:
            halt.refused(now_s, None, jitter)
        if halt.state(now_s + 60.0) == Probe():
            halt.probing(now_s + 60.0)
            assert isinstance(halt.state(now_s + 60.0), Wait)
            assert isinstance(halt.state(now_s + 79.9), Wait)
            now_s += 60.0


@given(st.lists(st.tuples(st.floats(0.1, 60), st.floats(0.01, 20)), max_size=30), jitters)
def test_the_rate_comes_back_within_five_seconds(spells: list[tuple[float, float]], jitter: float) -> None:
    """After any series of spells: at least half of what will be, then rising, and all of it from 5 s on."""
    halt, now_s = Halt(), 0.0
    for gap_s, length_s in spells:
        now_s += gap_s
        halt.refused(now_s, None, jitter)
        now_s += length_s
        halt.accepted(now_s)
        states = [halt.state(now_s + i * 0.25) for i in range(40)]
        factors = [state.factor for state in states if isinstance(state, Open)]
        assert len(factors) == 40
        assert factors == sorted(factors)
        assert any(abs(factors[0] - factors[-1] * start) < 1e-9 for start in (0.5, 0.9))
        assert factors[21] == factors[-1]
        # The halt was asked about these seconds ahead, so they have passed.
        now_s += 10.0


@settings(deadline=None, max_examples=15)
@given(seeds, st.floats(0.3, 0.9))
def test_a_lower_true_limit_is_found(seed: int, part: float) -> None:
    """If the API allows less than configured, refusals become rare and most of what it allows is used."""
    random, configured = Random(seed), Limit(50, 20)
    api = Bucket(Limit(50 * part, 20), tokens=20, now_s=0.0)
    ours, halt = Bucket(configured, tokens=20, now_s=0.0), Halt()
    now_s, accepted, refused = 0.0, 0, 0
    while now_s < 600.0:
        state = halt.state(now_s)
        if isinstance(state, Wait):
            now_s += state.seconds
            continue
        if isinstance(state, Open):
            ours.set_limit(configured.scaled(state.factor), now_s)
        else:
            halt.probing(now_s)
        if not ours.has(now_s):
            now_s += ours.wait_s(now_s)
            continue
        ours.take(now_s)
        counts = now_s >= 300.0
        if api.has(now_s):
            api.take(now_s)
            halt.accepted(now_s)
            accepted += counts
        else:
            halt.refused(now_s, None, random.random())
            refused += counts
    assert refused <= 300 / 4
    assert accepted >= 0.75 * 300 * 50 * part
