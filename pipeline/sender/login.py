"""A login of the v1 API: one user at one host, whose token all numbers with that login share.

One task per login gets the token and renews it, so no two logins of a user are ever under way at once. It is renewed
early, or when a request was refused for it. A login obeys the halt of its host and can be that halt's probe; it has a
bucket apart from the messages'. While it fails it is tried again at the pace of a halt's probes. Runs on the event
loop; the password is read in a thread, anew for each login, so that an operator may change it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from pipeline.config import Login
from pipeline.errors import ConfigError, NotSent
from pipeline.redaction import remember
from pipeline.sender.outcomes import TOKEN_RETRY_S
from pipeline.sender.scopes import Scope
from pipeline.throttle.bucket import Bucket, Limit
from pipeline.throttle.halt import Halt, Probe, State, Wait
from pipeline.whatsapp.answer import Kind, Outcome, classify_failure
from pipeline.whatsapp.client import Client, RequestFailed
from pipeline.whatsapp.login import login_request, read_login, remedy
from pipeline.whatsapp.profiles import OTHER_ENDPOINTS_LIMIT

log = structlog.get_logger(__name__)

BASIC: Final = "Basic "
RENEWALS: Final = Limit(1 / 30, 2)
"""Logins because of refused requests: a host that refuses what it has just granted is not asked for more and more."""
LOOK_S_MAX: Final = 60.0
"""How long the task sleeps at most: an event loop's timers may stand still while the machine sleeps."""
LOOK_DUE_S_MAX: Final = 1.0
"""The same while a login is due: a halt that it waits for may end sooner than that said."""
PAST: Final = float("-inf")


def login_bucket(now_s: float) -> Bucket:
    """The bucket of one host's logins: empty at first, as nobody knows what the process before this one has spent."""
    return Bucket(Limit(*OTHER_ENDPOINTS_LIMIT), tokens=0.0, now_s=now_s)


class LoginTask:
    """Keeps one login's token.

    Args:
        login: Host and user.
        numbers: Whose token it is, for the log.
        read_password: Called in a thread before each login; raises ConfigError.
        host: The host's halt.
        bucket: Of the host's logins, shared by its users.
        sister_wait_s: How long a halt of that host holds that another process has told of, seconds; 0: none does.
        steady_s: The steady clock.
        unix_s: This host's date.

    Attributes:
        token: The newest one; None before the first. Never printed.
        on_token: Called when there is another one.
    """

    def __init__(
        self, client: Client, login: Login, numbers: list[str], read_password: Callable[[], str], *,
        host: Scope, bucket: Bucket, sister_wait_s: Callable[[], float], steady_s: Callable[[], float],
        unix_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self.token: str | None = None
        self.on_token: Callable[[], None] = lambda: None
        self._client, self._login, self._numbers, self._read_password = client, login, numbers, read_password
        self._host, self._bucket, self._sister_wait_s = host, bucket, sister_wait_s
        self._steady_s, self._unix_s = steady_s, unix_s
        self._pace = Halt()
        self._renewals = Bucket(RENEWALS, tokens=RENEWALS.burst, now_s=steady_s())
        self._due_s = PAST
        self._written_s = PAST
        self._is_probe = False
        self._look = asyncio.Event()
        self._random = random.Random()  # noqa: S311 - jitter

    def renew(self) -> bool:
        """Ask for another token, as the API refuses this one.

        Returns:
            Whether one comes; False: there were too many logins for this reason, `RENEWALS`.
        """
        now_s = self._steady_s()
        if self._due_s <= now_s:
            return True
        if not self._renewals.has(now_s):
            return False
        self._renewals.take(now_s)
        self._due_s = PAST
        self._look.set()
        return True

    async def run(self) -> None:
        """Log in whenever it is due, for ever."""
        while True:
            now_s = self._steady_s()
            wait_s = self._wait_s(now_s)
            if wait_s > 0.0:
                await self._rest(min(wait_s, LOOK_DUE_S_MAX if self._due_s <= now_s else LOOK_S_MAX))
            else:
                await self._log_in()

    async def _rest(self, wait_s: float) -> None:
        self._look.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._look.wait()

    def _wait_s(self, now_s: float) -> float:
        """Seconds until a login is due, and may go."""
        if self._due_s > now_s:
            return self._due_s - now_s
        of_host_s = _wait_of(self._host.halt.state(now_s))
        # A host that refused this process is probed by it: two that waited for each other would wait for ever.
        sister_s = 0.0 if self._host.halt.is_halted(now_s) else self._sister_wait_s()
        return max(_wait_of(self._pace.state(now_s)), of_host_s, sister_s, self._bucket.wait_s(now_s))

    def _last_check(self) -> str | None:
        now_s = self._steady_s()
        state = self._host.halt.state(now_s)
        if isinstance(state, Wait):
            return "halt"
        if not self._bucket.has(now_s):
            return "limit"
        self._bucket.take(now_s)
        self._is_probe = isinstance(state, Probe)
        if self._is_probe:
            self._host.halt.probing(now_s)
        self._written_s = now_s
        return None

    async def _log_in(self) -> None:
        try:
            password = await asyncio.to_thread(self._read_password)
        except ConfigError as exc:
            self._pace.refused(self._steady_s(), TOKEN_RETRY_S, self._random.random())
            log.error("login_impossible", **self._who(), error=str(exc))  # noqa: TRY400 - the text says it all
            return
        request = login_request(self._login.base_url, self._login.user, password)
        remember(request.headers["Authorization"].removeprefix(BASIC))
        self._is_probe = False
        try:
            answer = await self._client.post(request.url, request.headers, request.body, self._last_check)
        except NotSent:
            return
        except RequestFailed as exc:
            self._failed(classify_failure("read" if exc.written else "connect", exc.cause))
            return
        read = read_login(answer.status, answer.headers, answer.body, self._unix_s())
        if isinstance(read, Outcome):
            self._failed(read)
            return
        now_s = self._steady_s()
        self._host.answered(self._written_s, now_s)
        self._pace.accepted(now_s)
        self.token, self._due_s = remember(read.token), now_s + read.refresh_s
        log.info("logged_in", **self._who(), refresh_in_s=int(read.refresh_s))
        self.on_token()

    def _failed(self, outcome: Outcome) -> None:
        now_s, jitter = self._steady_s(), self._random.random()
        if outcome.kind in (Kind.OVERLOADED, Kind.NOT_SENT):
            written_s = 0.0 if outcome.kind is Kind.NOT_SENT else self._written_s
            self._host.refused("overloaded", written_s, now_s, outcome.retry_after_s, jitter)
        elif outcome.http_status is not None:
            self._host.answered(self._written_s, now_s)
        elif self._is_probe:
            self._host.halt.probe_lost(now_s)
        what_to_do = None if outcome.http_status is None else remedy(outcome)
        asked_s = outcome.retry_after_s if what_to_do is None else TOKEN_RETRY_S
        self._pace.refused(now_s, asked_s, jitter)
        told = {
            **self._who(), "http_status": outcome.http_status, "error_code": outcome.error_code,
            "detail": outcome.detail,
        }  # fmt: skip
        if what_to_do is None:
            log.warning("login_failed", **told)
        else:
            log.error("login_refused", **told, remedy=what_to_do)

    def _who(self) -> dict[str, object]:
        return {"numbers": self._numbers, "user": self._login.user}


def _wait_of(state: State) -> float:
    return state.seconds if isinstance(state, Wait) else 0.0
