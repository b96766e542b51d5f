"""A TCP proxy whose links can be cut, swallowed, slowed, or lose an answer: one link per worker and server.

All links live in one event loop in a thread of the harness; `Links` is called from the main thread. Whatever was
swallowed is thrown away, never delivered late, and its connections are reset when the link heals: so does a network
that comes back after TCP has given up.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any, Final, Literal, Self

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 * 1024
HEAD_BYTES: Final = 256
CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 30.0
LISTEN_TRIES_MAX: Final = 50
LISTEN_RETRY_S: Final = 0.1
SENT_MAX: Final = 1_000_000
TICK_S: Final = 0.02
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

State = Literal["open", "cut", "swallow"]


@dataclass(slots=True)
class Losing:
    """Answers that are still to be lost: those to requests whose first bytes contain `head`.

    Attributes:
        count: How many.
        after_bytes: What of each answer still arrives.
    """

    head: bytes
    count: int
    after_bytes: int = 0


@dataclass(slots=True, eq=False)
class Connection:
    """A client's connection and the one to the server behind it.

    Attributes:
        head: First bytes of the client's newest chunk.
    """

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    head: bytes = b""

    def reset(self) -> None:
        """End both sides by RST."""
        for writer in (self.client, self.server):
            if writer is not None:
                _reset(writer)

    def close(self) -> None:
        """End both sides in good order; what was reset stays so."""
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()


@dataclass(slots=True)
class Link:
    """One listening port and the server behind it. Touched only in the links' loop.

    Attributes:
        port: Where clients connect.
        server_port: Where the server listens, on the same host.
        state: `open`; `cut`: connections are reset, new ones refused; `swallow`: all bytes vanish.
        answer_delay_s: Each chunk from the server waits so long.
        bytes_per_s: Bandwidth of each direction of each connection; None: not limited.
        is_noted: Whether the times of the clients' chunks are kept in `sent_ns`.
        sent_ns: When a chunk was handed on to the server, on this machine's monotonic clock.
    """

    port: int
    server_port: int
    is_noted: bool = False
    state: State = "open"
    answer_delay_s: float = 0.0
    bytes_per_s: float | None = None
    sent_ns: list[int] = field(default_factory=list)
    listener: asyncio.Server | None = None
    connections: set[Connection] = field(default_factory=set)


class Links:
    """All links of a run. A context manager: leaving it ends the thread and every connection."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._links: dict[str, Link] = {}
        self._losing: list[Losing] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.lag_max_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self._loop.close()

    # -- called from the main thread ---------------------------------------------------------------------------------
    def open(self, name: str, port: int, server_port: int, *, is_noted: bool = False) -> None:
        """Listen on a port and hand on to another one.

        Raises:
            OSError: the port is taken.
        """
        self._call(self._open(name, Link(port, server_port, is_noted)))

    def cut(self, name: str) -> None:
        """Reset the link's connections and refuse new ones."""
        self._call(self._set_state(self._links[name], "cut"))

    def swallow(self, name: str) -> None:
        """Let every byte of the link vanish, in both directions; new connections are accepted and get no answer."""
        self._call(self._set_state(self._links[name], "swallow"))

    def slow(self, name: str, *, answer_delay_s: float = 0.0, bytes_per_s: float | None = None) -> None:
        """Let answers come late, or all bytes slowly. Requests are not delayed: they would arrive bunched later."""
        self._call(self._set_speed(self._links[name], answer_delay_s, bytes_per_s))

    def heal(self, name: str) -> None:
        """Let the link work again; what it swallowed stays lost."""
        link = self._links[name]
        self._call(self._set_speed(link, 0.0, None))
        self._call(self._set_state(link, "open"))

    def lose_answers(self, head: str, count: int, after_bytes: int = 0) -> None:
        """Of the next `count` requests on noted links whose first bytes contain `head`: reset instead of an answer."""
        self._call(self._lose(Losing(head.encode(), count, after_bytes)))

    def answers_to_lose(self) -> int:
        """How many answers are still to be lost."""
        return sum(one.count for one in self._losing)

    def sent_ns(self, name: str) -> list[int]:
        """When chunks of clients were handed on by a noted link, monotonic clock."""
        return list(self._links[name].sent_ns)

    # -- in the loop -------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_later(TICK_S, self._tick, self._loop.time() + TICK_S)
        self._loop.run_forever()

    def _tick(self, expected_s: float) -> None:
        self.lag_max_s = max(self.lag_max_s, self._loop.time() - expected_s)
        self._loop.call_later(TICK_S, self._tick, self._loop.time() + TICK_S)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(CALL_TIMEOUT_S)

    async def _open(self, name: str, link: Link) -> None:
        await self._listen(link)
        self._links[name] = link

    async def _listen(self, link: Link) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._serve(link, reader, writer)
            finally:
                self._tasks.discard(task)

        for attempt in range(LISTEN_TRIES_MAX):
            try:
                link.listener = await asyncio.start_server(connected, HOST, link.port)
                return
            except OSError:
                if attempt == LISTEN_TRIES_MAX - 1:
                    raise
                await asyncio.sleep(LISTEN_RETRY_S)

    async def _close(self) -> None:
        for link in self._links.values():
            await self._set_state(link, "cut")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set_state(self, link: Link, state: State) -> None:
        if state == link.state:
            return
        before, link.state = link.state, state
        if state == "cut" and link.listener is not None:
            link.listener.close()
            link.listener = None
        if state == "cut" or before == "swallow":
            for connection in list(link.connections):
                connection.reset()
        if before == "cut":
            await self._listen(link)

    async def _set_speed(self, link: Link, answer_delay_s: float, bytes_per_s: float | None) -> None:
        link.answer_delay_s, link.bytes_per_s = answer_delay_s, bytes_per_s

    async def _lose(self, losing: Losing) -> None:
        self._losing.append(losing)

    async def _serve(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(writer)
        link.connections.add(connection)
        try:
            if link.state == "open":
                await self._join(link, reader, connection)
            else:
                while await reader.read(CHUNK_BYTES):
                    pass
        except OSError:
            pass  # an end of a connection, from either side, is no error of a proxy
        finally:
            link.connections.discard(connection)
            connection.close()

    async def _join(self, link: Link, reader: asyncio.StreamReader, connection: Connection) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            server_reader, connection.server = await asyncio.open_connection(HOST, link.server_port)
        up = asyncio.ensure_future(self._pump_requests(link, reader, connection))
        down = asyncio.ensure_future(self._pump_answers(link, server_reader, connection))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _pump_requests(self, link: Link, reader: asyncio.StreamReader, connection: Connection) -> None:
        assert connection.server is not None
        while data := await reader.read(CHUNK_BYTES):
            if link.state == "swallow":
                continue
            connection.head = data[:HEAD_BYTES]
            if link.is_noted and len(link.sent_ns) < SENT_MAX:
                link.sent_ns.append(monotonic_ns())
            await _hand_on(link, connection.server, data)

    async def _pump_answers(self, link: Link, reader: asyncio.StreamReader, connection: Connection) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if link.state == "swallow":
                continue
            if link.is_noted and (losing := self._loses(connection)) is not None:
                await _hand_on(link, connection.client, data[: losing.after_bytes])
                connection.reset()
                return
            if link.answer_delay_s:
                await asyncio.sleep(link.answer_delay_s)
            await _hand_on(link, connection.client, data)

    def _loses(self, connection: Connection) -> Losing | None:
        for losing in self._losing:
            if losing.count and losing.head in connection.head:
                losing.count -= 1
                return losing
        return None


async def _hand_on(link: Link, writer: asyncio.StreamWriter, data: bytes) -> None:
    if link.bytes_per_s is not None:
        await asyncio.sleep(len(data) / link.bytes_per_s)
    writer.write(data)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST: linger 0 throws away what is unsent and skips the FIN."""
    raw = writer.transport.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
