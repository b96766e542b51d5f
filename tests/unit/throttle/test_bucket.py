"""Unit tests of the token bucket: what a lane may send at once, when the next token comes, what an owner inherits."""

import math

import pytest

from pipeline.throttle.bucket import Bucket, Limit, inherited_tokens, seconds_until

V1 = Limit(50, 150)


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_limit_with_impossible_rate(rate: float) -> None:
    """A rate that is not a finite number above 0 is refused."""
    with pytest.raises(ValueError, match="rate_per_s"):
        Limit(rate, 10)


@pytest.mark.parametrize("burst", [0, 0.99, math.inf, math.nan])
def test_limit_with_impossible_burst(burst: float) -> None:
    """A burst below one send, or without an end, is refused."""
    with pytest.raises(ValueError, match="burst"):
        Limit(1, burst)


def test_margin_of_v1() -> None:
    """0.1 s of jitter costs 5 of the 150 tokens at 50/s; the rate stays."""
    assert V1.less_margin(0.1) == Limit(50, 145)


def test_margin_of_cloud() -> None:
    """0.1 s of jitter costs 8 of the 80 tokens at 80/s."""
    assert Limit(80, 80).less_margin(0.1) == Limit(80, 72)


def test_margin_leaves_one_send() -> None:
    """However large the jitter, one send is left."""
    assert Limit(50, 2).less_margin(3) == Limit(50, 1)


@pytest.mark.parametrize("jitter_s", [-0.1, math.nan])
def test_negative_margin(jitter_s: float) -> None:
    """A margin cannot raise the limit."""
    with pytest.raises(ValueError, match="jitter_s"):
        V1.less_margin(jitter_s)


def test_shared_among_lanes() -> None:
    """Four lanes get a quarter of rate and burst each."""
    assert V1.shared(4) == Limit(12.5, 37.5)


@pytest.mark.parametrize("shards", [0, -1, 151])
def test_shared_among_too_many_lanes(shards: int) -> None:
    """Lanes which could never send, or none at all, are refused: rounding up would exceed the number's limit."""
    with pytest.raises(ValueError, match="lane"):
        V1.shared(shards)


def test_scaled_by_a_halt() -> None:
    """A factor slows rate and burst; one send at once is always possible."""
    assert V1.scaled(0.5) == Limit(25, 75)
    assert Limit(50, 2).scaled(0.1) == Limit(5, 1)


@pytest.mark.parametrize("factor", [0, 1.01, -1, math.nan])
def test_scaled_beyond_the_limit(factor: float) -> None:
    """A factor cannot raise the limit or stop it."""
    with pytest.raises(ValueError, match="factor"):
        V1.scaled(factor)


def test_full_bucket_lets_the_burst_go_and_no_more() -> None:
    """At one instant exactly `burst` sends conform."""
    bucket = Bucket(V1, tokens=150, now_s=1000.0)
    for _ in range(150):
        assert bucket.has(1000.0)
        bucket.take(1000.0)
    assert not bucket.has(1000.0)
    assert bucket.tokens(1000.0) == pytest.approx(0, abs=1e-6)


def test_empty_bucket_refills_at_the_rate() -> None:
    """The first token of an empty bucket takes one emission interval, the whole burst burst / rate seconds."""
    bucket = Bucket(V1, tokens=0, now_s=10.0)
    assert bucket.wait_s(10.0) == pytest.approx(0.02, rel=1e-5)
    assert bucket.tokens(11.0) == pytest.approx(50)
    assert bucket.tokens(13.0) == pytest.approx(150)
    assert bucket.tokens(1000.0) == 150


def test_take_without_a_token() -> None:
    """A send that does not conform is a caller's error and spends nothing."""
    bucket = Bucket(V1, tokens=0, now_s=10.0)
    with pytest.raises(ValueError, match="no token"):
        bucket.take(10.0)
    assert bucket.has(10.02)


def test_reserve_stays_unspent() -> None:
    """With a reserve of 10, a send needs 11 tokens."""
    assert Bucket(V1, tokens=11, now_s=0.0).has(0.0, reserve=10)
    bucket = Bucket(V1, tokens=10.5, now_s=0.0)
    assert not bucket.has(0.0, reserve=10)
    assert bucket.wait_s(0.0, reserve=10) == pytest.approx(0.01, rel=1e-3)


def test_sends_spoken_for_have_their_tokens_first() -> None:
    """Three sends on their way leave one of four tokens, and none of three."""
    assert Bucket(V1, tokens=4, now_s=0.0).has(0.0, spoken_for=3)
    assert not Bucket(V1, tokens=3, now_s=0.0).has(0.0, spoken_for=3)


def test_more_spoken_for_than_the_burst_holds() -> None:
    """A wait for more than the burst is finite, and right if the sends spoken for take their tokens now."""
    bucket = Bucket(Limit(10, 2), tokens=2, now_s=0.0)
    assert not bucket.has(0.0, spoken_for=2)
    wait_s = bucket.wait_s(0.0, spoken_for=2)
    bucket.take(0.0)
    bucket.take(0.0)
    assert wait_s == pytest.approx(bucket.wait_s(0.0))
    assert bucket.has(wait_s)


def test_rest_does_not_save_up_beyond_the_burst() -> None:
    """After an hour without sends, no more than the burst conforms, spoken for or not."""
    bucket = Bucket(Limit(10, 2), tokens=2, now_s=0.0)
    assert bucket.has(3600.0, spoken_for=1)
    assert not bucket.has(3600.0, spoken_for=2)
    assert bucket.wait_s(3600.0, spoken_for=2) == pytest.approx(0.1, rel=1e-3)


