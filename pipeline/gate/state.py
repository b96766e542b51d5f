"""What `account-state` says by now, for the gate's rules: campaigns, templates, quality, tiers. No I/O.

A `Follower` brings the topic's records, from its beginning to its moving end; nothing is judged before that end was
reached once. Touched on the gate's loop only.
"""

from __future__ import annotations

from typing import Any

import structlog

from pipeline.clock import steady_s
from pipeline.errors import RecordError
from pipeline.logs import Repeats
from pipeline.records.codec import decode_object
from pipeline.whatsapp.template_registry import TemplateRegistry

log = structlog.get_logger(__name__)


class AccountFacts:
    """Newest value of each key.

    Attributes:
        changes: How many there were; whoever derives something from values does so again when it has moved.
        templates: What the values of templates come to.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._values: dict[str, dict[str, Any]] = {}
        self.templates = TemplateRegistry()
        self._repeats = Repeats()

    def apply(self, batch: list[Any]) -> None:
        """Take Kafka messages of `account-state` in; what cannot be read is logged and changes nothing."""
        for message in batch:
            key = (message.key() or b"").decode(errors="replace")
            try:
                self.put(key, decode_object(message.value()) if message.value() is not None else None)
            except RecordError as exc:
                held_back = self._repeats.pass_now("unreadable", steady_s())
                if held_back is not None:
                    log.warning("account_state_unreadable", key=key, error=str(exc), suppressed=held_back)

    def put(self, key: str, value: dict[str, Any] | None) -> None:
        """Know a value from now on; None: the key is gone."""
        self.changes += 1
        self.templates.put(key, value)
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value

    def get(self, key: str) -> dict[str, Any] | None:
        """The newest value of a key, as it stands on the topic; None: there is none."""
        return self._values.get(key)
