"""The fuzzer: a small run as part of the tests, and the proof that it finds what is broken and can repeat it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pipeline.whatsapp.answer import Kind, classify
from pipeline.whatsapp.bodies import check_message
from tests.fuzz.__main__ import report
from tests.fuzz.cases import KINDS, Base, Case, corpus, derive, pool
from tests.fuzz.judge import JUDGES, NOW_S
from tests.fuzz.run import Tally, run

CASES = 6_000


def run_with(kind: str, judge: Any, seed: int = 1) -> Tally:
    """A run in which one kind is judged by something else."""
    return run(CASES, seed, judges={**JUDGES, kind: judge})


def test_nothing_is_raised_but_the_named_errors() -> None:
    """A few thousand generated answers, messages and webhooks break no promise; `make fuzz` feeds a million."""
    tally = run(CASES, seed=7)
    assert tally.failure is None, tally.failure.told()
    assert tally.total >= CASES
    assert set(tally.judged) == set(KINDS)


def test_a_broken_promise_is_found_and_found_again() -> None:
    """A reader of answers that trips over a list of errors is caught, and the seed told leads to it once more."""

    def trips(case: Case) -> None:
        assert b'"errors":[' not in case.content

    failure = run_with("answer", trips, seed=40).failure
    assert failure is not None
    assert b'"errors":[' in failure.case.content
    assert f"--seed {failure.seed} --count {failure.cases}" in failure.told()
    again = run(failure.cases, failure.seed, judges={**JUDGES, "answer": trips}).failure
    assert again is not None
    assert again.case == failure.case


def test_an_exception_of_the_judged_code_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """Any exception that no contract names ends the run with exit code 1, its type and the input."""

    def raises(case: Case) -> None:
        if not check_message(case.content, "cloud"):
            raise RecursionError("planted")

    assert report(run_with("message", raises), seed=1, took_s=2.0) == 1
    assert "message: RecursionError: planted\ncontent={'" in capsys.readouterr().err


def test_cases_reach_every_verdict() -> None:
    """The damage is light enough that recorded cases still pass now and then, and heavy enough that they fail."""
    kinds, verdicts = set(), set()
    for number, base in enumerate(_bases("answer")):
        for case in list(derive(base, number))[:20]:
            kinds.add(classify(case.status, case.headers, case.content, NOW_S).kind)
    for number, base in enumerate(_bases("message")):
        verdicts |= {bool(check_message(case.content, "cloud")) for case in list(derive(base, number))[:5]}
    assert kinds == set(Kind) - {Kind.NOT_SENT, Kind.TOKEN_SPENT}  # none of these can be read off an answer
    assert verdicts == {True, False}


def _bases(kind: Any) -> list[Any]:
    return [Base(kind, document) for document in corpus(kind)]


def test_cases_are_made_anew_each_time() -> None:
    """The same base and seed give the same cases, and no case changes the recorded documents."""
    before = repr(pool())
    for base in _bases("webhook")[:5]:
        assert list(derive(base, 3)) == list(derive(base, 3))
    assert repr(pool()) == before


def test_the_command_ends_with_its_tally() -> None:
    """Without a terminal the command prints plain lines, and the seed that repeats the run."""
    command = [sys.executable, "-m", "tests.fuzz", "--count", "200", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "(seed 3): " in done.stdout
