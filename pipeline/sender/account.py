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
from pipeline.records.lanes import Lanes, is_lanes_key, parse_lanes
from pipeline.sender.stops import Stops
from pipeline.whatsapp.template_registry import TemplateRegistry

log = structlog.get_logger(__name__)


class SisterHalt(NamedTuple):
    """Another lane's halt: whom it holds, why, and until when, by host date in ms."""

    number: str
    shard: int
    scope: str
    account: str | None
    base_url: str | None
    reason: str
    until_ms: int
    by: str

    def holds(self, number: str, shard: int, account: str, base_url: str) -> bool:
        """Whether it holds a lane back: a sister of its number, of its account, or of its host, as it goes."""
        if self.number == number:
            return self.shard != shard
        if self.scope == "host":
            return self.base_url == base_url
        return self.scope == "account" and bool(account) and self.account == account


class AccountState:
    """The newest value of each key of `account-state`.

    Args:
        on_change: Called after a batch was applied.

    Attributes:
        templates: What its records of templates come to, without their texts.
        lanes: The lanes on record, by number.
        lanes_changes: Grows with every record of lanes.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._values: dict[str, dict[str, Any]] = {}
        self._halts: dict[str, SisterHalt] = {}
        self._no_marketing_ms: dict[str, int] = {}
        self.templates = TemplateRegistry(has_texts=False)
        self._on_change = on_change
        self.stops = Stops()
        self.lanes: dict[str, Lanes] = {}
        self.lanes_changes = 0

    def apply(self, batch: list[Any]) -> None:
        """Take a batch of Kafka messages in; what cannot be read is logged and skipped."""
        for message in batch:
            key = (message.key() or b"").decode(errors="replace")
            try:
                value = decode_object(message.value()) if message.value() is not None else None
                self._put(key, value)
                self.stops.put(key, value, message.timestamp()[1])
            except (RecordError, KeyError, TypeError, ValueError) as exc:
                log.warning("account_state_unreadable", key=key, error=str(exc))
        self._on_change()

    def _put(self, key: str, value: dict[str, Any] | None) -> None:
        if self.templates.put(key, value):
            return
        if is_lanes_key(key):
            self._put_lanes(key.removeprefix("number:").removesuffix("/lanes"), parse_lanes(value))
            return
        if value is None:
            self._values.pop(key, None)
            self._halts.pop(key, None)
            return
        self._values[key] = value
        if value.get("aspect") == "halt":
            if value["halted"]:
                self._halts[key] = _sister_halt(value)
            else:
                self._halts.pop(key, None)
        elif value.get("aspect") == "marketing":
            self.pause_marketing(value["id"], parse_rfc3339_ms(value["until"]))

    def _put_lanes(self, number: str, lanes: Lanes | None) -> None:
        self.lanes_changes += 1
        if lanes is None:
            self.lanes.pop(number, None)
        else:
            self.lanes[number] = lanes

    def get(self, key: str) -> dict[str, Any] | None:
        """The newest value of a key, as it stands on the topic; None: there is none."""
        return self._values.get(key)

    def webhook_verified(self, number: str) -> bool:
        """Whether an authentic webhook call was seen for the number."""
        value = self._values.get(f"number:{number}/webhook")
        return bool(value and value.get("verified"))

    def mark(self, lane: str, partition: int | None = None) -> tuple[int, int, int | None] | None:
        """The lane's mark: (ledger offset needed, generation in force there, broker time of the last attempt).

        Args:
            partition: Of the lane; a mark that was left on another one, before the number got other lanes, is none.
        """
        value = self._values.get(f"lane:{lane}/mark")
        if value is None or (partition is not None and value.get("partition") not in (None, partition)):
            return None
        needed, generation, last_ms = value.get("needed"), value.get("generation"), value.get("last_attempt_ms")
        if not isinstance(needed, int) or not isinstance(generation, int):
            return None
        return needed, generation, last_ms if isinstance(last_ms, int) else None

    def sister_halt(
        self, number: str, shard: int, account: str, base_url: str, now_ms: int, own: str
    ) -> SisterHalt | None:
        """The halt of a lane of another process that holds this one back longest; None: none does.

        Args:
            own: What this process calls itself: its own lanes share their halts in memory, which is faster.
        """
        holding = [
            halt
            for halt in self._halts.values()
            if halt.until_ms > now_ms and halt.by != own and halt.holds(number, shard, account, base_url)
        ]
        return max(holding, key=lambda halt: halt.until_ms, default=None)

    def pause_marketing(self, number: str, until_ms: int) -> None:
        """Know that the API takes no marketing from a number until then; a longer pause is never cut short."""
        self._no_marketing_ms[number] = max(until_ms, self._no_marketing_ms.get(number, 0))

    def no_marketing_until_ms(self, number: str, now_ms: int) -> int | None:
        """Until when the API takes no marketing from a number, host date in ms; None: it does."""
        until_ms = self._no_marketing_ms.get(number, 0)
        return until_ms if until_ms > now_ms else None

    def throughput(self, number: str) -> str | None:
        """The throughput level that Meta's webhooks gave the number: `HIGH`, `STANDARD`; None: nothing was said."""
        value = self._values.get(f"number:{number}/limits")
        return value.get("throughput") if value is not None else None


def _sister_halt(value: dict[str, Any]) -> SisterHalt:
    reason = value["reason"]
    scope = value.get("scope") or ("host" if reason == "overloaded" else "number")
    return SisterHalt(
        value["id"], value["shard"], scope, value.get("account"), value["base_url"], reason,
        parse_rfc3339_ms(value["until"]), value["by"],
    )  # fmt: skip
