"""The HTTP client: POSTs, each with a last check in the very step that hands the bytes to the socket.

Runs on the sender's event loop. The check is synchronous; what it forbids has not left. aiohttp never repeats a POST
by itself; a request whose answer did not come has its socket aborted, so that nothing more of it leaves.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from pipeline.errors import NotSent

CONNECT_TIMEOUT_S = 3.0
REQUEST_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
KEEPALIVE_S = 15.0
DNS_TTL_S = 300

LastCheck = Callable[[], str | None]
"""Returns None if the request may leave, else the reason why not."""


@dataclass(slots=True)
class _Leaving:
    """One request on its way to the socket."""

    check: LastCheck
    written: bool = False
    refused: str | None = None
    transport: asyncio.Transport | None = None


_leaving: ContextVar[_Leaving] = ContextVar("leaving")


class CheckedRequest(aiohttp.ClientRequest):
    """Asks the last check when headers and body are handed to the transport, not a loop step earlier."""

    def update_auto_headers(self, _skip_auto_headers: Iterable[str] | None) -> None:
        """Add nothing of aiohttp's own; to skip its headers by name costs two multidicts per request (bench W1)."""

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        """Write the request, or stop it: then nothing of it was written, as headers wait for the body."""
        leaving = _leaving.get()
        leaving.refused = leaving.check()
        if leaving.refused is None:
            leaving.written = True
            leaving.transport = conn.transport
            await super().write_bytes(writer, conn, content_length)
        elif conn.protocol is not None:
            conn.protocol.set_exception(NotSent(leaving.refused))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said."""

    status: int
    headers: Any
    body: bytes


class RequestFailed(Exception):
    """No answer came.

    Attributes:
        written: Whether the request was handed to the socket: then the API may have taken it.
    """

    def __init__(self, cause: BaseException, *, written: bool) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause
        self.written = written


class Client:
    """Keep-alive connections to the API hosts; use as an async context manager.

    Args:
        request_timeout_s: From the start of a request to the end of its answer.
    """

    def __init__(self, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._session = aiohttp.ClientSession(
            request_class=CheckedRequest,
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=DNS_TTL_S, family=socket.AF_UNSPEC
            ),
            timeout=aiohttp.ClientTimeout(total=request_timeout_s, sock_connect=CONNECT_TIMEOUT_S),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def post(self, url: str, headers: dict[str, str], body: bytes, check: LastCheck) -> Answer:
        """Send one request.

        Args:
            check: Called once, synchronously, at the write.

        Raises:
            NotSent: the check forbade it; nothing left.
            RequestFailed: no answer; its `written` tells whether the request may have arrived.
        """
        return await self._request("POST", url, headers, body, check)

    async def get(self, url: str, headers: dict[str, str]) -> Answer:
        """Ask for something that changes nothing at the API.

        Raises:
            RequestFailed: no answer.
        """
        return await self._request("GET", url, headers, None, lambda: None)

    async def _request(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, check: LastCheck
    ) -> Answer:
        leaving = _Leaving(check)
        _leaving.set(leaving)
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await response.content.read(MAX_ANSWER_BYTES)
                while len(content) < MAX_ANSWER_BYTES and not response.content.at_eof():
                    content += await response.content.read(MAX_ANSWER_BYTES - len(content))
                return Answer(response.status, response.headers, content)
        except (aiohttp.ClientError, TimeoutError, OSError, NotSent, ValueError) as exc:
            if leaving.refused is not None:
                raise NotSent(leaving.refused) from exc
            if leaving.transport is not None:
                leaving.transport.abort()
            raise RequestFailed(exc, written=leaving.written) from exc
