"""Unit tests of halt, probe and return."""

import math

import pytest

from pipeline.throttle.halt import Halt, Open, Probe, State, Wait


def factor_of(state: State) -> float:
    """Give the factor of an open halt."""
    assert isinstance(state, Open)
    return state.factor


def seconds_of(state: State) -> float:
    """Give the wait of a halt that lets nothing go."""
    assert isinstance(state, Wait)
    return state.seconds


def spell(halt: Halt, start_s: float, end_s: float) -> None:
    """Have the halt go through one spell with a refusal at its start and an acceptance at its end."""
    halt.refused(start_s, None, 0.0)
    halt.accepted(end_s)


def test_starts_open() -> None:
    """Before any refusal the full rate may go."""
    halt = Halt()
    assert halt.state(0.0) == Open(1.0)
    assert halt.since_s is None
    assert not halt.is_halted(0.0)


def test_refusal_halts() -> None:
    """After one refusal nothing goes for half a second, then exactly one probe."""
    halt = Halt()
    halt.refused(100.0, None, 0.0)
    assert halt.since_s == 100.0
    assert halt.is_halted(100.0)
    assert seconds_of(halt.state(100.0)) == pytest.approx(0.5)
    assert halt.state(100.5) == Probe()
    assert halt.is_halted(100.5)
    halt.probing(100.5)
    assert isinstance(halt.state(100.5), Wait)


def test_probe_interval_grows_with_the_spell() -> None:
    """100 s into a spell, the next probe is 10 s away; the spell's beginning stays."""
    halt = Halt()
    halt.refused(0.0, None, 0.0)
    halt.refused(100.0, None, 0.0)
    assert halt.since_s == 0.0
    assert seconds_of(halt.state(100.0)) == pytest.approx(10.0)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999999])
def test_probe_interval_stays_within_its_bounds(jitter: float) -> None:
    """Whatever age and jitter, probes are between 0.5 s and 60 s apart."""
    halt = Halt()
    halt.refused(0.0, None, jitter)
    assert 0.5 <= seconds_of(halt.state(0.0)) <= 0.6
    halt.refused(86_400.0, None, jitter)
    assert 50.0 <= seconds_of(halt.state(86_400.0)) <= 60.0


def test_jitter_spreads_probes() -> None:
    """Lanes with different random numbers probe at different times."""
    early, late = Halt(), Halt()
    early.refused(0.0, None, 0.1)
    late.refused(0.0, None, 0.9)
    assert seconds_of(early.state(0.0)) < seconds_of(late.state(0.0))


def test_retry_after_is_honoured() -> None:
    """With Retry-After the first probe comes after it, and soon after it."""
    halt = Halt()
    halt.refused(0.0, 7.0, 0.999)
    assert isinstance(halt.state(6.999), Wait)
    assert halt.state(7.25) == Probe()


def test_stragglers_do_not_shorten_retry_after() -> None:
    """A refusal of a request that was in flight when the spell began never brings the probe forward."""
    halt = Halt()
    halt.refused(0.0, 30.0, 0.0)
    halt.refused(0.1, None, 0.0)
    halt.refused(0.2, 1.0, 0.0)
    assert isinstance(halt.state(29.9), Wait)
    assert halt.state(30.0) == Probe()


@pytest.mark.parametrize("retry_after_s", [0.0, -5.0, math.nan])
def test_retry_after_that_asks_for_nothing(retry_after_s: float) -> None:
    """A Retry-After in the past, as an HTTP date may be, counts as none."""
    halt = Halt()
    halt.refused(0.0, retry_after_s, 0.0)
    assert seconds_of(halt.state(0.0)) == pytest.approx(0.5)


def test_tiny_retry_after_does_not_make_a_flood() -> None:
    """Probes are never closer than half a second, even if the API says so."""
    halt = Halt()
    halt.refused(0.0, 0.01, 0.0)
    assert seconds_of(halt.state(0.0)) == pytest.approx(0.5)


@pytest.mark.parametrize("retry_after_s", [1e9, math.inf])
def test_absurd_retry_after_is_cut(retry_after_s: float) -> None:
    """No answer of the API stops a number for more than an hour without a probe."""
    halt = Halt()
    halt.refused(0.0, retry_after_s, 0.5)
    assert halt.state(3601.0) == Probe()


def test_unanswered_probe_counts_as_lost() -> None:
    """A probe that never comes back holds the scope for its time-out and no longer."""
    halt = Halt(probe_timeout_s=20.0)
    halt.refused(0.0, None, 0.0)
    halt.probing(0.5)
    assert seconds_of(halt.state(0.5)) == pytest.approx(20.0)
    assert halt.state(20.5) == Probe()
    halt.probing(20.5)
    assert isinstance(halt.state(20.5), Wait)


def test_lost_probe_is_followed_soon() -> None:
    """A probe that was voided is repeated a quarter of a second later, not an interval."""
    halt = Halt()
    halt.refused(0.0, None, 0.0)
    halt.refused(100.0, None, 0.0)
    halt.probing(110.0)
    halt.probe_lost(110.0)
    assert seconds_of(halt.state(110.0)) == pytest.approx(0.25)


