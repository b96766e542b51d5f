"""Where a message goes that has to wait: which delayed topic. Pure."""

from __future__ import annotations

from typing import Final

from pipeline.streams.topics import TIER_DELAY_MS

GATE_AGAIN_MS: Final = 3_600_000
"""Who waits this long or longer is judged anew when due."""
_TIERS: Final = sorted(TIER_DELAY_MS.items(), key=lambda item: -item[1])
_SHORTEST: Final = _TIERS[-1][0]


def delayed_topic(wait_ms: int) -> str:
    """The largest tier not longer than the wait; the shortest below that."""
    return next((topic for topic, delay_ms in _TIERS if delay_ms <= wait_ms), _SHORTEST)
