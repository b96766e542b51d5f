"""How long an answer asks us to wait: `Retry-After` and what vendors and Meta use in its place.

Pure; any header values are safe. Nothing documents that Meta sends `Retry-After`, so callers must do without.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

RETRY_AFTER_S_MAX: Final = 86_400.0
"""Longer waits are cut to this: a wrong header must not stop a number for ever."""
HEADER_CHARS_MAX: Final = 128
USAGE_CHARS_MAX: Final = 8_192

_SECONDS: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")


def retry_after_s(headers: Mapping[str, str], now_unix_s: float) -> float | None:
    """Seconds until the server wants to hear from us again.

    Reads, in this order: `Retry-After` as seconds or HTTP date; `X-Ratelimit-Reset` in unix seconds, which stands on
    every answer and counts beside `X-Ratelimit-Remaining: 0` only (Turn.io, "Rate limiting");
    `estimated_time_to_regain_access` of `x-business-use-case-usage`, in minutes (Meta, Graph rate limits).

    Args:
        headers: Of the answer; names in any case.
        now_unix_s: Reading of the host's clock, for the forms that name a moment.

    Returns:
        0 ≤ seconds ≤ `RETRY_AFTER_S_MAX`, or None if no header says.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    if lowered.get("x-ratelimit-remaining", "").strip() != "0":
        lowered.pop("x-ratelimit-reset", None)
    for name, read in (
        ("retry-after", _seconds_or_date),
        ("x-ratelimit-reset", _moment),
        ("x-business-use-case-usage", _usage),
    ):
        text = lowered.get(name)
        found = read(text.strip(), now_unix_s) if text else None
        if found is not None:
            return min(max(found, 0.0), RETRY_AFTER_S_MAX)
    return None


def _seconds_or_date(text: str, now_unix_s: float) -> float | None:
    if len(text) > HEADER_CHARS_MAX:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - now_unix_s
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _moment(text: str, now_unix_s: float) -> float | None:
    return float(text) - now_unix_s if _SECONDS.fullmatch(text) else None


def _usage(text: str, _now_unix_s: float) -> float | None:
    """The longest wait of all accounts and kinds named; 0 means that there is none."""
    if len(text) > USAGE_CHARS_MAX:
        return None
    try:
        usage = orjson.loads(text)
    except ValueError:
        return None
    accounts = usage.values() if isinstance(usage, dict) else ()
    minutes = max((_minutes(entry) for rows in accounts if isinstance(rows, list) for entry in rows), default=0.0)
    return minutes * 60.0 if minutes > 0 else None


def _minutes(entry: Any) -> float:
    value = entry.get("estimated_time_to_regain_access") if isinstance(entry, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return 0.0
    return float(value)
