"""What `account-state` says by now of what this door writes there: news are merged on top of it.

A `Follower` brings what stands on the topic (written before, or by another ingress); what this process writes counts at
once, so that two webhooks of one moment build on each other. Touched on the ingress' loop only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import structlog
from pydantic import BaseModel

from pipeline.clock import steady_s
from pipeline.errors import RecordError
from pipeline.logs import Repeats
from pipeline.records.account import (
    AlertState,
    BanState,
    CapabilityState,
    LimitsState,
    QualityState,
    RestrictionState,
    ReviewState,
    TemplateState,
)
from pipeline.records.codec import check, decode_object
from pipeline.whatsapp.news import News, join, merge

log = structlog.get_logger(__name__)

MAX_STATES = 100_000
"""Sixteen accounts with the most templates that one may have (Meta, template limits); news of more are not merged."""
_MODELS: Final[dict[str, type[BaseModel]]] = {
    "quality": QualityState, "limits": LimitsState, "capability": CapabilityState, "restriction": RestrictionState,
    "ban": BanState, "alert": AlertState, "review": ReviewState, "template": TemplateState,
}  # fmt: skip


class States:
    """Newest records by key."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}
        self._repeats = Repeats()

    def apply(self, batch: list[Any]) -> None:
        """Take Kafka messages of `account-state` in; what others write there, or cannot be read, is passed over."""
        for message in batch:
            key = (message.key() or b"").decode(errors="replace")
            try:
                self._take(key, decode_object(message.value()) if message.value() is not None else None)
            except RecordError as exc:
                self._warn("account_state_unreadable", key=key, error=str(exc))

    def renew(self, news: Iterable[News]) -> dict[str, dict[str, Any]]:
        """Merge news; returns the records to write, by key. Older ones than what is known change nothing."""
        written: dict[str, dict[str, Any]] = {}
        for one in news:
            record = merge(self._known.get(one.key), one)
            if record is not None:
                written[one.key] = record
                self._keep(one.key, record)
        return written

    def _take(self, key: str, value: dict[str, Any] | None) -> None:
        if value is None:
            self._known.pop(key, None)
            return
        model = _MODELS.get(str(value.get("aspect")))
        if model is not None:
            self._keep(key, join(self._known.get(key), check(model, value).model_dump()))

    def _keep(self, key: str, record: dict[str, Any]) -> None:
        if key in self._known or len(self._known) < MAX_STATES:
            self._known[key] = record
        else:
            self._warn("account_states_overflow", keys=len(self._known))

    def _warn(self, event: str, **details: Any) -> None:
        held_back = self._repeats.pass_now(event, steady_s())
        if held_back is not None:
            log.warning(event, suppressed=held_back, **details)
