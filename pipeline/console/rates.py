"""How fast each number sends now, second by second, by the events that the feed reads. Written there, read by pages."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from pipeline.clock import parse_rfc3339_ms

SECONDS: Final = 300
_SENT: Final = frozenset({"accepted", "failed", "deferred"})


class Rates:
    """Requests to the API per number and second of the last five minutes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[str, dict[int, int]] = {}

    def add(self, event: Mapping[str, Any], now_s: float) -> None:
        """Take an outbound-event in: one that an answer of the API stands behind counts."""
        if event.get("type") not in _SENT or event.get("http_status") is None:
            return
        try:
            second = parse_rfc3339_ms(str(event.get("at"))) // 1000
        except ValueError:
            return
        if not now_s - SECONDS < second <= now_s + 1:
            return
        with self._lock:
            seconds = self._sent.setdefault(str(event.get("number")), {})
            seconds[second] = seconds.get(second, 0) + 1
            if len(seconds) > SECONDS + 60:
                for old in [one for one in seconds if one <= now_s - SECONDS]:
                    del seconds[old]

    def last(self, number: str, now_s: float, seconds: int = SECONDS) -> list[int]:
        """Requests in each of the last whole seconds, oldest first."""
        end = int(now_s)
        with self._lock:
            known = self._sent.get(number, {})
            return [known.get(second, 0) for second in range(end - seconds, end)]


def tokens_left(sent: list[int], rate_per_s: float, burst: float) -> float:
    """What a bucket holds that was full at first and served these seconds; an estimate, as it is not the bucket itself.

    Args:
        sent: Requests per second, oldest first.
    """
    tokens = burst
    for count in sent:
        tokens = max(0.0, min(burst, tokens + rate_per_s) - count)
    return tokens