def test_lost_probe_without_one() -> None:
    """News of a probe that a refusal has overtaken changes nothing."""
    halt = Halt()
    halt.probe_lost(0.0)
    halt.probing(0.0)
    assert halt.state(0.0) == Open(1.0)
    halt.refused(1.0, None, 0.0)
    halt.probe_lost(1.4)
    assert halt.state(1.5) == Probe()


def test_refused_probe_prolongs_the_spell() -> None:
    """After a refused probe the halt waits for its next interval."""
    halt = Halt()
    halt.refused(0.0, None, 0.0)
    halt.probing(0.5)
    halt.refused(0.6, None, 0.0)
    assert seconds_of(halt.state(0.6)) == pytest.approx(0.5)


def test_rate_comes_back_at_half_and_is_full_after_five_seconds() -> None:
    """After a spell the factor rises from a half to one within 5 s, never falling."""
    halt = Halt()
    spell(halt, 0.0, 10.0)
    assert not halt.is_halted(10.0)
    assert halt.since_s is None
    factors = [factor_of(halt.state(10.0 + i / 10)) for i in range(52)]
    assert factors[0] == 0.5
    assert factors[25] == pytest.approx(0.75)
    assert factors == sorted(factors)
    assert factors[-1] == 1.0


def test_acceptance_without_a_spell() -> None:
    """An ordinary success does not slow anything down."""
    halt = Halt()
    halt.accepted(5.0)
    assert halt.state(5.0) == Open(1.0)


def test_refused_again_within_the_ramp() -> None:
    """A refusal while the rate comes back halts again, and the ramp starts over."""
    halt = Halt()
    spell(halt, 0.0, 10.0)
    spell(halt, 13.0, 20.0)
    assert factor_of(halt.state(20.0)) == 0.5


def test_retry_after_of_one_spell_is_not_that_of_the_next() -> None:
    """A spell that ended early leaves no wait behind."""
    halt = Halt()
    halt.refused(0.0, 600.0, 0.0)
    halt.accepted(1.0)
    halt.refused(100.0, None, 0.0)
    assert halt.state(100.5) == Probe()


def test_long_spells_do_not_lower_the_ceiling() -> None:
    """An API that closes now and then has no lower limit: the rate comes back whole."""
    halt = Halt()
    for start_s in (0.0, 20.0, 40.0):
        spell(halt, start_s, start_s + 10.0)
    assert factor_of(halt.state(56.0)) == 1.0


def test_rare_short_spells_do_not_lower_the_ceiling() -> None:
    """A short spell every minute is noise, not a limit."""
    halt = Halt()
    for start_s in (0.0, 60.0, 120.0):
        spell(halt, start_s, start_s + 0.5)
    assert factor_of(halt.state(126.0)) == 1.0


def test_short_spells_in_a_row_lower_the_ceiling() -> None:
    """Each short spell that follows on a short one takes 5 % of the ceiling; the return begins close to that."""
    halt = Halt()
    for start_s in (0.0, 8.0, 16.0):
        spell(halt, start_s, start_s + 0.5)
    assert factor_of(halt.state(16.5)) == pytest.approx(0.95**2 * 0.9)
    state = halt.state(22.0)
    assert isinstance(state, Open)
    assert [state.factor, state.ceiling] == pytest.approx([0.95**2, 0.95**2])


def test_a_long_spell_after_short_ones_ends_at_half() -> None:
    """Short spells speak of a lower limit, a long one of an API that was away."""
    halt = Halt()
    for start_s, length_s in ((0.0, 0.5), (8.0, 0.5), (16.0, 5.0)):
        spell(halt, start_s, start_s + length_s)
    assert factor_of(halt.state(21.0)) == pytest.approx(0.95**2 / 2)


def test_ceiling_has_a_floor() -> None:
    """However long refusals and successes interleave, a tenth of the rate is left."""
    halt = Halt()
    for i in range(200):
        spell(halt, i * 6.0, i * 6.0 + 0.5)
    assert factor_of(halt.state(1200.0)) == pytest.approx(0.1)


def test_ceiling_creeps_up_when_it_is_quiet() -> None:
    """Ten seconds without a refusal give one percent back, until the whole rate is reached, and no more."""
    halt = Halt()
    for start_s in (0.0, 8.0, 16.0):
        spell(halt, start_s, start_s + 0.5)
    assert factor_of(halt.state(26.4)) == pytest.approx(0.95**2)
    assert factor_of(halt.state(26.6)) == pytest.approx(0.95**2 + 0.01)
    assert factor_of(halt.state(37.0)) == pytest.approx(0.95**2 + 0.02)
    assert factor_of(halt.state(216.0)) == 1.0
    assert factor_of(halt.state(9999.0)) == 1.0


def test_next_spell_keeps_what_quiet_has_given_back() -> None:
    """A ceiling that has crept up falls from where it is, not from where it was."""
    halt = Halt()
    for start_s in (0.0, 8.0):
        spell(halt, start_s, start_s + 0.5)
    spell(halt, 8.5 + 25.0, 34.0)
    assert factor_of(halt.state(40.0)) == pytest.approx((0.95 + 0.02) * 0.95)


@pytest.mark.parametrize("probe_timeout_s", [0.0, -1.0, math.inf, math.nan])
def test_impossible_probe_timeout(probe_timeout_s: float) -> None:
    """A probe must be given some time, and not for ever."""
    with pytest.raises(ValueError, match="probe_timeout_s"):
        Halt(probe_timeout_s=probe_timeout_s)