def test_tokens_beyond_the_burst_are_cut_off() -> None:
    """A bucket never holds more than its burst, whatever it was opened with."""
    bucket = Bucket(Limit(10, 5), tokens=100, now_s=0.0)
    assert bucket.tokens(0.0) == 5
    for _ in range(5):
        bucket.take(0.0)
    assert not bucket.has(0.0)


@pytest.mark.parametrize("tokens", [-1, math.nan])
def test_bucket_opened_with_impossible_tokens(tokens: float) -> None:
    """A bucket cannot be opened in debt or with an unknown content."""
    with pytest.raises(ValueError, match="tokens"):
        Bucket(V1, tokens=tokens, now_s=0.0)


def test_set_limit_keeps_the_tokens() -> None:
    """A lower rate takes no token away that the new burst holds."""
    bucket = Bucket(V1, tokens=60, now_s=5.0)
    bucket.set_limit(Limit(25, 75), 5.0)
    assert bucket.limit == Limit(25, 75)
    assert bucket.tokens(5.0) == pytest.approx(60)
    assert bucket.tokens(5.2) == pytest.approx(65)


def test_set_limit_caps_at_the_new_burst_and_gives_nothing_back() -> None:
    """Tokens that the smaller burst does not hold are gone, also when the burst grows again."""
    bucket = Bucket(V1, tokens=150, now_s=5.0)
    bucket.set_limit(Limit(25, 75), 5.0)
    bucket.set_limit(V1, 5.0)
    assert bucket.tokens(5.0) == pytest.approx(75)


def test_set_limit_to_the_same() -> None:
    """Setting the limit that holds already changes nothing."""
    bucket = Bucket(V1, tokens=60, now_s=5.0)
    bucket.set_limit(Limit(50, 150), 99.0)
    assert bucket.tokens(5.0) == pytest.approx(60)


def test_clock_going_backwards_makes_no_token_in_take() -> None:
    """A take with an old reading is accounted at the newest one."""
    bucket = Bucket(Limit(1, 2), tokens=2, now_s=0.0)
    bucket.take(100.0)
    bucket.take(50.0)
    assert not bucket.has(100.0)


def test_clock_going_backwards_makes_no_token_in_set_limit() -> None:
    """A faster limit set with an old reading does not refill the time in between a second time."""
    bucket = Bucket(Limit(1, 10), tokens=0, now_s=100.0)
    bucket.set_limit(Limit(100, 10), 50.0)
    assert bucket.tokens(100.0) == pytest.approx(0, abs=1e-6)


def test_inherited_when_nobody_ever_sent() -> None:
    """A lane without history starts full."""
    assert inherited_tokens(last_attempt_s=None, opened_s=100.0, limit=V1, slack_s=0.15) == 150


def test_inherited_after_a_pause() -> None:
    """The bucket was empty at the last attempt and has refilled since, less the slack."""
    assert inherited_tokens(last_attempt_s=99.0, opened_s=100.0, limit=V1, slack_s=0.2) == pytest.approx(40)


@pytest.mark.parametrize(("last_attempt_s", "tokens"), [(100.0, 0), (99.9, 0), (101.0, 0), (0.0, 150)])
def test_inherited_stays_within_the_bucket(last_attempt_s: float, tokens: float) -> None:
    """An attempt just now, or in another broker's future, leaves nothing; an old one the burst."""
    got = inherited_tokens(last_attempt_s=last_attempt_s, opened_s=100.0, limit=V1, slack_s=0.15)
    assert got == tokens


def test_inherited_with_negative_slack() -> None:
    """A slack that would give tokens away is refused."""
    with pytest.raises(ValueError, match="slack_s"):
        inherited_tokens(last_attempt_s=0.0, opened_s=1.0, limit=V1, slack_s=-0.1)


def test_seconds_until_the_past() -> None:
    """There is no wait for what is over, be it for ever."""
    assert seconds_until(1.0, 2.0) == 0
    assert seconds_until(-math.inf, 2.0) == 0


def test_seconds_until_survives_rounding() -> None:
    """The wait is long enough even where the plain difference, added back, falls short of the moment."""
    now_s, due_s = math.ulp(1.0) / 2, 1.0 + 3 * math.ulp(1.0)
    assert now_s + (due_s - now_s) < due_s
    assert now_s + seconds_until(due_s, now_s) >= due_s


def test_a_charge_is_owed() -> None:
    """What others used up is missing here, and is waited for if it is more than there was."""
    bucket = Bucket(Limit(10, 5), tokens=5, now_s=0.0)
    bucket.charge(2.5, 0.0)
    assert bucket.tokens(0.0) == pytest.approx(2.5)
    bucket.charge(4.5, 0.0)
    assert not bucket.has(0.0)
    assert bucket.wait_s(0.0) == pytest.approx(0.3)


def test_a_debt_has_a_bound() -> None:
    """A flood of charges holds a bucket back for the time of two bursts and no longer."""
    bucket = Bucket(Limit(10, 5), tokens=5, now_s=0.0)
    for _ in range(100):
        bucket.charge(3.0, 1.0)
    assert bucket.wait_s(1.0) == pytest.approx((5 + 1) / 10)


@pytest.mark.parametrize("tokens", [-1.0, math.nan])
def test_a_charge_gives_no_tokens(tokens: float) -> None:
    """A negative charge would lift the limit."""
    with pytest.raises(ValueError, match="tokens"):
        Bucket(Limit(10, 5), tokens=0, now_s=0.0).charge(tokens, 0.0)
