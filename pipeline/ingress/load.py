"""How much the door lets in at once, and reading one body within limits. Runs on the ingress' loop only.

A body is held in memory from its first byte to Kafka's ack. The sum over all calls is bounded here; past it a call
is refused at once, and WhatsApp comes again later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from pipeline.errors import PipelineError

# WhatsApp's largest body is 3 MB (whatsapp-api.md §2.12); the contract leaves room up to 4 MB.
MAX_BODY_BYTES = 4 * 1024 * 1024
# Two seconds (the longest wait for Kafka) of three times the load that one process is meant for.
MAX_REQUESTS_IN_FLIGHT = 8192
# Sixteen of the largest bodies, or 64k usual ones of 1 kB; parsed they take about five times that.
MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024
# 4 MB in this time is a connection of 3 Mbit/s; nobody who delivers webhooks is slower.
READ_TIMEOUT_S = 10.0

# Readiness comes back when this share of the bounds is left free, so that it does not flicker.
RELAXED_SHARE = 0.8


class Overloaded(PipelineError):
    """The bound on what is in flight is reached: the call is refused and comes again."""


class BodyTooLarge(PipelineError):
    """A body above `MAX_BODY_BYTES`."""


class BodyTooSlow(PipelineError):
    """A body that was not complete within `READ_TIMEOUT_S`."""


class Stream(Protocol):
    """A body as it arrives, as aiohttp's stream reader gives it."""

    def iter_any(self) -> AsyncIterator[bytes]:
        """Pieces as they come."""


class Load:
    """Counts calls and bytes in flight.

    Args:
        max_requests: Calls held at once.
        max_bytes: Sum of their bodies.

    Attributes:
        requests: Calls in flight.
        finished: Calls that were in flight and are no longer.
        body_bytes: Sum of their bodies.
        empty: Set while no call is in flight.
    """

    def __init__(self, max_requests: int = MAX_REQUESTS_IN_FLIGHT, max_bytes: int = MAX_BYTES_IN_FLIGHT) -> None:
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self.requests = self.finished = 0
        self.empty = asyncio.Event()
        self.empty.set()
        self.body_bytes = 0

    def enter(self) -> Held:
        """Count one call in; `Held.leave` counts it and its body out again.

        Raises:
            Overloaded: too many are in flight.
        """
        if self.requests >= self._max_requests:
            raise Overloaded(f"{self.requests} calls in flight")
        self.requests += 1
        self.empty.clear()
        return Held(self)

    def grow(self, more_bytes: int) -> None:
        """Count bytes in.

        Raises:
            Overloaded: the sum would pass its bound; nothing was counted.
        """
        if self.body_bytes + more_bytes > self._max_bytes:
            raise Overloaded(f"{self.body_bytes} bytes in flight")
        self.body_bytes += more_bytes

    @property
    def has_room(self) -> bool:
        """Whether both counts are well below their bounds."""
        return (
            self.requests <= self._max_requests * RELAXED_SHARE and self.body_bytes <= self._max_bytes * RELAXED_SHARE
        )

    def shrink(self, body_bytes: int) -> None:
        """Count one call and its bytes out."""
        self.requests -= 1
        self.finished += 1
        self.body_bytes -= body_bytes
        if not self.requests:
            self.empty.set()


class Held:
    """One call's share of the load."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._body_bytes = 0

    def take(self, more_bytes: int) -> None:
        """Count bytes of this call's body in.

        Raises:
            Overloaded: see `Load.grow`.
        """
        self._load.grow(more_bytes)
        self._body_bytes += more_bytes

    def leave(self) -> None:
        """Give everything back; once per call."""
        self._load.shrink(self._body_bytes)


async def read_body(
    stream: Stream, announced_bytes: int | None, held: Held, timeout_s: float = READ_TIMEOUT_S
) -> bytes:
    """Read one body, within its size and time.

    Args:
        announced_bytes: `Content-Length`, None if there is none; a body that is announced too large is not read.
        held: Counts the bytes as they come.

    Raises:
        BodyTooLarge: more than `MAX_BODY_BYTES`.
        BodyTooSlow: not complete in time.
        Overloaded: the sum of all bodies passed its bound.
    """
    if announced_bytes is not None and announced_bytes > MAX_BODY_BYTES:
        raise BodyTooLarge(f"{announced_bytes} bytes announced")
    pieces: list[bytes] = []
    size_bytes = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in stream.iter_any():
                size_bytes += len(piece)
                if size_bytes > MAX_BODY_BYTES:
                    raise BodyTooLarge(f"more than {MAX_BODY_BYTES} bytes")
                held.take(len(piece))
                pieces.append(piece)
    except TimeoutError as exc:
        raise BodyTooSlow(f"{size_bytes} bytes in {timeout_s} s") from exc
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
