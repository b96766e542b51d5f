"""How numbers prove who they are: the endpoint of each with the token that holds now; what a refused token means.

A token may be replaced while requests are under way: by its login, or by whoever writes its file. So a refusal is
judged by the endpoint that the request went to. A refused token is renewed once and the message goes again; if the new
one is refused, too, the number halts. Touched only on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

import structlog

from pipeline.clock import steady_s
from pipeline.errors import ConfigError
from pipeline.logs import Repeats
from pipeline.whatsapp.answer import Kind, Outcome
from pipeline.whatsapp.profiles import Endpoint

log = structlog.get_logger(__name__)

Locate = Callable[[str], Endpoint]
"""The endpoint of a number with a token."""
_PROVES: Final = frozenset({Kind.ACCEPTED, Kind.REFUSED, Kind.PAIR_LIMITED, Kind.RECIPIENT_STOPPED})
"""Answers that are only given to a token that was looked at and found right."""


class Source(Protocol):
    """Where a token comes from.

    Attributes:
        token: The one that holds now; None: there is none yet.
        on_token: Called when there is another one.
    """

    token: str | None
    on_token: Callable[[], None]

    def renew(self) -> bool:
        """Ask for another token; whether there is one now, or one comes."""


class FixedToken:
    """A token of the operator's, read again when it is refused.

    Args:
        read: Reads it; raises ConfigError. One line of a local file: short enough for the event loop, and only read
            when the number would be halted otherwise.
    """

    def __init__(self, number: str, read: Callable[[], str]) -> None:
        self._number, self._read = number, read
        self._repeats = Repeats()
        self.token: str | None = read()
        self.on_token: Callable[[], None] = lambda: None

    def renew(self) -> bool:
        """Look whether there is another one by now."""
        try:
            token = self._read()
        except ConfigError as exc:
            held = self._repeats.pass_now("unreadable", steady_s())
            if held is not None:
                log.warning("token_unreadable", number=self._number, error=str(exc), suppressed=held)
            return False
        if token == self.token:
            return False
        self.token = token
        log.info("token_replaced", number=self._number)
        self.on_token()
        return True


@dataclass(slots=True)
class _Number:
    locate: Locate
    source: Source
    endpoint: Endpoint
    has_token: bool
    refused: Endpoint | None = None
    has_gone_again: bool = False


class Access:
    """The access of all numbers of this process; without any it lets everything be.

    Attributes:
        on_change: Called with a number that has another token.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, _Number] = {}
        self.on_change: Callable[[str], None] = lambda _number: None

    def add(self, number: str, locate: Locate, source: Source) -> None:
        """Know a number, be there a token for it yet or not."""
        self._numbers[number] = _Number(locate, source, locate(source.token or ""), source.token is not None)
        source.on_token = partial(self.refresh, source)

    def endpoint(self, number: str) -> Endpoint:
        """Where the number's messages go now."""
        return self._numbers[number].endpoint

    def newest(self, number: str, known: Endpoint) -> Endpoint:
        """The endpoint with the newest token; the one known if the number's token is nobody's matter here."""
        one = self._numbers.get(number)
        return known if one is None else one.endpoint

    def is_ready(self, number: str) -> bool:
        """Whether there is a token that was not refused."""
        one = self._numbers.get(number)
        return one is None or (one.has_token and one.refused is not one.endpoint)

    def refresh(self, source: Source) -> None:
        """Take the newest token of a source for all numbers that have theirs from it."""
        for number, one in self._numbers.items():
            if one.source is source and source.token is not None:
                one.endpoint, one.has_token = one.locate(source.token), True
                self.on_change(number)

    def judged(self, number: str, endpoint: Endpoint, outcome: Outcome) -> Outcome:
        """Take in what a request came to.

        Args:
            endpoint: Where it was posted, with the token that it had.

        Returns:
            The outcome; a refusal of the token becomes `TOKEN_SPENT` if the message may go again with another one,
            which is here, or comes. It stays `UNAUTHORISED` if nothing better than waiting is left.
        """
        one = self._numbers.get(number)
        if one is None:
            return outcome
        if outcome.kind is not Kind.UNAUTHORISED:
            if outcome.kind in _PROVES and endpoint is one.endpoint:
                one.has_gone_again = False
            return outcome
        if endpoint is not one.endpoint or endpoint is one.refused:
            return replace(outcome, kind=Kind.TOKEN_SPENT)
        may_go_again, one.has_gone_again = not one.has_gone_again, True
        if not one.source.renew():
            return outcome
        one.refused = endpoint
        return replace(outcome, kind=Kind.TOKEN_SPENT) if may_go_again else outcome
