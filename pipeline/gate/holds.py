"""What holds bulk back at the gate, and what the gate remembers of whom it admitted: quality and tiers together.

Synchronous; runs in the gate's worker.
"""

from __future__ import annotations

from pipeline.config import Settings
from pipeline.gate.admission import Admit, Decision, Defer, Hold
from pipeline.gate.item import Item, Out
from pipeline.gate.quality import QualityRule
from pipeline.gate.state import AccountFacts
from pipeline.gate.tiers import Tiers
from pipeline.records.request import Request

HELD_PRIORITY = "bulk"


class Holds:
    """Asked before a request is decided about, and told what was decided.

    Args:
        account: What `account-state` says.
    """

    def __init__(self, settings: Settings, account: AccountFacts, tiers: Tiers) -> None:
        self._quality = QualityRule(settings, account)
        self._tiers = tiers

    def needs_window(self, number: str) -> bool:
        """Whether the service window matters to every message of a number: inside it nobody is counted."""
        return self._tiers.is_limited(number)

    def hold_of(self, request: Request, person: str, partition: int, window_ms: int | None, now_ms: int) -> Hold | None:
        """What holds a request back, if it is bulk; a tier only if the business begins the conversation by it.

        Args:
            person: The recipient as consent knows them.
            partition: Of the person.
            window_ms: End of the person's service window with the number, if `needs_window`.
        """
        if request.effective_priority != HELD_PRIORITY:
            return None
        due_ms = self._quality.held_until_ms(request.from_, now_ms)
        if due_ms is not None:
            return Hold("held_quality", due_ms)
        if _is_answer(window_ms, now_ms):
            return None
        due_ms = self._tiers.held_until_ms(request.from_, person, partition, now_ms)
        return Hold("tier_exhausted", due_ms) if due_ms is not None else None

    def decided(
        self, item: Item, request: Request, person: str, window_ms: int | None, decision: Decision, now_ms: int
    ) -> list[Out]:
        """Count the recipient of what goes without being judged again, unless it answers them."""
        goes_ms = now_ms if isinstance(decision, Admit) else None
        if isinstance(decision, Defer) and not decision.via_gate:
            goes_ms = decision.due_ms
        if goes_ms is None or _is_answer(window_ms, goes_ms) or not self._tiers.is_limited(request.from_):
            return []
        return self._tiers.count(item, request.from_, person, goes_ms, now_ms)


def _is_answer(window_ms: int | None, at_ms: int) -> bool:
    return window_ms is not None and window_ms > at_ms
