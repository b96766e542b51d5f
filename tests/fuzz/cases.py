"""What the fuzzer feeds: answers, messages and webhooks, each grown from a recorded case or from free JSON.

One hypothesis example is a base (kind and document) and a seed; `derive` grows many cases from it, the same ones each
time. Bases are the files of the contract tests, so every new case there is a new start here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, NamedTuple

import orjson
from hypothesis import strategies as st

from tests.fuzz.mutation import damaged, mutated, pick, written

CONTRACT: Final = Path(__file__).parent.parent / "contract" / "whatsapp"
CASES_PER_EXAMPLE: Final = 100
LARGE_EVERY: Final = 2_000
LARGE_BYTES: Final = 300_000

Kind = Literal["answer", "message", "webhook"]
KINDS: Final[tuple[Kind, ...]] = ("answer", "message", "webhook")
FOLDERS: Final = {"answer": "answers", "message": "bodies", "webhook": "webhooks"}
STATUSES: Final = (200, 200, 201, 204, 301, 400, 400, 401, 403, 404, 413, 429, 429, 500, 502, 503, 503, 504, 555)
HEADERS: Final = ("Retry-After", "retry-after", "X-Ratelimit-Reset", "x-business-use-case-usage", "Content-Type")
VALUES: Final = (
    *("", "0", "5", "-5", "1e9", "9" * 11, "1795300012", "Sat, 21 Nov 2026 22:27:10 GMT", "Sat, 99 Foo 2026 22:27:10"),
    *("{}", "[]", '{"1":[{"estimated_time_to_regain_access":3}]}', '{"1":[{"estimated_time_to_regain_access":1e400}]}'),
    *("text/html", "\x00", "é", "x" * 9_000, "Mon, 01 Jan 0001 00:00:00 +2359"),
)


class Base(NamedTuple):
    """Where cases grow from: the document of an answer or webhook (text stands for itself), or a message."""

    kind: Kind
    document: Any


class Case(NamedTuple):
    """One input. `status` and `headers` belong to answers; `content` is bytes but for messages."""

    kind: Kind
    content: Any
    status: int = 0
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


@cache
def corpus(kind: Kind) -> tuple[Any, ...]:
    """Documents of the contract cases of a kind, in the order of their files."""
    field = "message" if kind == "message" else "body"
    files = sorted((CONTRACT / FOLDERS[kind]).glob("*.json"))
    found = tuple(orjson.loads(file.read_bytes())[field] for file in files)
    assert found, f"no cases in {FOLDERS[kind]}"
    return found


@cache
def pool() -> tuple[Any, ...]:
    """All documents, as a store of parts."""
    return tuple(document for kind in KINDS for document in corpus(kind))


_FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


def bases() -> st.SearchStrategy[Base]:
    """Nine bases of ten are recorded, one is free JSON."""
    recorded = st.sampled_from(KINDS).flatmap(
        lambda kind: st.builds(Base, st.just(kind), st.sampled_from(corpus(kind)))
    )
    free = st.builds(Base, st.sampled_from(KINDS), _FREE)
    return st.integers(0, 9).flatmap(lambda number: free if number == 9 else recorded)


def derive(base: Base, seed: int) -> Iterator[Case]:
    """Cases of a base, the first of them undamaged."""
    random = Random(seed)
    yield _case(base.kind, base.document, random, is_whole=True)
    for _ in range(CASES_PER_EXAMPLE - 1):
        yield _case(base.kind, mutated(base.document, random, pool()), random)


def _case(kind: Kind, document: Any, random: Random, *, is_whole: bool = False) -> Case:
    if kind == "message":
        return Case(kind, document if isinstance(document, dict) else {"type": "text", "text": document})
    body = document.encode("utf-8", "surrogatepass") if isinstance(document, str) else written(document, random)
    if not is_whole and random.random() < 0.15:
        body = damaged(body, random)
    if random.random() * LARGE_EVERY < 1:
        body = body[:-1] + b" " * LARGE_BYTES + body[-1:]
    if kind == "webhook":
        return Case(kind, body)
    status = pick(STATUSES, random) if random.random() < 0.8 else int(random.random() * 1_000)
    headers = {pick(HEADERS, random): pick(VALUES, random) for _ in range(random.randrange(3))}
    return Case(kind, body, status, headers)
