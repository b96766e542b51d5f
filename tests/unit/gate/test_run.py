"""The gate lets others go first: in its session, and its session among others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.gate.run import AUTOGROUP, NICENESS

TELL = """
import os
from pipeline.gate import run
run.yield_processor()
print(os.nice(0), run.AUTOGROUP.read_text() if run.AUTOGROUP.exists() else "")
"""


@pytest.mark.parametrize("leads", [True, False], ids=["leads a session", "in a session of others"])
def test_gate_yields_the_processor(leads: bool) -> None:
    """Niceness is the process's own; the session's is set by its leader only: other work in a shell keeps its share."""
    before = AUTOGROUP.read_text() if AUTOGROUP.exists() else ""
    done = subprocess.run(
        [sys.executable, "-c", TELL], check=True, capture_output=True, text=True, start_new_session=leads,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    niceness, autogroup = done.stdout.split(" ", 1)
    assert int(niceness) == min(19, os.nice(0) + NICENESS)
    if not leads:
        assert autogroup.strip() == before.strip()
    elif os.access(AUTOGROUP, os.W_OK):
        assert autogroup.split()[-1] == str(NICENESS)
