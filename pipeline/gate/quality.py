"""Quality: bulk of a number that WhatsApp rates red, or whose account may not begin conversations, is held. Pure.

Held messages come back through the gate every `LOOK_AGAIN_MS` and go on when the cause is gone. Urgent and normal ones
are never held here: people wait for them, and it is campaigns that cost a number its quality.
"""

from __future__ import annotations

from typing import Final

from pipeline.config import Settings
from pipeline.gate.state import AccountFacts
from pipeline.whatsapp.rating import holds_bulk, keys_of

LOOK_AGAIN_MS: Final = 3_600_000
"""An hour is the shortest wait outside the order of a chain: whoever is held must not hold up, or overtake, in it."""


class QualityRule:
    """Says whether a number's bulk is held.

    Args:
        account: What `account-state` says.
    """

    def __init__(self, settings: Settings, account: AccountFacts) -> None:
        self._policy = settings.policy.on_quality_red
        self._account = account
        self._keys = {number: keys_of(number, one) for number, one in settings.numbers.items()}

    def held_until_ms(self, number: str, now_ms: int) -> int | None:
        """When to look again at bulk of this number; None: it may go."""
        keys = self._keys.get(number)
        if keys is None or not holds_bulk(self._policy, self._account.get, keys, now_ms):
            return None
        return now_ms + LOOK_AGAIN_MS
