"""Other lanes for a number: what is done in which order. No I/O of its own.

People are hashed to the lanes of a number, so another count of lanes moves them. What keeps every promise:

1. `extend`  Lane topics get the partitions, and senders own them; nobody fetches there yet.
2. `wait`    Until little waits: what comes after the turn, codes too, waits for what came before it.
3. `pause`   Gates stop, and their group is empty: nothing is written to the lanes of before any more.
4. `drain`   Gates run again and write to the new lanes. Senders send what is left on those of before; what waits there
             for a time of its own they move (`sender/leaving.py`). Nothing is sent from the new ones yet.
5. `open`    The lanes of before are empty: senders give them up and begin with the new ones, each with its part of the
             limit, and with what the ledgers of before tell (`sender/takeover.py`).

Killed anywhere, the same command goes on from the step in the journal (`records/lanes.py`). Each run writes an id of
its own there; one that finds another id has been taken over, and ends.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, Literal, Protocol

from pipeline.config import Settings
from pipeline.records.lanes import Earlier, Lanes, LanesStep
from pipeline.streams.scaling import LOOK_EVERY_S, ScalingStopped

Action = Literal["extend", "wait", "pause", "drain", "open"]

ACTIONS: Final[Mapping[LanesStep, tuple[Action, ...]]] = {
    "open": ("extend", "wait", "pause", "drain", "open"),
    "pause": ("pause", "drain", "open"),
    "drain": ("drain", "open"),
}
DRAIN_EVERY_S: Final = 0.5

Waiting = tuple[int, int]
"""Messages that wait in a number's ready topics, and on its delayed ones."""


def target_of(settings: Settings, number: str, count: int, lanes: Mapping[str, Lanes]) -> tuple[int, ...]:
    """The partitions of a number's new lanes: as the settings pin them if that is possible, else the first free ones.

    Args:
        lanes: In force, of every number of the settings.
    """
    own = lanes[number]
    if own.target is not None:
        return own.target
    taken = set(own.used).union(*(one.used for name, one in lanes.items() if name != number))
    wanted = settings.numbers[number].partitions or []
    if len(wanted) == count and not taken.intersection(wanted):
        return tuple(wanted)
    for name, other in settings.numbers.items():
        taken.update(other.partitions or [] if name != number else [])
    free = (partition for partition in range(len(taken) + count) if partition not in taken)
    return tuple(next(free) for _ in range(count))


def refusal(number: str, lanes: Lanes, count: int, stops: Iterable[str]) -> str | None:
    """Why a number cannot get that many lanes now; None: it can.

    Args:
        stops: Why it sends nothing now, or less.
    """
    if lanes.target is not None and len(lanes.target) != count:
        under_way = len(lanes.target)
        return (
            f"{len(lanes.partitions)} → {under_way} lanes is under way: finish it first with"
            f" `topics scale --lanes {number}={under_way}`"
        )
    why = next(iter(stops), None)
    if lanes.step == "open" and why is not None and count != len(lanes.partitions):
        return f"{number} stands still, so its lanes cannot get empty: {why}"
    return None


def plan(lanes: Lanes, count: int) -> tuple[Action, ...]:
    """What is left to be done, in order; nothing: it has that many lanes."""
    if lanes.step == "open" and len(lanes.partitions) == count:
        return ()
    return ACTIONS[lanes.step]


