"""What became of messages' statuses: the store behind `message_history` (whatsapp-api.md §2.11). Bounded, pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

State = Literal["DELIVERED", "RETRYING", "FAILED"]
MESSAGES_MAX = 20_000
PAGE_MAX = 100


class History:
    """Statuses by message, with what became of their webhook; the oldest messages are forgotten first."""

    def __init__(self) -> None:
        """Know of none yet."""
        self._messages: OrderedDict[str, tuple[str, dict[str, dict[str, Any]]]] = OrderedDict()

    def clear(self) -> None:
        """Forget all."""
        self._messages.clear()

    def tell(self, number: str, message_id: str, status: str, url: str, state: State, wall_s: float) -> None:
        """A webhook with a status of a message of `number` went out at `wall_s`, and so it ended."""
        known = self._messages.get(message_id)
        if known is None:
            known = self._messages[message_id] = (number, {})
            if len(self._messages) > MESSAGES_MAX:
                self._messages.popitem(last=False)
        known[1][status] = {
            "id": f"{message_id}/{status}",
            "delivery_status": status.upper(),
            "webhook_update_state": state,
            "timestamp": int(wall_s),
            "webhook_uri": url,
        }

    def page(self, number: str, message_id: str | None) -> dict[str, Any]:
        """The latest messages of a number, or the one that is asked for."""
        names = [message_id] if message_id is not None else reversed(self._messages)
        found = [name for name in names if name in self._messages and self._messages[name][0] == number]
        rows = [{"id": name, "message_id": name, "events": self.events(name)} for name in found[:PAGE_MAX]]
        return {"data": rows, "paging": {"cursors": {"before": "", "after": ""}}}

    def events(self, message_id: str) -> dict[str, Any] | None:
        """The statuses of a message; None = it is not known."""
        known = self._messages.get(message_id)
        return None if known is None else {"data": list(known[1].values())}
