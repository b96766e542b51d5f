"""Fault spells: when the API fails and how. Pure: clock readings come in, randomness is seeded.

Runs on the simulator's loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from random import Random

from pipeline.simulator.limits import NS_PER_S
from pipeline.simulator.parts import FaultKind, SpellSettings
from pipeline.simulator.settings import SPELLS_MAX


@dataclass(slots=True)
class Spell:
    """A spell with its place in time.

    Attributes:
        settings: What was asked for.
        from_ns: Its begin, ns since the simulator's start.
        to_ns: Its end; not part of it any more.
        requests: Arrivals that it hit.
    """

    settings: SpellSettings
    from_ns: int
    to_ns: int
    requests: int = 0

    @property
    def kind(self) -> FaultKind:
        """How it fails."""
        return self.settings.kind

    def covers(self, now_ns: int, sender: str, account: str, *, is_message: bool) -> bool:
        """Whether an arrival of `sender`, a number of `account`, at `now_ns` falls into it."""
        asked = self.settings
        is_theirs = asked.sender in (None, sender) and asked.account in (None, account)
        return self.from_ns <= now_ns < self.to_ns and is_theirs and (is_message or asked.everywhere)

    def retry_after(self, now_ns: int, wall_s: float) -> str | None:
        """The value of `Retry-After` at `now_ns`, which is `wall_s` in Unix time; None = no header.

        Rounded up to a whole second: the header cannot say less.
        """
        asked = self.settings.retry_after
        if asked is None:
            return None
        delay_s = (self.to_ns - now_ns) / NS_PER_S if asked == "auto" else asked
        if self.settings.retry_after_as == "date":
            return formatdate(math.ceil(wall_s + delay_s), usegmt=True)
        return str(math.ceil(delay_s))


class Schedule:
    """All spells: those that wait for the first message, those with a place in time, those that are over."""

    def __init__(self, spells: Sequence[SpellSettings], now_ns: int, rng: Random) -> None:
        """Schedule `spells` of the settings; those since "now" count from `now_ns`."""
        self._rng = rng
        self._waiting = [spell for spell in spells if spell.since != "now"]
        self._placed: list[Spell] = []
        for spell in spells:
            if spell.since == "now":
                self._place(spell, now_ns)

    def add(self, spell: SpellSettings, now_ns: int, *, has_begun: bool) -> None:
        """Add a spell by control: from `now_ns`, unless it asks for the first message and none has come yet."""
        if spell.since == "first_message" and not has_begun:
            self._waiting.append(spell)
        else:
            self._place(spell, now_ns)

    def is_full(self, now_ns: int) -> bool:
        """Whether `SPELLS_MAX` spells are not over yet."""
        return len(self._waiting) + sum(placed.to_ns > now_ns for placed in self._placed) >= SPELLS_MAX

    @property
    def is_idle(self) -> bool:
        """Whether no spell has a place in time yet."""
        return not self._placed

    def clear(self) -> None:
        """Drop every spell; those under way end now."""
        self._waiting.clear()
        self._placed.clear()

    def begin(self, now_ns: int) -> None:
        """The first message is here: place what waited for it."""
        for spell in self._waiting:
            self._place(spell, now_ns)
        self._waiting.clear()

    def draw(self, now_ns: int, sender: str, account: str, *, is_message: bool = True) -> Spell | None:
        """The first spell that hits an arrival of `sender`, a number of `account`, at `now_ns`, if any."""
        for spell in self._placed:
            if (
                spell.covers(now_ns, sender, account, is_message=is_message)
                and self._rng.random() < spell.settings.probability
            ):
                spell.requests += 1
                return spell
        return None

    def snapshot(self, now_ns: int) -> list[dict[str, object]]:
        """Every spell as plain values, those that are over included."""
        rows: list[dict[str, object]] = [
            {"kind": waiting.kind, "from_ns": None, "to_ns": None, "state": "waiting", "requests": 0}
            for waiting in self._waiting
        ]
        for spell in self._placed:
            state = "over" if now_ns >= spell.to_ns else "active" if now_ns >= spell.from_ns else "ahead"
            rows.append(
                {
                    "kind": spell.kind,
                    "from_ns": spell.from_ns,
                    "to_ns": spell.to_ns,
                    "state": state,
                    "requests": spell.requests,
                }
            )
        return rows

    def _place(self, settings: SpellSettings, now_ns: int) -> None:
        while len(self._placed) >= SPELLS_MAX:
            over = min(self._placed, key=lambda placed: placed.to_ns)
            self._placed.remove(over)
        from_ns = now_ns + round(settings.in_s * NS_PER_S)
        self._placed.append(Spell(settings, from_ns, from_ns + round(settings.for_s * NS_PER_S)))
