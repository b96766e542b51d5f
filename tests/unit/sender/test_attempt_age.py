"""How old an attempt may get: short while Kafka is quick, long enough to get anything out while it is slow."""

from __future__ import annotations

from pipeline.records.ledger import ledger_record
from pipeline.sender.attempt_age import AGE_MAX_S, AGE_MIN_S, AttemptAge
from pipeline.sender.ledger_state import LedgerState


def test_age_grows_until_requests_leave_and_shrinks_when_kafka_is_quick_again() -> None:
    """A Kafka that takes two seconds delays what is sent, it does not stop it for ever."""
    age, taken_s, tries = AttemptAge(), 2.0, 0
    while age.limit_s < taken_s:
        age.too_old(age.limit_s)
        tries += 1
    assert tries == 2
    age.written(taken_s)
    assert age.limit_s >= taken_s
    for _ in range(50):
        age.written(0.01)
    assert age.limit_s == AGE_MIN_S


def test_many_that_were_too_old_at_once_count_once() -> None:
    """One stall of Kafka makes the age twice as long, however many attempts it met."""
    age = AttemptAge()
    for _ in range(64):
        age.too_old(AGE_MIN_S)
    assert age.limit_s == 2 * AGE_MIN_S


def test_age_has_an_end() -> None:
    """The next owner never has to leave more room than the longest age."""
    age = AttemptAge()
    for _ in range(20):
        age.too_old(age.limit_s)
    assert age.limit_s == AGE_MAX_S


def test_next_owner_counts_from_the_latest_time_at_which_a_request_may_have_left() -> None:
    """An attempt that was allowed to be older than usual empties the next owner's bucket by that much later."""
    state = LedgerState()
    source = {"topic": "outbound-requests", "partition": 0, "offset": 1, "timestamp_ms": 1}
    for name, age_ms, at_ms in (("slow", 4_000, 10_000), ("quick", 500, 11_000), ("old", None, 12_000)):
        record = ledger_record(
            "attempt", 1, request_id=name, attempt=1, recipient="1555", priority="normal", source=source, age_ms=age_ms
        )
        state.apply(record, at_ms, at_ms)
    assert state.last_attempt_ms == 13_500
