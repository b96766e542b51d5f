"""`number:ID/lanes` on `account-state`: the lanes that are in force for a number, and what is changed about them.

The settings pin lanes for a number that nobody has lanes on record for: the first sender that runs writes them down.
From then on every gate and sender goes by the record, whatever the settings of its own process say, so a restart with
other `partitions` changes nothing by itself. `wapipe topics scale --lanes` journals its steps here:

    open    gates write to `partitions`, senders send from them
    pause   gates stand still
    drain   gates write to `target` already; senders send what is left on `partitions`, and nothing of `target` yet

Lanes of before and after have no partition in common, so that what stands on one is always of one time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pipeline.clock import rfc3339
from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.records.codec import Record, TimeMs, check

ASPECT: Final = "lanes"

LanesStep = Literal["open", "pause", "drain"]
Lane = Annotated[int, Field(ge=0)]
Get = Callable[[str], Mapping[str, Any] | None]
"""The newest value of a key of `account-state`."""


class EarlierLanes(Record):
    """Lanes that a number had, and when they were given up."""

    partitions: list[Lane]
    closed: TimeMs


class LanesState(Record):
    """`number:ID/lanes`: the lane partitions in force, one per shard; gates run while `step` is not `pause`."""

    kind: Literal["number"]
    id: str
    aspect: Literal["lanes"]
    partitions: list[Lane] = Field(min_length=1, description="What senders send from.")
    target: list[Lane] | None = Field(description="What the number moves to; null: nothing is changed.")
    step: LanesStep
    earlier: list[EarlierLanes] = Field(description="Oldest first: what was sent lately stands on their ledgers.")
    run: str | None = Field(description="The command that is at work; another one has taken over if it changes.")
    at: TimeMs
    by: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """See `EarlierLanes`; `closed_ms` by the clock of whoever ran the command."""

    partitions: tuple[int, ...]
    closed_ms: int


@dataclass(frozen=True, slots=True)
class Lanes:
    """The same in memory; see `LanesState`."""

    partitions: tuple[int, ...]
    target: tuple[int, ...] | None = None
    step: LanesStep = "open"
    earlier: tuple[Earlier, ...] = ()
    run: str | None = None

    @property
    def written(self) -> tuple[int, ...]:
        """Where gates write."""
        return self.target if self.step == "drain" and self.target is not None else self.partitions

    @property
    def held(self) -> frozenset[int]:
        """Every partition that something of the number stands on, or is about to."""
        return frozenset((*self.partitions, *(self.target or ())))

    @property
    def used(self) -> frozenset[int]:
        """Every partition that was ever the number's."""
        return self.held.union(*(one.partitions for one in self.earlier))

    def record(self, number: str, now_ms: int, by: str) -> dict[str, Any]:
        """What is written to the topic."""
        return {
            "kind": "number", "id": number, "aspect": ASPECT, "partitions": list(self.partitions),
            "target": list(self.target) if self.target is not None else None, "step": self.step,
            "earlier": [{"partitions": list(one.partitions), "closed": rfc3339(one.closed_ms)} for one in self.earlier],
            "run": self.run, "at": rfc3339(now_ms), "by": by,
        }  # fmt: skip


def lanes_key(number: str) -> str:
    """Where `account-state` keeps a number's lanes."""
    return f"number:{number}/{ASPECT}"


def is_lanes_key(key: str) -> bool:
    """Whether a key of `account-state` tells a number's lanes."""
    return key.startswith("number:") and key.endswith(f"/{ASPECT}")


def parse_lanes(value: Mapping[str, Any] | None) -> Lanes | None:
    """Read a number's lanes; None: there are none on record.

    Raises:
        ContractError: it is no such record.
    """
    if value is None:
        return None
    state = check(LanesState, value)
    earlier = tuple(Earlier(tuple(one.partitions), one.closed) for one in state.earlier)
    target = tuple(state.target) if state.target is not None else None
    return Lanes(tuple(state.partitions), target, state.step, earlier, state.run)


def pinned(settings: Settings, number: str) -> Lanes:
    """A number's lanes as the settings of this process have them."""
    return Lanes(tuple(settings.numbers[number].partitions or [0]))


def lanes_in_force(settings: Settings, get: Get) -> dict[str, Lanes]:
    """The lanes of every number of the settings: those on record, else those that are pinned.

    Raises:
        ContractError: a record is none.
    """
    return {number: parse_lanes(get(lanes_key(number))) or pinned(settings, number) for number in settings.numbers}


def with_lanes(settings: Settings, partitions: Mapping[str, Iterable[int]]) -> Settings:
    """The same settings with other lanes.

    Raises:
        ConfigError: two numbers would share one.
    """
    owners: dict[int, str] = {}
    for number, lanes in partitions.items():
        for lane in lanes:
            if owners.setdefault(lane, number) != number:
                raise ConfigError(
                    f"numbers.{number}.partitions: lane {lane} belongs to {owners[lane]}, which `wapipe topics scale"
                    f" --lanes` has given other lanes than its settings say; see `wapipe numbers list`, and pin others"
                )
    numbers = {
        number: own.model_copy(update={"partitions": list(partitions[number])})
        for number, own in settings.numbers.items()
    }
    return settings.model_copy(update={"numbers": numbers})


def differing(settings: Settings, lanes: Mapping[str, Lanes]) -> dict[str, str]:
    """Numbers whose settings pin other lanes than are in force, each with what to do about it."""
    found = {}
    for number, own in settings.numbers.items():
        now = list(lanes[number].written)
        if own.partitions is not None and own.partitions != now:
            wanted = len(own.partitions)
            change = "" if wanted == len(now) else f"; to get {wanted}: wapipe topics scale --lanes {number}={wanted}"
            found[number] = f"set numbers.{number}.partitions = {now}, which is in force{change}"
    return found
