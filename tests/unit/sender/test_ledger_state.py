"""What the ledger says: each rule of the protocol, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.sender import ledger_state
from pipeline.sender.ledger_state import PAIR_MEMORY_MS, LedgerState
from pipeline.sender.replay import apply_foreign
from tests.support.sender_values import ADA, BOB, record, source


def fold(*records: dict[str, Any], state: LedgerState | None = None, step_ms: int = 1000) -> LedgerState:
    """A state after these records, one a second from offset 0 on."""
    state = state or LedgerState()
    for offset, entry in enumerate(records):
        state.apply(entry, offset, offset * step_ms)
    return state


def test_an_attempt_is_open_until_its_outcome() -> None:
    """An attempt without an outcome makes its id unknown; void and returned close it."""
    state = fold(record("opened", 1), record("attempt", 1))
    assert state.unknown_ids() == ["r-1"]
    state.apply(record("returned", 1, spent=1), 2, 2000)
    assert state.unknown_ids() == []
    known = state.of("r-1")
    assert known is not None
    assert (known.attempts, known.spent) == (1, 1)


def test_refusals_by_the_pair_limit_are_counted() -> None:
    """Each of a message's own counts, other returns do not: the next wait of the pair is four times as long."""
    state = fold(record("opened", 1))
    for offset, reason in enumerate(["pair_limited", "transient", "pair_limited"], start=1):
        state.apply(record("attempt", 1, attempt=offset), 2 * offset, 1000)
        state.apply(record("returned", 1, attempt=offset, reason=reason), 2 * offset + 1, 1000)
    known = state.of("r-1")
    assert known is not None
    assert known.pair_failures == 2


def test_a_voided_number_is_not_used_again() -> None:
    """Attempt numbers go on from the highest one, gaps were void."""
    known = fold(record("opened", 1), record("attempt", 1, attempt=4), record("void", 1, attempt=4)).of("r-1")
    assert known is not None
    assert known.attempts == 4
    assert not known.open


@pytest.mark.parametrize("kind", ["void", "returned"])
def test_an_outcome_of_an_older_generation_changes_nothing(kind: str) -> None:
    """After a newer `opened`, void and returned of a predecessor do not close an attempt of ours with that number."""
    state = fold(
        record("opened", 1), record("attempt", 1), record("opened", 2), record("attempt", 2), record(kind, 1)
    )  # fmt: skip
    assert state.unknown_ids() == ["r-1"]


def test_an_attempt_of_an_older_generation_does_not_count() -> None:
    """The lease kept a predecessor's late attempt from leaving: it is no attempt."""
    state = fold(record("opened", 1), record("opened", 2), record("attempt", 1))
    assert state.unknown_ids() == []
    assert state.of("r-1") is None
    assert state.last_attempt_ms is None


@pytest.mark.parametrize("basis", ["evidence", "policy", "check"])
def test_a_late_settlement_that_was_inferred_does_not_count(basis: str) -> None:
    """What a predecessor inferred may be wrong by now: only an answer of the API counts when it comes late."""
    state = fold(record("opened", 1), record("attempt", 1), record("opened", 2), record("settled", 1, basis=basis))
    assert state.unknown_ids() == ["r-1"]


def test_a_late_settlement_by_answer_counts() -> None:
    """The API's own answer is the truth, whoever wrote it down and when."""
    state = fold(record("opened", 1), record("attempt", 1), record("opened", 2), record("settled", 1, basis="answer"))
    known = state.of("r-1")
    assert known is not None
    assert known.settled
    assert known.outcome == "accepted"


def test_the_first_settlement_is_the_truth() -> None:
    """A second settlement of an id changes neither its outcome nor its event."""
    second = record("settled", 1, outcome="failed", event={"type": "failed"})
    known = fold(record("opened", 1), record("attempt", 1), record("settled", 1), second).of("r-1")
    assert known is not None
    assert known.outcome == "accepted"
    assert known.event == {"type": "accepted"}
    assert known.settled_at == 2


