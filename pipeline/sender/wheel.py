"""The timing wheel made of topics: which delayed topic a copy goes to, and when it matures there. Pure.

Inside one tier the delay is constant, so the head of a partition is always due first and waiting for it delays
nobody. Precision comes from memory: a copy is only the durable word that the message waits.
"""

from __future__ import annotations

from pipeline.streams.topics import TIER_DELAY_MS

HOUR_MS = 3_600_000
FIRST_HOP_MS = 5_000
# The first step by which a pair has its whole burst back: 45 messages, 6 s each (Meta, about the platform).
PAIR_DELAY_MAX_S = 1_024.0
_TIERS: tuple[tuple[str, int], ...] = tuple(sorted(TIER_DELAY_MS.items(), key=lambda item: item[1]))


def tier_for(remaining_ms: int) -> str:
    """The largest tier not longer than what remains; the shortest below that."""
    chosen = _TIERS[0][0]
    for name, delay_ms in _TIERS:
        if delay_ms <= remaining_ms:
            chosen = name
    return chosen


def matures_ms(tier: str, written_ms: int, due_ms: int, now_ms: int) -> int:
    """When a copy has to be looked at again: at its due time if that comes before the end of its tier's delay.

    Args:
        tier: Topic name without the prefix.
        written_ms: When it was written.
        due_ms: When its message may go; a time that has passed says only that it waits for something else.
    """
    end = written_ms + TIER_DELAY_MS[tier]
    return min(end, due_ms) if due_ms > now_ms else end


def hop_delay_ms(hops: int) -> int:
    """How long the next copy of a message that is still in hand rests: twice as long each time, up to an hour."""
    return min(HOUR_MS, FIRST_HOP_MS << min(hops, 20))


def transient_delay_s(spent: int, jitter: float) -> float:
    """Backoff after a transient error: 1, 2, 4 … s up to 5 minutes, 0–25 % longer.

    Args:
        spent: Attempts spent so far, this one included; at least 1.
        jitter: In [0, 1).
    """
    return float(min(300, 1 << min(spent - 1, 20))) * (1.0 + 0.25 * jitter)


def pair_delay_s(failures: int) -> float:
    """Wait after a pair limit: 4^n s, so 1, 4, 16, 64 … s (Meta, about the platform), up to 17 minutes.

    Args:
        failures: How often this message met the limit before.
    """
    return min(PAIR_DELAY_MAX_S, float(4 ** min(failures, 10)))


def goes_through_gate(due_ms: int, now_ms: int) -> bool:
    """Whether a wait is so long (an hour or more) that the message is judged anew when it is due."""
    return due_ms - now_ms >= HOUR_MS
