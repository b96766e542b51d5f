"""Replay: whatever part of a ledger is read, in whatever pieces, it says the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sender.ledger_state import IdState, LedgerState
from pipeline.sender.replay import apply_foreign
from tests.support.sender_values import record, source

IDS = st.sampled_from(["a", "b", "c"])
Step = tuple[str, str, int, str]


@st.composite
def ledgers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A log with several owners, the older of which may still write."""
    log: list[dict[str, Any]] = [record("opened", 1)]
    newest = 1
    attempts = dict.fromkeys(("a", "b", "c"), 0)
    for _ in range(draw(st.integers(0, 30))):
        kind = draw(st.sampled_from(["opened", "attempt", "attempt", "void", "returned", "settled"]))
        if kind == "opened":
            newest += draw(st.integers(1, 3))
            log.append(record("opened", newest))
            continue
        generation = draw(st.sampled_from([newest, newest, newest, max(1, newest - 1), 1]))
        request_id = draw(IDS)
        if kind == "attempt":
            attempts[request_id] += 1
        number = draw(st.integers(1, max(1, attempts[request_id])))
        fields: dict[str, Any] = {"source": source(ord(request_id))}
        if kind == "settled":
            fields["basis"] = draw(st.sampled_from(["answer", "evidence", "policy", "check"]))
            fields["outcome"] = draw(st.sampled_from(["accepted", "failed"]))
        log.append(
            record(kind, generation, request_id, attempts[request_id] if kind == "attempt" else number, **fields)
        )
    return log


def fold(log: list[dict[str, Any]], begin: int = 0, state: LedgerState | None = None) -> LedgerState:
    """The state after a part of a log."""
    state = state or LedgerState()
    for offset in range(begin, len(log)):
        state.apply(log[offset], offset, 1000 * offset)
    return state


def seen(state: LedgerState) -> Any:
    """All that a state says, to be compared."""
    ids = {name: [getattr(known, field) for field in IdState.__slots__] for name, known in state.ids.items()}
    return state.generation, state.opened_ms, state.last_attempt_ms, state.next_offset, ids, sorted(state.message_ids)


@given(ledgers(), st.data())
def test_replay_after_a_crash_says_what_the_owner_knew(log: list[dict[str, Any]], data: st.DataObject) -> None:
    """Replay of any prefix is the state of whoever had applied that prefix record by record."""
    cut = data.draw(st.integers(0, len(log)))
    owner = LedgerState()
    for offset, entry in enumerate(log[:cut]):
        owner.apply(entry, offset, 1000 * offset)
    assert seen(fold(log[:cut])) == seen(owner)
    assert seen(fold(log, cut, owner)) == seen(fold(log))


@given(ledgers(), st.data())
def test_replay_from_a_mark_says_the_same_of_what_follows(log: list[dict[str, Any]], data: st.DataObject) -> None:
    """From any offset on, with the generation in force there, ids that have no earlier record are known as well."""
    start = data.draw(st.integers(0, len(log) - 1))
    whole = fold(log)
    before = {entry["request_id"] for entry in log[:start]}
    state = fold(log, start, LedgerState(whole.generation_at(start)))
    assert state.generation == whole.generation
    for name, known in whole.ids.items():
        if name not in before:
            assert seen(state)[4][name] == [getattr(known, field) for field in IdState.__slots__]


@given(ledgers())
def test_an_id_ends_once(log: list[dict[str, Any]]) -> None:
    """The end of an accepted id never changes, and it has no open attempt after it but by a replay."""
    state = LedgerState()
    ends: dict[str, int | None] = {}
    for offset, entry in enumerate(log):
        state.apply(entry, offset, 1000 * offset)
        for name, known in state.ids.items():
            if known.outcome == "accepted":
                assert ends.setdefault(name, known.settled_at) == known.settled_at


@given(ledgers())
def test_unknown_ids_are_those_a_plain_reading_finds(log: list[dict[str, Any]]) -> None:
    """A second, slower reading of the rules finds the same unknown ids."""
    current, owners = 0, []
    for entry in log:
        current = max(current, entry["generation"]) if entry["kind"] == "opened" else current
        owners.append(current)
    unknown = set()
    for name in ("a", "b", "c"):
        open_attempts: set[int] = set()
        end: str | None = None
        for entry, owner in zip(log, owners, strict=True):
            if entry["request_id"] != name:
                continue
            is_late = entry["generation"] != owner
            if entry["kind"] == "attempt" and not is_late:
                open_attempts.add(entry["attempt"])
                end = None if end == "failed" else end
            elif entry["kind"] in ("void", "returned") and not is_late:
                open_attempts.discard(entry["attempt"])
            elif entry["kind"] == "settled" and (not is_late or entry["basis"] == "answer") and end is None:
                end = entry["outcome"]
                open_attempts.clear()
        if open_attempts and end is None:
            unknown.add(name)
    assert set(fold(log).unknown_ids()) == unknown


@given(ledgers())
def test_reading_on_finds_what_a_whole_reading_finds(log: list[dict[str, Any]]) -> None:
    """An owner that applies its own records at once and predecessors' ones later ends with the same settlements.

    Only ids that it never settled twice by a replay are compared: replays are the operator's.
    """
    newest = max(entry["generation"] for entry in log)
    begin = next(i for i, entry in enumerate(log) if entry["kind"] == "opened" and entry["generation"] == newest)
    state = fold(log[: begin + 1])
    foreign = []
    for offset in range(begin + 1, len(log)):
        if log[offset]["generation"] == newest:
            state.apply(log[offset], offset, 1000 * offset)
        else:
            foreign.append((log[offset], offset, 1000 * offset))
    apply_foreign(state, foreign)
    whole = fold(log)
    for name, known in whole.ids.items():
        outcomes = [e["outcome"] for e in log if e["request_id"] == name and e["kind"] == "settled"]
        if "failed" not in outcomes:
            mine = state.of(name)
            assert mine is not None
            assert (mine.settled, mine.outcome) == (known.settled, known.outcome)
