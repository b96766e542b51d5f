"""Damage to JSON documents and bytes, as networks, proxies and other people's programs do it; all from one seed.

Pure but for the `Random` that is passed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeVar

import orjson

EDITS: Final = (1, 1, 1, 2, 3)
"""How many edits a copy gets; one of these."""
GO_DEEPER: Final = 0.75
DEEP: Final = 200

SCALARS: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 9, 10, 200, 131056, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 10**30),
    *(0.5, -1e308, 1e-320, float("inf"), float("nan")),
    *("", " ", "0", "10", "-1", "١٢", "1795300000", "text", "stop", "x" * 61, "y" * 1_025, "z" * 4_097, "\ud800"),
    *("\x00", "😀" * 20, "é", "e\u0301", "a\nb", "https://example.org/a", "ftp://example.org", "wamid.1"),
)
WORDS: Final = (
    *("type", "text", "id", "link", "error", "errors", "code", "messages", "statuses", "contacts", "entry", "changes"),
    *("value", "parameters", "components", "sub_type", "index", "action", "sections", "meta", "header", "name", ""),
)

T = TypeVar("T")


def pick(choices: Sequence[T], random: Random) -> T:
    """One of some choices; several times as fast as `Random.choice`."""
    return choices[int(random.random() * len(choices))]


def mutated(document: Any, random: Random, pool: Sequence[Any]) -> Any:
    """A document with a few edits; the given one stays as it is, undamaged parts are shared.

    Args:
        document: Any JSON value.
        random: Decides what and where.
        pool: Other documents, parts of which may take the place of parts of this one.
    """
    holder = [document]
    for _ in range(pick(EDITS, random)):
        container, key = _place(holder, random)
        pick(_EDITS, random)(container, key, random, pool)
        if not holder:
            holder.append(None)
    return holder[0]


def _place(container: Any, random: Random) -> tuple[Any, Any]:
    """A container within `container`, and a key of it; all containers on the way there are fresh copies."""
    while True:
        key = pick(list(container) if isinstance(container, dict) else range(len(container)), random)
        child = container[key]
        if not (isinstance(child, dict | list) and child) or random.random() > GO_DEEPER:
            return container, key
        container[key] = child = child.copy()
        container = child


def _scalar(container: Any, key: Any, random: Random, _pool: Sequence[Any]) -> None:
    container[key] = pick(SCALARS, random)


def _drop(container: Any, key: Any, _random: Random, _pool: Sequence[Any]) -> None:
    del container[key]


def _repeat(container: Any, key: Any, random: Random, _pool: Sequence[Any]) -> None:
    if isinstance(container, list):
        container.extend([container[key]] * pick((1, 3, 11, 60), random))
    else:
        container[pick(WORDS, random)] = container[key]


def _rename(container: Any, key: Any, random: Random, _pool: Sequence[Any]) -> None:
    if isinstance(container, dict):
        container[pick(WORDS, random)] = container.pop(key)
    else:
        container.reverse()


def _transplant(container: Any, key: Any, random: Random, pool: Sequence[Any]) -> None:
    donor, place = _place([pick(pool, random)], random)
    container[key] = donor[place]


def _wrap(container: Any, key: Any, random: Random, _pool: Sequence[Any]) -> None:
    for _ in range(pick((1, 1, 2, DEEP), random)):
        container[key] = [container[key]] if random.random() < 0.5 else {pick(WORDS, random): container[key]}


def _nudge(container: Any, key: Any, random: Random, _pool: Sequence[Any]) -> None:
    """Change a value a little: one character or one unit across a limit."""
    value = container[key]
    if isinstance(value, bool) or value is None:
        container[key] = str(value)
    elif isinstance(value, int | float):
        container[key] = pick((value + 1, value - 1, -value, str(value), [value]), random)
    elif isinstance(value, str):
        container[key] = pick((value[:-1], value + "x", value * 3, value.upper(), [value], f" {value}"), random)


_Edit = Callable[[Any, Any, Random, Sequence[Any]], None]
_EDITS: Final[tuple[_Edit, ...]] = (_scalar, _scalar, _nudge, _nudge, _drop, _repeat, _rename, _transplant, _wrap)


def written(document: Any, random: Random) -> bytes:
    """A document as bytes: as orjson writes it, or as looser writers do (escapes, NaN, half surrogate pairs)."""
    if random.random() < 0.8:
        try:
            return orjson.dumps(document)
        except TypeError:
            pass  # a value that strict JSON cannot hold
    return json.dumps(document).encode("utf-8", "surrogatepass")


def damaged(body: bytes, random: Random) -> bytes:
    """Bytes after a bad transport: cut, flipped, doubled, spliced, or in another page's place."""
    at = random.randrange(len(body) + 1)
    match random.randrange(7):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + bytes([random.randrange(256)]) + body[at + 1 :]
        case 2:
            return body + body
        case 3:
            return b"<html><head><title>503</title></head><body>" + body[:at] + b"</body></html>"
        case 4:
            return b"\xef\xbb\xbf" + body
        case 5:
            return body[:at] + random.randbytes(8) + body[at:]
        case _:
            return body.decode("utf-8", "replace").encode("utf-16")
