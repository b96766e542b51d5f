"""Queues against what theory says of them."""

from __future__ import annotations

import random
from functools import partial

import pytest

from pipeline.sizing.queues import Lane, Server, Timeline, waiting_s

SERVICE_S = 0.01
COUNT = 20_000


def arrive(timeline: Timeline, server: Server, per_s: float, count: int, seed: int) -> None:
    """Things at random times."""
    rng, at_s = random.Random(seed), 0.0
    for _ in range(count):
        at_s += rng.expovariate(per_s)
        timeline.at(at_s, partial(server.add, lambda: None))


@pytest.mark.parametrize("load", [0.4, 0.7])
def test_waits_are_those_of_theory(load: float) -> None:
    """Arrivals at random before a constant service time wait as Pollaczek and Khinchine say, within 8 %."""
    timeline = Timeline()
    server = Server(timeline, SERVICE_S)
    arrive(timeline, server, load / SERVICE_S, COUNT, seed=3)
    timeline.run()
    assert sum(server.waits_s) / COUNT == pytest.approx(waiting_s(SERVICE_S, load / SERVICE_S), rel=0.08)
    assert server.busy_s / timeline.now_s == pytest.approx(load, rel=0.02)


def test_random_service_waits_twice_as_long() -> None:
    """With service times at random (M/M/1) the wait is twice that of constant ones, within 10 %."""
    rng, timeline = random.Random(5), Timeline()
    server = Server(timeline, lambda: rng.expovariate(1 / SERVICE_S))
    arrive(timeline, server, 0.6 / SERVICE_S, COUNT, seed=7)
    timeline.run()
    assert sum(server.waits_s) / COUNT == pytest.approx(2 * waiting_s(SERVICE_S, 0.6 / SERVICE_S), rel=0.1)


def test_a_queue_without_end_has_no_mean() -> None:
    """More than can be served has no answer."""
    with pytest.raises(ValueError, match="below 1"):
        waiting_s(0.01, 100)


def test_a_backlog_drains_by_its_rate() -> None:
    """A lane with a backlog is empty after (backlog − burst) / rate, and was never faster than rate·t + burst."""
    timeline, sent = Timeline(), list[float]()
    lane: Lane

    def send(_message: object, _is_urgent: bool) -> None:
        sent.append(timeline.now_s)
        timeline.after(0.05, lane.answered)

    lane = Lane(timeline, 50, burst=150, reserve=0, in_flight_max=200, send=send)
    for _ in range(1150):
        lane.add(lambda: None)
    timeline.run()
    assert len(sent) == 1150
    assert sent[-1] == pytest.approx((1150 - 150) / 50, rel=0.001)
    assert all(i + 1 <= 150 + 50 * at + 1e-6 for i, at in enumerate(sent))


def test_codes_go_first_and_have_a_reserve() -> None:
    """Codes overtake the backlog, and find tokens that bulk leaves to them."""
    timeline, order = Timeline(), list[bool]()
    lane = Lane(
        timeline, 10, burst=10, reserve=3, in_flight_max=100, send=lambda _m, is_urgent: order.append(is_urgent)
    )
    for _ in range(20):
        lane.add(lambda: None)
    assert len(order) == 7
    for _ in range(3):
        lane.add(lambda: None, is_urgent=True)
    assert order[7:] == [True] * 3
    timeline.run()
    assert len(order) == 23


def test_no_more_under_way_than_allowed() -> None:
    """A slow API holds a lane below its rate."""
    timeline, under_way, most = Timeline(), 0, 0
    lane: Lane

    def send(_message: object, _is_urgent: bool) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        timeline.after(1.0, answer)

    def answer() -> None:
        nonlocal under_way
        under_way -= 1
        lane.answered()

    lane = Lane(timeline, 100, burst=100, reserve=0, in_flight_max=16, send=send)
    for _ in range(160):
        lane.add(lambda: None)
    timeline.run()
    assert most == 16
    assert timeline.now_s == pytest.approx(10.0)


def test_a_server_that_is_down_begins_nothing() -> None:
    """What comes meanwhile waits until it is up again; what it was at is finished."""
    timeline, ends = Timeline(), list[float]()
    server = Server(timeline, 1.0)
    for at_s in (0.0, 2.0):
        timeline.at(at_s, partial(server.add, lambda: ends.append(timeline.now_s)))
    timeline.at(0.5, partial(server.fail, 5.0))
    timeline.run()
    assert ends == [1.0, 6.5]
    assert server.queue_max == 1