def test_an_earlier_settlement_found_later_is_the_truth() -> None:
    """An owner that settled by policy and then reads a predecessor's answer before its own record believes that."""
    state = LedgerState()
    state.apply(record("opened", 2), 0, 0)
    state.apply(record("attempt", 2), 1, 1)
    state.apply(record("settled", 2, basis="policy", outcome="failed", event={"type": "failed"}), 5, 5)
    apply_foreign(state, [(record("settled", 1, basis="answer"), 3, 3)])
    known = state.of("r-1")
    assert known is not None
    assert known.outcome == "accepted"
    assert known.event == {"type": "accepted"}


def test_an_earlier_settlement_leaves_no_second_event_to_be_told() -> None:
    """The event of the later settlement was published; the truth found afterwards is not told as a second one."""
    state = LedgerState()
    state.apply(record("opened", 2), 0, 0)
    state.apply(record("settled", 2, basis="policy", outcome="failed", event={"type": "failed"}), 5, 5)
    told = state.of("r-1")
    assert told is not None
    told.event = None
    apply_foreign(state, [(record("settled", 1, basis="answer"), 3, 3)])
    known = state.of("r-1")
    assert known is not None
    assert known.outcome == "accepted"
    assert known.event is None


def test_a_later_settlement_of_a_predecessor_is_not() -> None:
    """Behind ours in the log, even a predecessor's answer comes too late."""
    state = LedgerState()
    state.apply(record("opened", 2), 0, 0)
    state.apply(record("settled", 2, basis="policy", outcome="failed", event={"type": "failed"}), 3, 3)
    apply_foreign(state, [(record("settled", 1, basis="answer"), 5, 5)])
    known = state.of("r-1")
    assert known is not None
    assert known.outcome == "failed"


def test_foreign_records_may_be_taken_in_twice() -> None:
    """Two readers of the same tail leave the same state."""
    state = fold(record("opened", 1), record("attempt", 1), record("opened", 2))
    foreign = [(record("settled", 1, basis="answer"), 3, 3000)]
    apply_foreign(state, foreign)
    known = state.of("r-1")
    assert known is not None
    first = (known.settled_at, known.outcome, known.event)
    known.event = None
    apply_foreign(state, foreign)
    assert (known.settled_at, known.outcome, known.event) == (*first[:2], None)


def test_an_open_attempt_is_remembered_as_unknown() -> None:
    """An id that was unknown at a take-over stays marked, also when its attempts are closed later."""
    state = fold(record("opened", 1), record("attempt", 1), record("opened", 2))
    known = state.of("r-1")
    assert known is not None
    assert known.ever_unknown


def test_reading_may_begin_anywhere() -> None:
    """A late record of a predecessor where reading began does not make the owner's records count as late."""
    state = fold(record("settled", 1, "other", basis="policy"), record("attempt", 2), record("settled", 2))
    known = state.of("r-1")
    assert known is not None
    assert known.settled
    assert state.generation == 2


def test_a_mark_tells_the_generation_where_reading_begins() -> None:
    """With the mark's generation, a late inference of a predecessor is recognised as late."""
    state = fold(record("settled", 1, basis="policy"), state=LedgerState(2))
    assert state.of("r-1") is None


def test_the_generation_at_an_offset_is_known() -> None:
    """A mark names the generation in force at its own offset, not the writer's."""
    state = fold(record("opened", 1), record("attempt", 1), record("opened", 4), record("attempt", 4))
    assert [state.generation_at(offset) for offset in range(4)] == [1, 1, 4, 4]
    assert LedgerState().generation_at(0) is None


def test_the_generation_is_known_from_the_mark_on() -> None:
    """A state that began at a mark can write the next mark, before any `opened` is read."""
    state = LedgerState(7)
    state.apply(record("attempt", 7), 100, 0)
    assert state.generation_at(100) == 7