class LaneCluster(Protocol):
    """What a run needs of Kafka and of time. Every call blocks until it is done."""

    def gates(self) -> list[str]:
        """Who is in the gates' group."""

    def extend(self, partitions: int) -> None:
        """Give the lane topics so many partitions at least, and wait until they show."""

    def are_owned(self, partitions: Iterable[int]) -> bool:
        """Whether running senders own these partitions of the lane topics, or no sender runs."""

    def waiting(self, lanes: Lanes) -> Waiting:
        """What a number's lanes of before still hold, not committed by senders."""

    def lanes(self) -> Lanes | None:
        """What the journal says."""

    def journal(self, lanes: Lanes, audit: str | None = None) -> None:
        """Write to the journal, and what it means to the audit."""

    def now_s(self) -> float:
        """A clock that never steps."""

    def now_ms(self) -> int:
        """This host's date, ms."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class LaneRun:
    """One run of the command.

    Args:
        lanes: As they were found.
        target: The partitions to be had in the end.
        rate_per_s: Of the number.
        tell: Called with what was done: step, sentence.
        advance: Told how many messages are sent, of how many, while that is waited for.
    """

    def __init__(
        self, cluster: LaneCluster, lanes: Lanes, target: tuple[int, ...], rate_per_s: float,
        tell: Callable[[str, str], None], advance: Callable[[int, int], None],
    ) -> None:  # fmt: skip
        self._cluster, self._tell, self._advance = cluster, tell, advance
        self._rate_per_s, self._most = rate_per_s, 0
        self._lanes, self._target, self._run = lanes, target, uuid.uuid4().hex

    def take(self, actions: Iterable[Action], timeout_s: float, within_s: float) -> None:
        """Take the steps of a plan.

        Args:
            timeout_s: How long each may take.
            within_s: The turn comes once what waits takes no longer than this at the number's rate.

        Raises:
            ScalingStopped: a step took too long, or another run took over.
        """
        if self._lanes.step != "open":
            self._journal(replace(self._lanes, run=self._run), "goes on")
        steps: dict[Action, Callable[[float, float, float], None]] = {
            "extend": self._extend, "wait": self._wait, "pause": self._pause, "drain": self._drain, "open": self._open,
        }  # fmt: skip
        for action in actions:
            steps[action](self._cluster.now_s() + timeout_s, timeout_s, within_s)

    def _extend(self, end_s: float, timeout_s: float, _within_s: float) -> None:
        count = max(self._target) + 1
        self._cluster.extend(count)
        while not self._cluster.are_owned(self._target):
            self._pause_or_stop(end_s, f"senders do not own partitions {list(self._target)} after {timeout_s:.0f} s")
        self._tell("extend", f"lane topics have {count} partitions or more; senders own {list(self._target)}")

    def _wait(self, end_s: float, timeout_s: float, within_s: float) -> None:
        while (left := self._cluster.waiting(self._lanes)[0]) > within_s * self._rate_per_s:
            self._show(left)
            took_s = left / self._rate_per_s
            why = f"{left} messages wait, {took_s:.0f} s at the number's rate, more than --within; nothing was changed"
            self._pause_or_stop(end_s, f"after {timeout_s:.0f} s {why}")
        self._tell("wait", f"{left} messages wait to be sent")

    def _pause(self, end_s: float, timeout_s: float, _within_s: float) -> None:
        began_s, was = self._cluster.now_s(), self._lanes
        if was.step == "open":
            self._journal(replace(was, target=self._target, step="pause", run=self._run), "begins")
        while members := self._cluster.gates():
            if self._cluster.now_s() > end_s:
                self._journal(replace(self._lanes, target=None, step="open", run=None), "gave up")
                raise ScalingStopped(
                    f"gates did not stop within {timeout_s:.0f} s: {', '.join(members)}; stop them (a gate of an older"
                    " release does not do so by itself), then run this again"
                )
            self._cluster.sleep(LOOK_EVERY_S)
        self._tell("pause", f"no gate ran, after {self._cluster.now_s() - began_s:.1f} s")
        self._journal(replace(self._lanes, step="drain"))

    def _drain(self, end_s: float, timeout_s: float, _within_s: float) -> None:
        began_s = self._cluster.now_s()
        while (left := sum(self._cluster.waiting(self._lanes))) > 0:
            self._show(left)
            self._pause_or_stop(
                end_s, f"{left} messages are left on the lanes of before after {timeout_s:.0f} s; newer ones wait for"
                " them: run this again", DRAIN_EVERY_S,
            )  # fmt: skip
        self._tell("drain", f"the lanes of before are empty, after {self._cluster.now_s() - began_s:.1f} s")

    def _open(self, _end_s: float, _timeout_s: float, _within_s: float) -> None:
        before = Earlier(self._lanes.partitions, self._cluster.now_ms())
        self._journal(Lanes(self._target, earlier=(*self._lanes.earlier, before)), "done")
        self._tell("open", f"senders begin with {list(self._target)} by themselves, within seconds")

    def _show(self, left: int) -> None:
        self._most = max(self._most, left)
        self._advance(self._most - left, self._most)

    def _pause_or_stop(self, end_s: float, why: str, seconds: float = LOOK_EVERY_S) -> None:
        if self._cluster.now_s() > end_s:
            raise ScalingStopped(why)
        self._cluster.sleep(seconds)

    def _journal(self, lanes: Lanes, audit: str | None = None) -> None:
        """Write the next step down, unless another run has gone on meanwhile."""
        found = self._cluster.lanes()
        if found is not None and found != self._lanes:
            raise ScalingStopped("another run of this command has taken over: this one ends")
        self._cluster.journal(lanes, audit)
        self._lanes = lanes
