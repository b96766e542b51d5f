"""What `account-state` says now, in memory: holds, halts, quality, tiers, templates, campaigns. Touched on the loop."""

from __future__ import annotations

from typing import Any

from pipeline.errors import DecodeError
from pipeline.records.codec import decode_object
from pipeline.whatsapp.template_registry import TemplateRegistry


class States:
    """Newest value by key.

    Attributes:
        known: As the operations take it.
        templates: The same of templates, joined.
    """

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.templates = TemplateRegistry()

    def apply(self, batch: list[Any]) -> None:
        """Take Kafka messages in; what cannot be read is passed over."""
        for message in batch:
            key = (message.key() or b"").decode(errors="replace")
            try:
                value = decode_object(message.value()) if message.value() is not None else None
            except DecodeError:
                continue
            if value is None:
                self.known.pop(key, None)
            else:
                self.known[key] = value
            self.templates.put(key, value)
