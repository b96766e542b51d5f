"""Reads the templates of an account from the API, page by page, within that endpoint's own limit.

One task; every page, try and wait is bounded. Tokens are read as the settings name them and never printed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp

from pipeline.clock import steady_s, unix_ms, unix_s
from pipeline.config import NumberSettings, Settings
from pipeline.errors import EXIT_CONFIG, EXIT_NEGATIVE, EXIT_TIMED_OUT, ConfigError, PipelineError
from pipeline.secrets import password_of, token_of
from pipeline.throttle.bucket import Bucket, Limit
from pipeline.whatsapp.answer import Kind, Outcome, classify
from pipeline.whatsapp.login import Granted, login_request, read_login
from pipeline.whatsapp.template_listing import (
    CODE_ACCOUNT_BUSY,
    PAGE_BYTES_MAX,
    PAGES_MAX,
    Listed,
    ListingRequest,
    Page,
    endpoint_limit,
    listing_request,
    read_page,
)

TRIES_MAX: Final = 6
RESTARTS_MAX: Final = 3
BACKOFF_S: Final = 1.0
WAIT_S_MAX: Final = 120.0
"""Who is asked to wait longer is told so and comes back later."""
REQUEST_TIMEOUT_S: Final = 30.0
PREFERENCE: Final = ("cloud", "360dialog", "v1")
_PASSING: Final = frozenset({Kind.THROTTLED, Kind.OVERLOADED, Kind.TRANSIENT, Kind.UNKNOWN})

Sleep = Callable[[float], Awaitable[None]]
Tell = Callable[[int, int], None]


class ListingFailed(PipelineError):
    """The templates of an account could not be read.

    Operator action: do what the message says; what was known of the templates before still holds.
    """

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Source:
    """An account, and the number through which its templates are read."""

    account: str
    number: str
    settings: NumberSettings


@dataclass(slots=True)
class Listing:
    """All templates of an account.

    Attributes:
        templates: Each with the host date, ms, at which its page was asked for.
        unreadable: Entries of the list that are no templates.
    """

    source: Source
    began_ms: int
    templates: list[tuple[Listed, int]] = field(default_factory=list)
    unreadable: int = 0
    pages: int = 0


def sources_of(settings: Settings, only: str | None = None) -> list[Source]:
    """The accounts of the settings, each with the number whose API lists templates best.

    Args:
        only: This account alone; None: all.

    Raises:
        ConfigError: there is no such account, or none at all.
    """
    found: dict[str, Source] = {}
    by_preference = sorted(settings.numbers.items(), key=lambda item: PREFERENCE.index(item[1].profile))
    for number, own in by_preference:
        if own.account and (only is None or own.account == only):
            found.setdefault(own.account, Source(own.account, number, own))
    if not found:
        known = sorted({own.account for own in settings.numbers.values() if own.account})
        missing = f"no account {only}; configured: {', '.join(known) or 'none'}" if only is not None else "none is set"
        raise ConfigError(f"numbers.ID.account: {missing}; set the account (WABA) of each number")
    return [found[account] for account in sorted(found)]


class Lister:
    """Reads lists of templates.

    Args:
        session: For all requests.
        tell: Called after each page with templates read and expected.
        sleep: Waits so many seconds.
    """

    def __init__(
        self, session: aiohttp.ClientSession, tell: Tell = lambda _done, _total: None, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._session, self._tell, self._sleep = session, tell, sleep

    async def read(self, source: Source) -> Listing:
        """Read all templates of an account.

        Raises:
            ListingFailed: the API refuses, stays away, or its list is none.
        """
        rate_per_s, burst = endpoint_limit(source.settings.profile)
        # Nobody knows what was called before this process: half the burst is taken for spent.
        bucket = Bucket(Limit(rate_per_s, burst), tokens=burst / 2, now_s=steady_s())
        token = await self._token(source)
        for _ in range(RESTARTS_MAX):
            listing = await self._pages(source, token, bucket)
            if listing is not None:
                return listing
        raise ListingFailed(EXIT_TIMED_OUT, f"account {source.account}: its list changes while it is read; try again")

    async def _pages(self, source: Source, token: str, bucket: Bucket) -> Listing | None:
        """All pages; None if entries moved between them: by offset, one that moves up is never seen."""
        listing, cursor, total = Listing(source, unix_ms()), None, None
        while listing.pages < PAGES_MAX:
            asked_ms = unix_ms()
            page = await self._page(source, token, cursor, bucket)
            listing.pages += 1
            listing.unreadable += page.unreadable
            listing.templates += [(one, asked_ms) for one in page.templates]
            total = page.total if listing.pages == 1 else total
            done = len(listing.templates) + listing.unreadable
            self._tell(done, max(done, page.total or 0))
            if page.cursor is None:
                return listing if total is None or total == done else None
            cursor = page.cursor
        raise ListingFailed(EXIT_NEGATIVE, f"account {source.account}: more than {PAGES_MAX} pages of templates")

    async def _page(self, source: Source, token: str, cursor: str | None, bucket: Bucket) -> Page:
        own = source.settings
        request = listing_request(own.profile, own.base_url, source.account, source.number, token, cursor)
        body = await self._patiently(source, request, bucket)
        try:
            return read_page(own.profile, body, cursor)
        except ValueError as exc:
            raise ListingFailed(EXIT_NEGATIVE, f"{_address(request.url)}: {exc}; check base_url") from exc

    async def _patiently(self, source: Source, request: ListingRequest, bucket: Bucket) -> bytes:
        """The body of a 2xx answer; what passes by itself is waited for."""
        for attempt in range(TRIES_MAX):
            while not bucket.has(steady_s()):
                await self._sleep(bucket.wait_s(steady_s()))
            bucket.take(steady_s())
            answer = await self._get(request)
            if isinstance(answer, bytes):
                return answer
            if answer.kind not in _PASSING:
                raise _refused(source, request, answer)
            wait_s = answer.retry_after_s if answer.retry_after_s is not None else BACKOFF_S * 2**attempt
            if attempt + 1 == TRIES_MAX or wait_s > WAIT_S_MAX:
                after = f" and asks to wait {wait_s:.0f} s" if wait_s > WAIT_S_MAX else f" after {TRIES_MAX} tries"
                raise ListingFailed(EXIT_TIMED_OUT, f"{_address(request.url)}: {answer.detail}{after}; try again later")
            await self._sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    async def _get(self, request: ListingRequest) -> bytes | Outcome:
        try:
            async with self._session.get(request.url, headers=request.headers, allow_redirects=False) as response:
                body = await response.content.read(PAGE_BYTES_MAX)
                while len(body) < PAGE_BYTES_MAX and not response.content.at_eof():
                    body += await response.content.read(PAGE_BYTES_MAX - len(body))
                if 200 <= response.status <= 299:
                    return body
                outcome = classify(response.status, response.headers, body, unix_s())
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            return Outcome(Kind.TRANSIENT, detail=f"no answer ({type(exc).__name__})")
        return replace(outcome, kind=Kind.THROTTLED) if outcome.error_code == CODE_ACCOUNT_BUSY else outcome

    async def _token(self, source: Source) -> str:
        own = source.settings
        try:
            if own.login is None:
                return token_of(source.number, own)
            login = login_request(own.base_url, own.login.user, password_of(source.number, own))
        except ConfigError as exc:
            raise ListingFailed(EXIT_CONFIG, str(exc)) from exc
        try:
            async with self._session.post(login.url, headers=login.headers, data=login.body) as response:
                granted = read_login(response.status, response.headers, await response.read(), unix_s())
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise ListingFailed(EXIT_TIMED_OUT, f"{login.url}: no answer ({type(exc).__name__})") from exc
        if not isinstance(granted, Granted):
            raise ListingFailed(EXIT_NEGATIVE, f"{login.url}: {granted.detail}; check login_user and its password")
        return granted.token


def open_session() -> aiohttp.ClientSession:
    """A session for `Lister`; close it."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S), cookie_jar=aiohttp.DummyCookieJar()
    )


def _refused(source: Source, request: ListingRequest, outcome: Outcome) -> ListingFailed:
    if outcome.kind is Kind.UNAUTHORISED:
        remedy = f"check the token of numbers.{source.number}; reading templates needs whatsapp_business_management"
    elif source.settings.profile == "v1" and outcome.http_status in (404, 405):
        remedy = (
            "this v1 API lists no templates: configure a cloud number of the account, or set"
            " policy.require_templates = false"
        )
    else:
        remedy = f"check numbers.{source.number}: account, base_url and what its token may do"
    return ListingFailed(EXIT_NEGATIVE, f"{_address(request.url)}: {outcome.detail}; {remedy}")


def _address(url: str) -> str:
    return url.partition("?")[0]
