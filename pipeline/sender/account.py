"""What every process follows on `account-state`: verified webhooks, halts of sister lanes, marks of lanes.

Applied on the event loop; the reading itself is `streams/follow.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import structlog

from pipeline.clock import parse_rfc3339_ms
from pipeline.errors import RecordError
from pipeline.records.codec import decode_object

log = structlog.get_logger(__name__)


class SisterHalt(NamedTuple):
    """Another lane's halt: until when it holds, by host date in ms."""

    number: str
    shard: int
    base_url: str | None
    overloaded: bool
    until_ms: int


class AccountState:
    """The newest value of each key of `account-state`.

    Args:
        on_change: Called after a batch was applied.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._values: dict[str, dict[str, Any]] = {}
        self._halts: dict[str, SisterHalt] = {}
        self._on_change = on_change

    def apply(self, batch: list[Any]) -> None:
        """Take a batch of Kafka messages in; what cannot be read is logged and skipped."""
        for message in batch:
            key = (message.key() or b"").decode(errors="replace")
            try:
                value = decode_object(message.value()) if message.value() is not None else None
                self._put(key, value)
            except (RecordError, KeyError, TypeError, ValueError) as exc:
                log.warning("account_state_unreadable", key=key, error=str(exc))
        self._on_change()

    def _put(self, key: str, value: dict[str, Any] | None) -> None:
        if value is None:
            self._values.pop(key, None)
            self._halts.pop(key, None)
            return
        self._values[key] = value
        if value.get("aspect") != "halt":
            return
        if value["halted"]:
            overloaded = value["reason"] == "overloaded"
            until_ms = parse_rfc3339_ms(value["until"])
            self._halts[key] = SisterHalt(value["id"], value["shard"], value["base_url"], overloaded, until_ms)
        else:
            self._halts.pop(key, None)

    def webhook_verified(self, number: str) -> bool:
        """Whether an authentic webhook call was seen for the number."""
        value = self._values.get(f"number:{number}/webhook")
        return bool(value and value.get("verified"))

    def mark(self, lane: str) -> tuple[int, int, int | None] | None:
        """The lane's mark: (ledger offset needed, generation in force there, broker time of the last attempt)."""
        value = self._values.get(f"lane:{lane}/mark")
        if value is None:
            return None
        needed, generation, last_ms = value.get("needed"), value.get("generation"), value.get("last_attempt_ms")
        if not isinstance(needed, int) or not isinstance(generation, int):
            return None
        return needed, generation, last_ms if isinstance(last_ms, int) else None

    def sister_halt_until_ms(self, number: str, shard: int, base_url: str, now_ms: int) -> int | None:
        """Until when another lane's halt holds this one back: a throttle of the number, an overload of its host."""
        latest = 0
        for halt in self._halts.values():
            same_number = halt.number == number and halt.shard != shard
            same_host = halt.overloaded and halt.base_url == base_url and halt.number != number
            if same_number or same_host:
                latest = max(latest, halt.until_ms)
        return latest if latest > now_ms else None
