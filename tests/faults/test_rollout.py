"""A rolling restart: one worker at a time, the next only when the one before is ready, each with its grace period."""

from __future__ import annotations

import signal
from typing import cast

import pytest

from tests.faults import rollout
from tests.faults.fleet import Fleet
from tests.faults.rollout import Rollout


class _Fleet:
    """Notes what it is asked; a worker ends and gets ready when the test says so."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.codes: dict[str, int] = {}
        self.ready: set[str] = set()

    def take_out(self, name: str) -> None:
        self.said.append(f"no webhooks to {name}")

    def put_back(self, name: str) -> None:
        self.said.append(f"{name} is ready")

    def dismiss(self, name: str) -> None:
        self.said.append(f"SIGTERM to {name}")

    def signal(self, name: str, sig: int) -> None:
        self.said.append(f"signal {sig} to {name}")

    def exit_code(self, name: str, *, since_s: float) -> int | None:
        assert since_s > 0
        return self.codes.get(name)

    def spawn(self, role: str, name: str) -> None:
        self.said.append(f"start {role} {name}")

    def is_ready(self, name: str) -> bool:
        return name in self.ready


def _rollout(fleet: _Fleet, *names: str) -> Rollout:
    return Rollout(cast("Fleet", fleet), names)


def test_the_next_one_waits_until_the_one_before_is_ready() -> None:
    """SIGTERM, its end, a new process, ready: only then the next; never are two of them away."""
    fleet = _Fleet()
    rolling = _rollout(fleet, "gate-1", "gate-2")
    for _ in range(3):
        rolling.step()
    assert fleet.said == ["SIGTERM to gate-1"]
    fleet.codes["gate-1"] = 0
    for _ in range(3):
        rolling.step()
    assert fleet.said[1:] == ["start gate gate-1"]
    fleet.ready.add("gate-1")
    rolling.step()
    assert fleet.said[2:] == ["gate-1 is ready", "SIGTERM to gate-2"]
    assert len(rolling.rolled) == 1
    fleet.codes["gate-2"] = 0
    fleet.ready.add("gate-2")
    for _ in range(3):
        rolling.step()
    assert rolling.is_over
    assert rolling.problems() == []


def test_an_ingress_gets_no_new_calls_before_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its preStop has it: the Service forgets the pod first."""
    fleet = _Fleet()
    rolling = _rollout(fleet, "ingress-2")
    rolling.step()
    assert fleet.said == ["no webhooks to ingress-2"]
    monkeypatch.setattr(rollout, "PRE_STOP_S", 0.0)
    fleet = _Fleet()
    _rollout(fleet, "ingress-2").step()
    assert fleet.said == ["no webhooks to ingress-2", "SIGTERM to ingress-2"]


def test_who_outlives_the_grace_period_is_killed_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain that does not end in time would end by SIGKILL in a cluster, too: a broken promise of the run."""
    monkeypatch.setattr(rollout, "GRACE_S", 0.0)
    fleet = _Fleet()
    fleet.ready.add("sender-1")
    rolling = _rollout(fleet, "sender-1")
    rolling.step()
    assert fleet.said == ["SIGTERM to sender-1", f"signal {signal.SIGKILL} to sender-1"]
    fleet.codes["sender-1"] = -9
    for _ in range(3):
        rolling.step()
    assert rolling.problems() == ["sender-1 ended with -9 in 0 s"]
