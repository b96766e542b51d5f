"""A rolling restart as the chart would do it: SIGTERM, the grace period, a new process, ready, then the next one.

Runs in the harness's main thread and never waits: `step` goes on from where it stands.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any, Final

from tests.faults.fleet import Fleet

GRACE_S: Final = 60.0
"""`terminationGracePeriodSeconds` of every role; after it comes SIGKILL."""
PRE_STOP_S: Final = 5.0
"""The ingress's `preStop`: so long before SIGTERM no new call is sent to it."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """One worker's turn.

    Attributes:
        stopped_s: From SIGTERM to its end.
        started_s: From its start to /readyz.
        code: Its exit code: 0 if it drained in time.
    """

    name: str
    stopped_s: float
    started_s: float
    code: int


class Rollout:
    """Restarts workers one after the other.

    Args:
        names: In the order in which they come up for it.
    """

    def __init__(self, fleet: Fleet, names: Sequence[str]) -> None:
        self._fleet = fleet
        self._turns = self._all(names)
        self.rolled: list[Rolled] = []
        self.is_over = False

    def step(self) -> None:
        """Go on as far as it goes without waiting."""
        if not self.is_over:
            self.is_over = next(self._turns, None) is None

    def problems(self) -> list[str]:
        """Workers that did not end by themselves within their grace period."""
        return [f"{one.name} ended with {one.code} in {one.stopped_s:.0f} s" for one in self.rolled if one.code != 0]

    def figures(self) -> list[dict[str, Any]]:
        """Every turn, for printing."""
        return [asdict(one) for one in self.rolled]

    def _all(self, names: Sequence[str]) -> Iterator[str]:
        """Each turn; yields whenever something has to be waited for."""
        for name in names:
            if name.startswith("ingress"):
                self._fleet.take_out(name)
                yield from self._until(monotonic() + PRE_STOP_S)
            stopped_s = monotonic()
            self._fleet.dismiss(name)
            while (code := self._fleet.exit_code(name, since_s=stopped_s)) is None:
                if monotonic() >= stopped_s + GRACE_S:
                    self._fleet.signal(name, signal.SIGKILL)
                yield name
            started_s = monotonic()
            self._fleet.spawn(name.split("-")[0], name)
            while not self._fleet.is_ready(name):
                yield name
            self._fleet.put_back(name)
            ready_s = monotonic()
            self.rolled.append(Rolled(name, round(started_s - stopped_s, 2), round(ready_s - started_s, 2), code))

    def _until(self, end_s: float) -> Iterator[str]:
        while monotonic() < end_s:
            yield "preStop"
