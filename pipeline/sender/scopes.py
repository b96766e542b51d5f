"""How far a refusal reaches: the number, its account (WABA), or the API's host. One `Scope` of each per process.

Lanes of one process share these objects, so a halt holds for all of them at once; other processes hear of it on
`account-state` (`halts.py`). Touched only on the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pipeline.config import NumberSettings
from pipeline.throttle.halt import Halt, Open

ScopeName = Literal["number", "account", "host"]
Word = Literal["throttled", "overloaded", "token", "preflight"]
"""Why a scope stands still, as in the metric `number_stopped` (contract)."""

WIDEST_FIRST: tuple[ScopeName, ...] = ("host", "account", "number")


@dataclass(slots=True)
class Scope:
    """What one number, account or host has in common over all lanes of this process.

    Attributes:
        word: Why it stands still, if it does.
        ended_s: When its last spell ended, on the steady clock.
    """

    halt: Halt = field(default_factory=Halt)
    word: Word = "throttled"
    ended_s: float = float("-inf")

    def refused(self, word: Word, written_s: float, now_s: float, asked_s: float | None, jitter: float) -> bool:
        """Take a refusal in.

        Args:
            written_s: When the refused request was written; 0: it never was.
            asked_s: Seconds that the API, or the code, asks to wait; None: not said.
            jitter: In [0, 1).

        Returns:
            False if it says nothing about now: the request was written before the last spell ended.
        """
        if written_s and written_s < self.ended_s:
            return False
        self.word = word
        self.halt.refused(now_s, asked_s, jitter)
        return True

    def answered(self, written_s: float, now_s: float) -> bool:
        """Take in an answer that refuses nobody: a spell that began before its request was written is over.

        Returns:
            Whether a spell ended.
        """
        since_s = self.halt.since_s
        if since_s is None or written_s < since_s:
            return False
        self.halt.accepted(now_s)
        self.ended_s = now_s
        return True


class Scopes(NamedTuple):
    """The three scopes that one number belongs to."""

    number: Scope
    account: Scope
    host: Scope

    def is_halted(self, now_s: float) -> bool:
        """Whether one of them is in a spell, be it that a probe may go."""
        return any(scope.halt.is_halted(now_s) for scope in self)

    def allowance(self, now_s: float) -> tuple[float, float] | None:
        """Parts of rate and burst that may be used now, each in (0, 1]; None while one of them is halted."""
        factor = ceiling = 1.0
        for scope in self:
            state = scope.halt.state(now_s)
            if not isinstance(state, Open):
                return None
            factor, ceiling = min(factor, state.factor), min(ceiling, state.ceiling)
        return factor, ceiling

    def refused(
        self, name: ScopeName, word: Word, written_s: float, now_s: float, asked_s: float | None, jitter: float
    ) -> bool:
        """Take a refusal in that reaches as far as `name`; see `Scope.refused`."""
        scope: Scope = getattr(self, name)
        return scope.refused(word, written_s, now_s, asked_s, jitter)

    def answered(self, written_s: float, now_s: float) -> bool:
        """Take in an answer that refuses nobody; whether a spell of one of them ended."""
        ended = [scope.answered(written_s, now_s) for scope in self]
        return any(ended)

    def probing(self, now_s: float) -> None:
        """Note that a probe is on its way."""
        for scope in self:
            scope.halt.probing(now_s)

    def probe_lost(self, now_s: float) -> None:
        """Note that a probe has ended; without effect if its answer has said anything."""
        for scope in self:
            scope.halt.probe_lost(now_s)


def alone() -> Scopes:
    """Scopes of a number that shares nothing with others."""
    return Scopes(Scope(), Scope(), Scope(word="overloaded"))


def scopes_of(numbers: Mapping[str, NumberSettings]) -> dict[str, Scopes]:
    """The scopes of each number: one account and one host for all numbers that name the same."""
    hosts = {number.base_url: Scope(word="overloaded") for number in numbers.values()}
    accounts = {number.account: Scope() for number in numbers.values() if number.account}
    return {
        name: Scopes(Scope(), accounts.get(number.account) or Scope(), hosts[number.base_url])
        for name, number in numbers.items()
    }
