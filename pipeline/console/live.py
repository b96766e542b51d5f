"""Live parts of a page: fragments of HTML, sent as server-sent events when they have changed. Runs on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
from aiohttp import web

from pipeline.clock import steady_s
from pipeline.console.guard import secure
from pipeline.console.web import SESSION, parts_of

EVERY_S: Final = 1.0
MAX_STREAMS: Final = 64
QUIET_S: Final = 15.0
"""A comment is sent so often when nothing changes, so that no proxy takes the stream for dead."""
RETRY_MS: Final = 3_000

Fragments = Callable[[web.Request], Awaitable[Mapping[str, str]]]
"""Makes the live parts of a page: HTML by the id of the element that it goes into."""


def live(fragments: Fragments, every_s: float = EVERY_S) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that keeps sending what has changed, until the browser leaves, the login ends or the role drains."""

    async def handler(request: web.Request) -> web.StreamResponse:
        parts = parts_of(request)
        if parts.streams >= MAX_STREAMS:
            raise web.HTTPServiceUnavailable(text="too many live pages are open", headers={"Retry-After": "10"})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        secure(answer)
        await answer.prepare(request)
        parts.streams += 1
        try:
            await _send(request, answer, fragments, every_s)
        except ConnectionError:
            pass  # the browser left
        finally:
            parts.streams -= 1
        return answer

    return handler


async def _send(request: web.Request, answer: web.StreamResponse, fragments: Fragments, every_s: float) -> None:
    parts, session = parts_of(request), request[SESSION]
    await answer.write(f"retry: {RETRY_MS}\n\n".encode())
    sent: dict[str, str] = {}
    said_at = steady_s()
    while not parts.draining.is_set() and session.until_s > steady_s():
        made = await fragments(request)
        changed = {name: html for name, html in made.items() if sent.get(name) != html}
        if changed:
            sent.update(changed)
            await answer.write(b"data: " + orjson.dumps(changed) + b"\n\n")
            said_at = steady_s()
        elif steady_s() - said_at >= QUIET_S:
            await answer.write(b":\n\n")
            said_at = steady_s()
        try:
            await asyncio.wait_for(parts.draining.wait(), every_s)
        except TimeoutError:
            continue
