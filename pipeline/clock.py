"""Clocks, and times as the records write them.

Three clocks, never mixed: `steady_s` measures durations inside this process and goes on while the machine
sleeps; `unix_s` is this host's idea of the date and may step; broker times come with the records and are compared
only with each other. Rules take readings as arguments and never call these themselves.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

SECONDS_REMEMBERED = 256
"""Most times that are written are of this second, or of the few in which a batch of records was made."""


def steady_s() -> float:
    """Seconds on a clock that never steps and counts while the machine sleeps."""
    return time.clock_gettime(_STEADY)


def unix_s() -> float:
    """Seconds since 1970 by this host's clock; may step."""
    return time.time()


def unix_ms() -> int:
    """Milliseconds since 1970 by this host's clock; may step."""
    return time.time_ns() // 1_000_000


def rfc3339(unix_ms_value: int) -> str:
    """Write milliseconds since 1970 as `2026-11-22T10:00:00.000Z`."""
    seconds, millis = divmod(unix_ms_value, 1000)
    return f"{_to_the_second(seconds)}.{millis:03d}Z"


@lru_cache(maxsize=SECONDS_REMEMBERED)
def _to_the_second(unix_s_value: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s_value))


def parse_rfc3339_ms(text: str) -> int:
    """Read an RFC 3339 time with any offset as milliseconds since 1970.

    Raises:
        ValueError: not such a time, or without an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without an offset: {text!r} (write 2026-11-22T10:00:00.000Z)")
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Linux stops CLOCK_MONOTONIC during sleep and has CLOCK_BOOTTIME for this; elsewhere the former goes on.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
