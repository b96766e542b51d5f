"""dead-letter: the original bytes of a record that can never be processed, with headers that say why and where from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

Stage = Literal["gate", "sender", "ingress"]
STAGES: tuple[Stage, ...] = get_args(Stage)
HEADERS = (
    "errors.topic", "errors.partition", "errors.offset", "errors.stage", "errors.code", "errors.message",
    "errors.attempts", "errors.timestamp_ms",
)  # fmt: skip
CODES = (
    "not_json", "not_utf8", "too_large", "too_deep", "unsupported_schema", "contract", "bad_webhook", "misrouted",
    "outcome_unknown",
)  # fmt: skip
MAX_MESSAGE_CHARS = 1000
MAX_ORIGINAL_HEADERS = 64


def dead_letter_headers(
    *,
    topic: str,
    partition: int | None,
    offset: int | None,
    stage: Stage,
    code: str,
    message: str,
    attempts: int,
    timestamp_ms: int,
    original: Any,
) -> list[tuple[str, bytes]]:
    """Headers of a dead letter: ours first, then the original ones (bounded).

    Args:
        timestamp_ms: When it was given up, by this host.
        original: Headers of the source record: pairs, a mapping or None.
    """
    ours: dict[str, str] = {
        "errors.topic": topic,
        "errors.partition": "" if partition is None else str(partition),
        "errors.offset": "" if offset is None else str(offset),
        "errors.stage": stage,
        "errors.code": code,
        "errors.message": message[:MAX_MESSAGE_CHARS],
        "errors.attempts": str(attempts),
        "errors.timestamp_ms": str(timestamp_ms),
    }
    pairs: Sequence[tuple[str, Any]] = list(original.items() if isinstance(original, Mapping) else original or ())
    kept = [(name, value) for name, value in pairs if name not in ours][:MAX_ORIGINAL_HEADERS]
    return [
        *((name, value.encode(errors="replace")) for name, value in ours.items()),
        *((name, value.encode(errors="replace") if isinstance(value, str) else value or b"") for name, value in kept),
    ]
