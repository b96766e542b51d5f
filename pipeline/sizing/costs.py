"""What things cost: `costs.toml` as values, each with where it comes from. Read once, blocking."""

from __future__ import annotations

import datetime
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FILE: Final = "costs.toml"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(_Table):
    """A measured value.

    Attributes:
        unit: What it counts.
        about: What was measured, in a sentence.
        command: Prints it anew.
        date: When it was measured.
        machine: Where: a key of `machines`.
        readme: How README quotes it; None: it does not.
    """

    value: Annotated[float, Field(gt=0)]
    unit: str
    about: str
    command: str
    date: datetime.date
    machine: str
    readme: str | None = None


class Curve(_Table):
    """CPU of one process by what passes through it; measured at some rates, straight lines in between.

    A process wakes up for a record at low rates and for a batch of them at high ones, so that a message costs less the
    more there are: a single figure per message would be wrong by a factor somewhere.

    Attributes:
        points: (messages per second, cores), rising, the first at rate 0: what an idle process takes.
        about, command, date, machine: As of a figure.
    """

    points: tuple[tuple[float, float], ...]
    about: str
    command: str
    date: datetime.date
    machine: str

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.points) < 2 or self.points[0][0] != 0:
            raise ValueError("needs two points at least, the first at rate 0")
        if any(b[0] <= a[0] or b[1] < a[1] for a, b in pairwise(self.points)):
            raise ValueError("rates and cores must rise")
        return self

    def cores(self, rate_per_s: float) -> float:
        """Cores that a process takes at a rate; beyond the last point it goes on along the last line."""
        at = min(max(1, bisect_right(self.points, (rate_per_s, float("inf")))), len(self.points) - 1)
        (left, low), (right, high) = self.points[at - 1], self.points[at]
        return low + (rate_per_s - left) * (high - low) / (right - left)

    def rate_at(self, cores: float) -> float:
        """Messages per second at which a process takes so many cores; 0 if it takes more than that when idle."""
        for (left, low), (right, high) in pairwise(self.points):
            if cores <= high and high > low:
                return left + max(0.0, cores - low) * (right - left) / (high - low)
        (left, low), (right, high) = self.points[-2:]
        return right + (cores - high) * (right - left) / (high - low)


class Traffic(_Table):
    """What a message leaves on a topic.

    Attributes:
        records: Records per message; None: they do not follow from messages.
        record_bytes: Bytes of a record on one broker's disk, its share of the batch included, compressed.
    """

    records: Annotated[float, Field(ge=0)] | None = None
    record_bytes: Annotated[float, Field(gt=0)]


class Traffics(_Table):
    """Traffic of all topics, from one run."""

    about: str
    command: str
    date: datetime.date
    machine: str
    topics: Mapping[str, Traffic]


class Assumption(_Table):
    """A value that was not measured here.

    Attributes:
        source: Whose word it is, or why it is a fair guess.
    """

    value: Annotated[float, Field(gt=0)]
    unit: str
    about: str
    source: str


class Costs(_Table):
    """All of `costs.toml`."""

    machines: Mapping[str, str]
    figures: Mapping[str, Figure]
    curves: Mapping[str, Curve]
    traffic: Traffics
    assumptions: Mapping[str, Assumption]

    @model_validator(mode="after")
    def _machines_are_known(self) -> Self:
        sources: Sequence[Figure | Curve | Traffics] = [*self.figures.values(), *self.curves.values(), self.traffic]
        unknown = {one.machine for one in sources} - set(self.machines)
        if unknown:
            raise ValueError(f"no such machine: {', '.join(sorted(unknown))}")
        return self

    def figure(self, name: str) -> float:
        """A measured value."""
        return self.figures[name].value

    def assumed(self, name: str) -> float:
        """An assumed value."""
        return self.assumptions[name].value


@lru_cache(maxsize=1)
def costs() -> Costs:
    """The figures that this release ships with."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return Costs.model_validate(tomllib.loads(text))