def test_who_took_a_number_first_is_known() -> None:
    """Two owners with one number are told apart by who opened first."""
    state = fold(record("opened", 1), record("opened", 2), record("opened", 2))
    assert state.opened_by(2) == 1


def test_a_claim_is_the_first_source() -> None:
    """The record that came first with an id has it, from its attempt on."""
    state = fold(record("opened", 1), record("attempt", 1), record("settled", 1, source=source(9)))
    known = state.of("r-1")
    assert known is not None
    assert known.source == ("outbound-requests", 3, 0)


def test_message_ids_of_settlements_are_known() -> None:
    """On v1 statuses are told apart by the message ids that settlements know; forgotten ids take theirs along."""
    state = fold(record("opened", 1), record("settled", 1), record("settled", 1, "r-2"))
    assert state.message_ids == {"wamid.r-1.1", "wamid.r-2.1"}
    for known in state.ids.values():
        known.event = None
    state.forget_older(2000)
    assert state.message_ids == {"wamid.r-2.1"}


def test_what_may_have_to_be_written_is_not_forgotten() -> None:
    """An id whose event is not written, or that has no outcome, is kept whatever its age."""
    state = fold(record("opened", 1), record("settled", 1), record("attempt", 1, "r-2"))
    state.forget_older(10**9)
    assert set(state.ids) == {"r-1", "r-2"}


def test_at_the_cap_the_oldest_settled_id_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: ids that are done go first, those in hand stay."""
    monkeypatch.setattr(ledger_state, "MAX_IDS", 3)
    state = fold(
        record("opened", 1), record("attempt", 1, "r-0"), record("settled", 1, "r-1"), record("settled", 1, "r-2")
    )
    for known in state.ids.values():
        known.event = None
    state.apply(record("attempt", 1, "r-3"), 9, 9)
    assert set(state.ids) == {"r-0", "r-2", "r-3"}


def test_a_replay_lifts_a_failure_and_nothing_else() -> None:
    """An attempt of an id that failed opens it again; one of an accepted id stays settled."""
    failed = record("settled", 1, outcome="failed", event={"type": "failed"})
    known = fold(record("opened", 1), failed, record("attempt", 1, attempt=2)).of("r-1")
    assert known is not None
    assert not known.settled
    known = fold(record("opened", 1), record("settled", 1), record("attempt", 1, attempt=2)).of("r-1")
    assert known is not None
    assert known.settled


def test_recent_attempts_by_recipient_fill_the_pair_buckets() -> None:
    """The last 270 s of attempts are told by recipient, in broker time; older ones do not matter."""
    state = LedgerState()
    state.apply(record("opened", 1), 0, 0)
    state.apply(record("attempt", 1, "old"), 1, 10)
    state.apply(record("attempt", 1, "a"), 2, 1_000)
    state.apply(record("attempt", 1, "b", recipient=BOB), 3, 2_000)
    assert state.recent_pairs(11 + PAIR_MEMORY_MS) == {ADA: [1_000], BOB: [2_000]}
    assert state.last_attempt_ms == 2_000


def test_the_place_of_a_settlement_is_kept() -> None:
    """A next owner asks whether the record that a request was settled from is committed."""
    known = fold(record("opened", 1), record("settled", 1, place=("ready-normal", 0, 55))).of("r-1")
    assert known is not None
    assert known.place == ("ready-normal", 0, 55)


def test_attempts_that_no_pair_bucket_asks_for_are_forgotten() -> None:
    """At a number's full rate they would be kept by the hundred thousand."""
    state = fold(record("opened", 1), record("attempt", 1, "r-1"))
    state.apply(record("attempt", 1, "r-2"), 2, 1_000 + PAIR_MEMORY_MS)
    assert len(state.pair_attempts) == 2
    state.apply(record("attempt", 1, "r-3"), 3, 1_001 + PAIR_MEMORY_MS)
    assert len(state.pair_attempts) == 2
