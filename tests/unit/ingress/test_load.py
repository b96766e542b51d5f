"""Bounds: what is in flight, how large and how slow a body may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipeline.ingress.load import MAX_BODY_BYTES, BodyTooLarge, BodyTooSlow, Load, Overloaded, read_body


class _Pieces:
    """A body in pieces; after them it ends, or stays away for ever."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self._pieces, self._ends = pieces, ends

    async def iter_any(self) -> AsyncIterator[bytes]:
        """The pieces."""
        for piece in self._pieces:
            yield piece
        if not self._ends:
            await asyncio.Event().wait()


async def test_a_body_in_pieces_is_put_together_and_counted() -> None:
    """Bytes come out as they went in, and count until the call leaves."""
    load = Load()
    held = load.enter()
    assert await read_body(_Pieces(b"ab", b"", b"c"), None, held) == b"abc"
    assert (load.requests, load.body_bytes) == (1, 3)
    held.leave()
    assert (load.requests, load.body_bytes) == (0, 0)


async def test_an_empty_body_is_empty_bytes() -> None:
    """No piece at all is a body, too."""
    assert await read_body(_Pieces(), 0, Load().enter()) == b""


async def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    """The announcement is enough; nothing is counted."""
    load = Load()
    with pytest.raises(BodyTooLarge):
        await read_body(_Pieces(b"x"), MAX_BODY_BYTES + 1, load.enter())
    assert load.body_bytes == 0


async def test_a_body_that_grows_too_large_is_cut() -> None:
    """Without an announcement the limit holds all the same; at the limit it is still taken."""
    half = b"x" * (MAX_BODY_BYTES // 2)
    assert len(await read_body(_Pieces(half, half), None, Load().enter())) == MAX_BODY_BYTES
    with pytest.raises(BodyTooLarge):
        await read_body(_Pieces(half, half, b"x"), None, Load().enter())


async def test_a_body_that_does_not_arrive_is_given_up() -> None:
    """A client that sends nothing more is cut by time, and gives back what it held."""
    load = Load()
    held = load.enter()
    with pytest.raises(BodyTooSlow):
        await read_body(_Pieces(b"abc", ends=False), 10, held, timeout_s=0)
    held.leave()
    assert (load.requests, load.body_bytes) == (0, 0)


async def test_the_sum_of_all_bodies_is_bounded() -> None:
    """The call that would pass the bound is refused, the others are not touched, and room comes back."""
    load = Load(max_bytes=10)
    first, second = load.enter(), load.enter()
    await read_body(_Pieces(b"x" * 8), None, first)
    with pytest.raises(Overloaded):
        await read_body(_Pieces(b"y" * 3), None, second)
    assert load.body_bytes == 8
    first.leave()
    await read_body(_Pieces(b"y" * 3), None, second)
    assert load.body_bytes == 3


def test_the_number_of_calls_is_bounded() -> None:
    """One more than the bound is refused; after one left there is room again."""
    load = Load(max_requests=2)
    held = [load.enter(), load.enter()]
    with pytest.raises(Overloaded):
        load.enter()
    assert not load.has_room
    held[0].leave()
    load.enter()


def test_there_is_room_only_well_below_both_bounds() -> None:
    """Readiness does not flicker around the bound."""
    load = Load(max_requests=10, max_bytes=100)
    held = load.enter()
    held.take(81)
    assert not load.has_room
    held.leave()
    assert load.has_room
