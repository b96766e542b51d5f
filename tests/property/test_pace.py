"""A lane against an API whose true limit is lower than the configured one, or rises: refusals must become rare."""

from __future__ import annotations

import heapq
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import NumberSettings
from pipeline.sender.lane import Lane
from pipeline.sender.scopes import alone
from pipeline.throttle.bucket import Bucket, Limit
from pipeline.throttle.halt import Open, Probe, Wait
from pipeline.whatsapp.profiles import PROFILES

MINUTE_S = 60.0
LOOK_S = 0.02


def lane_of(rate_per_s: float, burst: float) -> Lane:
    """A v1 lane with that limit."""
    conf = NumberSettings(
        business="acme", profile="v1", base_url="https://one.example", token_env="T", rate_per_s=rate_per_s, burst=burst
    )
    lane = Lane("1", 0, 0, conf, PROFILES["v1"].endpoint(conf.base_url, "1", "t"), alone(), 0.0)
    lane.bucket = Bucket(lane.limit, tokens=lane.limit.burst, now_s=0.0)
    return lane


class Run:
    """A lane with endless work.

    Attributes:
        minutes: (accepted, refused) in each minute.
    """

    def __init__(self, lane: Lane, api: Limit, latency_s: float, seed: int) -> None:
        self._lane, self._latency_s, self._random = lane, latency_s, Random(seed)
        self._api = Bucket(api, tokens=api.burst, now_s=0.0)
        self._answers: list[tuple[float, int, bool, float, bool]] = []
        self._sent = 0
        self.minutes: list[tuple[int, int]] = []

    def minute(self) -> tuple[int, int]:
        """Let a minute pass."""
        accepted = refused = 0
        now_s = len(self.minutes) * MINUTE_S
        end_s = now_s + MINUTE_S
        while now_s < end_s:
            self._hear(now_s)
            if not self._goes(now_s):
                now_s = self._next_s(now_s)
            elif self._post(now_s):
                accepted += 1
            else:
                refused += 1
        self.minutes.append((accepted, refused))
        return self.minutes[-1]

    def _goes(self, now_s: float) -> bool:
        lane = self._lane
        lane.follow_factor(now_s)
        state = lane.scopes.number.halt.state(now_s)
        if not lane.bucket.has(now_s) or isinstance(state, Wait):
            return False
        return isinstance(state, Probe) or len(self._answers) < lane.in_flight_allowed

    def _post(self, now_s: float) -> bool:
        probe = isinstance(self._lane.scopes.number.halt.state(now_s), Probe)
        if probe:
            self._lane.scopes.probing(now_s)
        self._lane.bucket.take(now_s)
        arrives_s = now_s + self._latency_s / 2
        is_taken = self._api.has(arrives_s)
        if is_taken:
            self._api.take(arrives_s)
        self._sent += 1
        heapq.heappush(self._answers, (now_s + self._latency_s, self._sent, is_taken, now_s, probe))
        return is_taken

    def _hear(self, now_s: float) -> None:
        scopes = self._lane.scopes
        while self._answers and self._answers[0][0] <= now_s:
            heard_s, _, is_taken, written_s, probe = heapq.heappop(self._answers)
            if probe:
                scopes.probe_lost(heard_s)
            if is_taken:
                scopes.answered(written_s, heard_s)
            else:
                scopes.refused("number", "throttled", written_s, heard_s, None, self._random.random())

    def _next_s(self, now_s: float) -> float:
        state = self._lane.scopes.number.halt.state(now_s)
        waits_s = state.seconds if isinstance(state, Wait) else self._lane.bucket.wait_s(now_s)
        next_s = now_s + (min(LOOK_S, waits_s) or LOOK_S)
        return min(next_s, self._answers[0][0]) if self._answers else next_s


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**32), latency_s=st.floats(0.01, 0.2))
@pytest.mark.parametrize(
    ("configured", "real"),
    [((50, 150), (30, 60)), ((50, 150), (30, 150)), ((50, 150), (45, 60)), ((80, 80), (40, 40))],
    ids=lambda limit: f"{limit[0]}-{limit[1]}",
)
def test_a_lower_true_limit_is_learned(
    configured: tuple[int, int], real: tuple[int, int], seed: int, latency_s: float
) -> None:
    """From the second minute on less than 1 % is refused, and at least 95 % of what the API allows is used."""
    run = Run(lane_of(*configured), Limit(*real), latency_s, seed)
    run.minute()
    for _ in range(5):
        accepted, refused = run.minute()
        assert refused < 0.01 * (accepted + refused)
        assert accepted >= 0.95 * real[0] * MINUTE_S


def test_the_learned_ceiling_is_seen_and_forgotten() -> None:
    """The bucket's own limit shows what was learned (that is the metric); with no refusals it creeps up again."""
    lane = lane_of(50, 150)
    run = Run(lane, Limit(30, 60), 0.02, 1)
    for _ in range(3):
        run.minute()
    state = lane.scopes.number.halt.state(3 * MINUTE_S)
    assert isinstance(state, Open)
    assert 0.54 <= state.ceiling <= 0.66
    assert lane.bucket.limit == Limit(50 * state.factor, lane.limit.burst * state.ceiling)
    run._api.set_limit(Limit(50, 150), 3 * MINUTE_S)
    for _ in range(8):
        run.minute()
    assert lane.bucket.limit == lane.limit
    assert isinstance(lane.scopes.number.halt.state(11 * MINUTE_S), Open)
