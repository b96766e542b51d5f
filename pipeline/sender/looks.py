"""The sender's own look at its numbers, beside the messages: one task per number whose lane is here.

A refused token stops its number (`preflight.py`) until another one is there or a later look finds it accepted. What was
seen goes to `account-state`, for `wapipe doctor` and `trace`. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

import structlog

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.sender.context import Context
from pipeline.throttle.bucket import Bucket, Limit
from pipeline.whatsapp.client import RequestFailed
from pipeline.whatsapp.look import FIELDS, Seen, look_at, read_look, unanswered

log = structlog.get_logger(__name__)

HEADERS: Final = headers_for(SCHEMA)
LOOKS: Final = Limit(100 / 3600, 100)
"""Half of the calls that Meta allows an app per account (200/h; Meta, about the platform): others need some, too."""
REFUSED_S: Final = (30.0, 300.0)
UNANSWERED_S: Final = (1.0, 60.0)
"""First and longest wait before the next look; each further one takes twice as long as the last."""
SETTLED_S: Final = 3600.0
REMEDY: Final = (
    "put a valid token where token_file (or token_env) points, or correct the login; a file is read again by itself"
)
NO_TOKEN_S: Final = 5.0
"""How soon a number without a token is looked for again: it is told when there is one."""


class Looks:
    """Looks at numbers as long as it is told to follow them.

    Args:
        wake: Called with a number that may be allowed to send now.
        on_end: Called with a task that has ended.
    """

    def __init__(self, ctx: Context, wake: Callable[[str], None], on_end: Callable[[asyncio.Task[None]], None]) -> None:
        self._ctx, self._wake, self._on_end = ctx, wake, on_end
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._renewed: dict[str, asyncio.Event] = {}
        self._buckets: dict[str, Bucket] = {}
        self._fields: dict[str, tuple[str, ...]] = {}

    def follow(self, numbers: Collection[str]) -> None:
        """Look at these numbers, and at no others any more."""
        for number in self._tasks.keys() - set(numbers):
            self._tasks.pop(number).cancel()
        for number in numbers:
            if number not in self._tasks:
                self._renewed[number] = asyncio.Event()
                self._ctx.preflight.looking(number, self._ctx.steady_s())
                self._tasks[number] = self._ctx.loop.create_task(self._watch(number), name=f"look-{number}")
                self._tasks[number].add_done_callback(self._on_end)

    def renewed(self, number: str) -> None:
        """The number has another token: look at it again, now."""
        if number in self._tasks:
            self._ctx.preflight.looking(number, self._ctx.steady_s())
            self._renewed[number].set()

    async def close(self) -> None:
        """End all tasks."""
        tasks = list(self._tasks.values())
        self.follow(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, number: str) -> None:
        tries = 0
        while True:  # ends by cancellation
            self._renewed[number].clear()
            wait_s = NO_TOKEN_S
            if self._ctx.access.is_ready(number):
                await self._room(number)
                seen = await self._look(number)
                if self._renewed[number].is_set() or self._lacks_field(number, seen):
                    continue
                wait_s = _wait_s(seen, tries)
                tries = 0 if wait_s == SETTLED_S else tries + 1
                self._wake(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._renewed[number].wait()
                tries = 0

    async def _room(self, number: str) -> None:
        """Wait for the bucket of this endpoint, which is the account's."""
        key = self._ctx.settings.numbers[number].account or number
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(LOOKS, tokens=LOOKS.burst, now_s=self._ctx.steady_s())
        while not bucket.has(self._ctx.steady_s()):
            await asyncio.sleep(bucket.wait_s(self._ctx.steady_s()))
        bucket.take(self._ctx.steady_s())

    async def _look(self, number: str) -> Seen:
        ctx, conf = self._ctx, self._ctx.settings.numbers[number]
        endpoint = ctx.access.endpoint(number)
        fields = self._fields.get(number, FIELDS)
        where = look_at(conf.profile, conf.base_url, number, endpoint, fields=fields)
        try:
            answer = await ctx.client.get(where.url, where.headers)
        except RequestFailed as exc:
            seen = unanswered(exc.cause)
        else:
            seen = read_look(answer.status, answer.headers, answer.body, ctx.unix_ms() / 1000)
        if seen.outcome is not None:
            ctx.access.judged(number, endpoint, seen.outcome)
            ctx.preflight.refused(number, endpoint)
            log.error(
                "token_refused", number=number, http_status=seen.outcome.http_status,
                error_code=seen.outcome.error_code, detail=seen.detail, remedy=REMEDY,
            )  # fmt: skip
        elif seen.is_final and ctx.access.newest(number, endpoint) is endpoint:
            ctx.preflight.passed(number)
        self._tell(number, seen)
        return seen

    def _lacks_field(self, number: str, seen: Seen) -> bool:
        """Whether to ask again at once, for what any version of the API knows."""
        if not seen.asks_less or number in self._fields:
            return False
        self._fields[number] = FIELDS[:2]
        return True

    def _tell(self, number: str, seen: Seen) -> None:
        """Write what is new, or what nobody has confirmed for long, to `account-state`; best effort."""
        known, now_ms = self._ctx.account.get(f"number:{number}/preflight"), self._ctx.unix_ms()
        told: dict[str, Any] = {
            "kind": "number", "id": number, "aspect": "preflight", "token": seen.token, "quality": seen.quality,
            "tier": seen.tier, "throughput": seen.throughput, "detail": seen.detail,
        }  # fmt: skip
        if known is not None and told.items() <= known.items() and _age_s(known, now_ms) < SETTLED_S / 2:
            return
        log.info(
            "number_looked_at", **{name: told[name] for name in ("token", "quality", "tier", "detail")}, number=number
        )
        value = {**told, "at": rfc3339(now_ms), "by": self._ctx.owner}
        topic = self._ctx.settings.topic("account-state")
        self._ctx.delivery.produce(
            topic, encode(value), f"number:{number}/preflight", HEADERS, lambda _receipt, _error: None
        )


def _wait_s(seen: Seen, tries: int) -> float:
    if seen.outcome is None and seen.is_final:
        return SETTLED_S
    first_s, most_s = REFUSED_S if seen.outcome is not None else UNANSWERED_S
    return float(min(first_s * 2 ** min(tries, 16), most_s))


def _age_s(known: dict[str, Any], now_ms: int) -> float:
    try:
        return (now_ms - parse_rfc3339_ms(str(known.get("at")))) / 1000
    except ValueError:
        return float("inf")
