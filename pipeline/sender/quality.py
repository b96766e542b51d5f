"""What quality and bans do to a number here: bulk already in a lane is held, the rate halved, or all stands still.

The gate holds what comes; this is for what it let through before. Reads `account-state` as it is known by now;
synchronous, on the event loop.
"""

from __future__ import annotations

from typing import Final

from pipeline.sender.context import Context
from pipeline.sender.lane import Lane
from pipeline.sender.wheel import HOUR_MS
from pipeline.whatsapp.rating import SCORES, Rating, holds_bulk, is_banned, keys_of, rating_of

HELD_MS: Final = HOUR_MS + 60_000
"""An hour or more goes back through the gate, which looks again; the minute is for the time that the copy takes."""
SLOW_PART: Final = 0.5
"""Rate of a red number with `on_quality_red = "slow"`: what it begins with after a spell of 429s, too."""


class Quality:
    """Answers for the lanes of this process."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._policy = ctx.settings.policy.on_quality_red
        self._keys = {number: keys_of(number, one) for number, one in ctx.settings.numbers.items()}

    def held_until_ms(self, number: str, priority: str, now_ms: int) -> int | None:
        """When the gate is to look again at a message of this priority; None: it may go."""
        if priority != "bulk" or not holds_bulk(self._policy, self._ctx.account.get, self._keys[number], now_ms):
            return None
        return now_ms + HELD_MS

    def is_stopped(self, number: str) -> bool:
        """Whether nothing goes from this number, as its account is disabled; with `none` that is left to the API."""
        return self._policy != "none" and is_banned(self._ctx.account.get(self._keys[number].ban))

    def follow(self, lane: Lane) -> None:
        """Let a lane's rate follow its number's rating, and show the rating."""
        rating = self._rating(lane.number)
        lane.quality_part = SLOW_PART if rating == "RED" and self._policy == "slow" else 1.0
        self._ctx.metrics.number_quality.labels(lane.number).set(SCORES[rating])

    def _rating(self, number: str) -> Rating:
        get, keys = self._ctx.account.get, self._keys[number]
        return rating_of(get(keys.quality), get(keys.preflight))
