"""Rates and tokens by the ledgers: what left is counted in its second; buckets hold what the limit gives back."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.console.rates import SECONDS, Rates
from pipeline.records.lanes import Lanes
from pipeline.throttle.bucket import Limit
from tests.support.console import NUMBER, settings_of
from tests.support.kafka_message import KafkaMessage

LIMIT = Limit(80, 80)
NOW_S = 1_795_341_600.0


def ledger(kind: str, at_s: float, **fields: str) -> KafkaMessage:
    """A record of the number's lane."""
    return KafkaMessage(b"k", orjson.dumps({"kind": kind, **fields}), 0, int(at_s * 1000))


@pytest.fixture
def rates(tmp_path: Path) -> Rates:
    """Of one number with one lane."""
    return Rates(settings_of(tmp_path))


def test_attempts_and_refusals_are_counted_by_second(rates: Rates) -> None:
    """An attempt counts in its second, a refusal beside it; nothing else does that the ledger says."""
    rates.apply([
        *(ledger("attempt", NOW_S - 2) for _ in range(3)), ledger("returned", NOW_S - 2, reason="throttled"),
        ledger("returned", NOW_S - 1, reason="transient"), ledger("settled", NOW_S - 1),
        ledger("attempt", NOW_S - SECONDS - 5), KafkaMessage(b"k", b"{", 0, int(NOW_S * 1000)),
        ledger("attempt", NOW_S - 1)._replace(at_partition=7),
    ])  # fmt: skip
    assert rates.sent(NUMBER, NOW_S, 3) == [0, 3, 0]
    assert rates.refused(NUMBER, NOW_S, 3) == [0, 1, 0]
    assert sum(rates.sent(NUMBER, NOW_S)) == 3


def test_tokens_go_with_requests_and_come_back_with_time(rates: Rates) -> None:
    """Full at first; less one per request; back at the limit's rate, at most the burst; under a raised limit faster."""
    assert rates.tokens(NUMBER, LIMIT, NOW_S) == pytest.approx(80)
    rates.apply([ledger("attempt", NOW_S) for _ in range(80)])
    assert rates.tokens(NUMBER, LIMIT, NOW_S) == pytest.approx(0, abs=0.01)
    assert rates.tokens(NUMBER, LIMIT, NOW_S + 0.5) == pytest.approx(40, abs=0.01)
    assert rates.tokens(NUMBER, Limit(1000, 1000), NOW_S + 0.5) == pytest.approx(40, abs=0.01)
    assert rates.tokens(NUMBER, Limit(1000, 1000), NOW_S + 1.0) == pytest.approx(540, abs=0.01)
    assert rates.tokens(NUMBER, LIMIT, NOW_S + 60) == pytest.approx(80)


def test_only_the_last_minutes_are_kept(rates: Rates) -> None:
    """However long it goes on, no more seconds are kept than the plots show, and a few."""
    rates.apply([ledger("attempt", NOW_S + second) for second in range(3 * SECONDS)])
    assert len(rates._sent[NUMBER]) <= SECONDS + 60
    assert rates.sent(NUMBER, NOW_S + 3 * SECONDS) == [1] * SECONDS


def test_other_lanes_are_followed(rates: Rates) -> None:
    """Once a number has other lanes, their ledgers count, each against its part of the limit."""
    rates.follow({NUMBER: Lanes((3, 7))})
    rates.apply([ledger("attempt", NOW_S - 1)._replace(at_partition=7), ledger("attempt", NOW_S - 1)])
    assert rates.sent(NUMBER, NOW_S, 2) == [0, 1]
    assert rates.tokens(NUMBER, LIMIT, NOW_S - 1) == pytest.approx(79)
