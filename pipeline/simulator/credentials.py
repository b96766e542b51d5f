"""Who a request comes from and whether its credential is right. Runs on the simulator's loop; no I/O.

A token is a *sender* on profiles that name no number in the path. A token from a login stands for its user, so that a
new login goes on with the same bucket. Times are the long clock's.
"""

from __future__ import annotations

import hashlib

from pipeline.simulator.requests import Route
from pipeline.simulator.settings import LiveSettings

# The v1 client's tokens live 7 days.
TOKEN_LIFE_S = 7 * 86_400
LOGINS_MAX = 10_000
SENDER_CHARS_MAX = 256
ANONYMOUS = "anonymous"


class Credentials:
    """Tokens that logins gave, and the rules for all others."""

    def __init__(self, seed: int) -> None:
        """Derive tokens from `seed`."""
        self._seed = seed
        self._generation = 0
        self._tokens: dict[str, tuple[str, float]] = {}

    def login(self, settings: LiveSettings, user: str, password: str, now_s: float) -> tuple[str, float] | None:
        """Log a user in at `now_s`; while a token of theirs lives it is the same one.

        Returns:
            The token and the time at which it expires; None = wrong password, or `LOGINS_MAX` are logged in.
        """
        if settings.logins and settings.logins.get(user) != password:
            return None
        self._tokens = {token: login for token, login in self._tokens.items() if login[1] > now_s}
        token = next((token for token, login in self._tokens.items() if login[0] == user), None)
        if token is None:
            if len(self._tokens) >= LOGINS_MAX:
                return None
            self._generation += 1
            token = hashlib.sha256(f"{self._seed}/{self._generation}/{user}".encode()).hexdigest()
        expires_at_s = now_s + TOKEN_LIFE_S
        self._tokens[token] = (user, expires_at_s)
        return token, expires_at_s

    def logout(self, token: str) -> None:
        """Let a token of a login be one no longer."""
        self._tokens.pop(token, None)

    def expire(self) -> None:
        """Let every token of a login run out now; the next login gives another one."""
        self._tokens.clear()

    def is_right(self, settings: LiveSettings, credential: str, now_s: float) -> bool:
        """Whether a request with `credential` may pass at `now_s`."""
        if not credential:
            return False
        login = self._tokens.get(credential)
        if login is not None:
            return now_s < login[1]
        if settings.tokens:
            return credential in settings.tokens
        # With logins configured a v1 client has to use one; otherwise any token is as good as another.
        return not settings.logins

    def sender(self, settings: LiveSettings, route: Route, credential: str) -> str:
        """By whom a request is counted: the number in the path, else the number or name of its credential."""
        name = route.number
        if name is None:
            login = self._tokens.get(credential)
            name = credential if login is None else login[0]
            name = settings.number_of_token.get(name, name)
        return name[:SENDER_CHARS_MAX] or ANONYMOUS
