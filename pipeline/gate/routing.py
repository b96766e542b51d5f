"""Where a message goes: which lane, which delayed topic. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.streams.partition import shard_of
from pipeline.streams.topics import TIER_DELAY_MS

GATE_AGAIN_MS: Final = 3_600_000
"""Who waits this long or longer is judged anew when due."""
_TIERS: Final = sorted(TIER_DELAY_MS.items(), key=lambda item: -item[1])
_SHORTEST: Final = _TIERS[-1][0]


class Lane(NamedTuple):
    """Where a message waits for its number: the key `<number>#<shard>` and the partition pinned for it."""

    key: str
    partition: int


def lane_of(number: str, recipient: str, partitions: Sequence[int]) -> Lane:
    """Lane of a recipient among those of a number; the same for all priorities.

    Args:
        partitions: The number's lane partitions, one per shard, as the settings pin them.
    """
    shard = shard_of(recipient, len(partitions)) if len(partitions) > 1 else 0
    return Lane(f"{number}#{shard}", partitions[shard])


def delayed_topic(wait_ms: int) -> str:
    """The largest tier not longer than the wait; the shortest below that."""
    return next((topic for topic, delay_ms in _TIERS if delay_ms <= wait_ms), _SHORTEST)
