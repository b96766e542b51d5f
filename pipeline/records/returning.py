"""Headers of a request that comes to the gate again: re-routed, due after an hour, or replayed.

Written by gate, sender and command line, kept by the gate, so that a message stays the one it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from pipeline.errors import ContractError
from pipeline.records.codec import header_of

SOURCE_HEADER: Final = "wapipe-source"
ATTEMPT_HEADER: Final = "wapipe-attempt"
SPENT_HEADER: Final = "wapipe-spent"
UNKNOWN_HEADER: Final = "wapipe-unknown"
REPLAY_HEADER: Final = "wapipe-replay"
REPLAY_OF_HEADER: Final = "wapipe-replay-of"
"""The dead letter that a replay was made from, for whoever traces it: `dead-letter[3]@991`."""
REROUTED_HEADER: Final = "wapipe-rerouted"
TRUE: Final = b"1"
MAX_COUNT: Final = 1_000_000
_SOURCE_TYPES: Final = {"topic": str, "partition": int, "offset": int, "timestamp_ms": int}


class Returning(NamedTuple):
    """What a record brings along of its first way.

    Attributes:
        source: First topic (without the prefix), partition, offset and broker time; None: it comes for the first time.
        attempt: Number of its last attempt.
        spent: Attempts that count against `max_attempts`.
        unknown: Whether an attempt of it never got an outcome.
        replay: Whether an operator sends it again.
    """

    source: dict[str, Any] | None = None
    attempt: int = 0
    spent: int = 0
    unknown: bool = False
    replay: bool = False


FIRST_TIME: Final = Returning()


def returning_headers(
    source: Mapping[str, Any], *, attempt: int = 0, spent: int = 0, unknown: bool = False, replay: bool = False
) -> list[tuple[str, bytes]]:
    """Headers that keep a message's identity on its way back through the gate.

    Args:
        source: `topic`, `partition`, `offset` and `timestamp_ms` of the first record.
    """
    pairs = [(SOURCE_HEADER, orjson.dumps({name: source[name] for name in _SOURCE_TYPES}))]
    if attempt:
        pairs.append((ATTEMPT_HEADER, b"%d" % attempt))
    if spent:
        pairs.append((SPENT_HEADER, b"%d" % spent))
    if unknown:
        pairs.append((UNKNOWN_HEADER, TRUE))
    if replay:
        pairs.append((REPLAY_HEADER, TRUE))
    return pairs


def read_returning(headers: Any) -> Returning:
    """Read those headers; none of them: the record comes for the first time.

    Raises:
        ContractError: one of them is malformed.
    """
    raw = header_of(headers, SOURCE_HEADER)
    return Returning(
        _source(raw) if raw is not None else None,
        _count(headers, ATTEMPT_HEADER),
        _count(headers, SPENT_HEADER),
        header_of(headers, UNKNOWN_HEADER) == TRUE,
        header_of(headers, REPLAY_HEADER) == TRUE,
    )


def _source(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw[:1024])
    except orjson.JSONDecodeError as exc:
        raise ContractError([f"header {SOURCE_HEADER}: not JSON"]) from exc
    if not isinstance(found, dict) or any(type(found.get(name)) is not kind for name, kind in _SOURCE_TYPES.items()):
        raise ContractError([f"header {SOURCE_HEADER}: topic, partition, offset, timestamp_ms are needed"])
    return {name: found[name] for name in _SOURCE_TYPES}


def _count(headers: Any, name: str) -> int:
    raw = header_of(headers, name)
    if raw is None:
        return 0
    if not raw.isdigit() or len(raw) > 7 or int(raw) > MAX_COUNT:
        raise ContractError([f"header {name}: a count is needed"])
    return int(raw)
