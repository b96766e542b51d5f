"""Who is suppressed by now: the newest records of `suppressions`, followed by every sender.

The gate has refused whoever was suppressed when it judged; this catches those of the time between judging and sending.
Applied on the event loop; the reading itself is `streams/follow.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from pipeline.clock import parse_rfc3339_ms, steady_s, unix_ms
from pipeline.errors import RecordError
from pipeline.logs import Repeats
from pipeline.records.codec import decode_object, header_of
from pipeline.records.layout import MOVED_HEADER
from pipeline.whatsapp.suppression import holds, is_suppression

log = structlog.get_logger(__name__)

MAX_PEOPLE = 500_000
"""About 80 MB. Of more, the rest costs a request each that the API refuses, as it did before."""
FOR_GOOD_MS = 1 << 62


class Suppressions:
    """Until when people are suppressed, ms since 1970; those whose time is over are not kept.

    Args:
        clock_ms: This host's date, ms.

    Attributes:
        partitions: How many partitions the topic has, by what its reader knows; 0: it does not know yet.
    """

    partitions: Callable[[], int] = staticmethod(lambda: 0)

    def __init__(self, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._clock_ms = clock_ms
        self._until_ms: dict[str, int] = {}
        self._repeats = Repeats()

    def __len__(self) -> int:
        return len(self._until_ms)

    def apply(self, batch: list[Any]) -> None:
        """Take a batch of Kafka messages in; what cannot be read changes nothing."""
        now_ms = self._clock_ms()
        for message in batch:
            recipient = (message.key() or b"").decode(errors="replace")
            raw = message.value()
            if raw is None:
                # One that was moved to another partition still stands there.
                if header_of(message.headers(), MOVED_HEADER) is None:
                    self._until_ms.pop(recipient, None)
                continue
            try:
                self._put(recipient, decode_object(raw), now_ms)
            except RecordError as exc:
                self._warn("suppression_unreadable", error=str(exc))

    def forbids(self, recipient: str, now_ms: int) -> bool:
        """Whether nothing may go to this person."""
        until_ms = self._until_ms.get(recipient)
        if until_ms is None:
            return False
        if until_ms <= now_ms:
            del self._until_ms[recipient]
            return False
        return True

    def _put(self, recipient: str, record: dict[str, Any], now_ms: int) -> None:
        if not is_suppression(record):
            self._warn("suppression_unreadable", error="reason, at and until are needed")
        elif not holds(record, now_ms):
            self._until_ms.pop(recipient, None)
        elif recipient not in self._until_ms and len(self._until_ms) >= MAX_PEOPLE:
            self._warn("suppressions_overflow", people=len(self._until_ms))
        else:
            until = record["until"]
            self._until_ms[recipient] = FOR_GOOD_MS if until is None else parse_rfc3339_ms(until)

    def _warn(self, event: str, **details: Any) -> None:
        held_back = self._repeats.pass_now(event, steady_s())
        if held_back is not None:
            log.warning(event, suppressed=held_back, **details)
