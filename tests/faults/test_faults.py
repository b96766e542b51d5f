"""A short schedule with faults of every kind, as part of `make test`; `make faults` runs longer ones."""

from __future__ import annotations

import json
from pathlib import Path

from tests.faults.run import run
from tests.faults.schedule import make
from tests.faults.verdict import table

SEED = 7


def test_promises_hold_under_faults(tmp_path: Path) -> None:
    """Killed, frozen and cut-off workers, a hurt broker, lost answers, opt-outs: nothing is lost, repeated, late."""
    outcome = run(make("short", SEED), tmp_path)
    print(json.dumps(outcome.figures))
    assert outcome.problems == [], table(outcome.findings)
    assert outcome.findings.base.taken > 0
