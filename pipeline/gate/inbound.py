"""Inbound events: a person's message opens the service window. Synchronous; runs in the gate's worker."""

from __future__ import annotations

from typing import Any, Final

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.errors import ContractError, DecodeError
from pipeline.gate.item import STAGE, Item, Out, dead_letter, traced
from pipeline.gate.routing import place_of
from pipeline.gate.view import View
from pipeline.gate.windows import open_window
from pipeline.metrics import Metrics
from pipeline.records.codec import decode_object, encode, require_schema
from pipeline.records.request import normal_recipient

WINDOWS: Final = "service-windows"
WINDOW_SCHEMA: Final = "service-window/1"
MAX_INBOUND_BYTES: Final = 4 * 1024 * 1024
MAX_ID_CHARS: Final = 200
MAX_TIME_CHARS: Final = 40


class InboundJudge:
    """Keeps the service windows.

    Args:
        partitions: Number of recipient partitions.
        windows: The `service-windows` table.
    """

    def __init__(self, settings: Settings, partitions: int, windows: View, metrics: Metrics) -> None:
        self._numbers = frozenset(settings.numbers)
        self._partitions = partitions
        self._windows = windows
        self._metrics = metrics

    def apply(self, item: Item) -> list[Out]:
        """Open or prolong a window if the event is a message of a person to a number of ours."""
        try:
            require_schema(item.headers, "inbound-event")
            event = decode_object(item.value, MAX_INBOUND_BYTES)
            if event.get("type") != "message":
                return []
            number, recipient, said_ms = _message(event)
        except (DecodeError, ContractError) as exc:
            return self._dead(item, exc.code, str(exc))
        if number not in self._numbers:
            return []
        place, home = place_of(recipient, item.tp[1], self._partitions, item.headers)
        if place != "here":
            return self._dead(item, "misrouted", f"belongs on partition {home}")
        return self._open(item, event, number, recipient, said_ms)

    def _open(self, item: Item, event: dict[str, Any], number: str, recipient: str, said_ms: int) -> list[Out]:
        partition, key = item.tp[1], recipient.encode()
        message_id = event.get("message_id")
        record = open_window(
            self._windows.get(partition, key),
            recipient,
            number,
            said_ms,
            item.timestamp_ms,
            message_id if isinstance(message_id, str) and len(message_id) <= MAX_ID_CHARS else None,
        )
        if record is None:
            return []
        stored = self._windows.put(partition, key, record)
        return [Out(WINDOWS, key, encode(record), traced(WINDOW_SCHEMA, item), partition, stored)]

    def _dead(self, item: Item, code: str, message: str) -> list[Out]:
        self._metrics.dead_letters.labels(STAGE, code).inc()
        return [dead_letter(item, code, message)]


def _message(event: dict[str, Any]) -> tuple[str, str, int]:
    """Number, person and time of a message event."""
    number, at = event.get("number"), event.get("at")
    if not isinstance(number, str) or not isinstance(at, str) or len(at) > MAX_TIME_CHARS:
        raise ContractError(["message event: number and at are needed"])
    try:
        return number, normal_recipient(event.get("recipient")), parse_rfc3339_ms(at)
    except (ValueError, OverflowError) as exc:
        raise ContractError([f"message event: {exc}"]) from exc
