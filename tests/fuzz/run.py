"""Runs rounds of hypothesis examples until enough cases have been judged, or one has failed.

A round is reproducible by its seed alone; rounds keep hypothesis' memory of what it has tried small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.cases import CASES_PER_EXAMPLE, Base, Case, bases, derive
from tests.fuzz.judge import JUDGES, Judges

ROUND_CASES: Final = 50_000
CASE_CHARS_MAX: Final = 4_000


@dataclass(slots=True)
class Failure:
    """The smallest case found that breaks a promise.

    Attributes:
        seed: Of the round; with `cases` it finds the failure again.
        cases: Of the round.
        case: What was fed.
        error: What was raised.
    """

    seed: int
    cases: int
    case: Case
    error: BaseException

    def told(self) -> str:
        """A few lines for people, with the command that repeats it."""
        case = self.case
        what = f"status={case.status} headers={case.headers!r} " if case.kind == "answer" else ""
        return (
            f"{case.kind}: {type(self.error).__name__}: {self.error}\n{what}content={case.content!r}"[:CASE_CHARS_MAX]
            + f"\nagain: python -m tests.fuzz --seed {self.seed} --count {self.cases}"
        )


@dataclass(slots=True)
class Tally:
    """What a run came to: judged cases by kind, and the failure if there was one."""

    judged: Counter[str] = field(default_factory=Counter)
    failure: Failure | None = None

    @property
    def total(self) -> int:
        """All judged cases."""
        return sum(self.judged.values())


def run(count: int, seed: int, *, judges: Judges = JUDGES, progress: Callable[[int], None] | None = None) -> Tally:
    """Judge at least `count` cases, or stop at the first failure.

    Args:
        count: Cases; rounded up to whole examples.
        seed: Of the first round; each further round takes the next number.
        judges: By kind of case.
        progress: Called with the number of cases so far, a few thousand times at most per million.
    """
    tally = Tally()
    round_seed = seed
    while tally.total < count and tally.failure is None:
        _round(min(ROUND_CASES, count - tally.total), round_seed, judges, tally, progress)
        round_seed += 1
    return tally


def _round(cases: int, seed: int, judges: Judges, tally: Tally, progress: Callable[[int], None] | None) -> None:
    last: list[tuple[Case, BaseException]] = []

    def examine(base: Base, number: int) -> None:
        for case in derive(base, number):
            try:
                judges[case.kind](case)
            except BaseException as exc:
                last[:] = [(case, exc)]
                raise
            tally.judged[case.kind] += 1
        if progress is not None:
            progress(tally.total)

    examples = -(-cases // CASES_PER_EXAMPLE)
    test = hypothesis.seed(seed)(
        settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )(given(base=bases(), number=st.integers(0, 2**32 - 1))(examine))
    )
    try:
        test()
    except KeyboardInterrupt:
        raise
    except BaseException:
        if not last:
            raise
        tally.failure = Failure(seed, cases, *last[0])
