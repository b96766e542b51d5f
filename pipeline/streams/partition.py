"""Which partition a key belongs to: murmur2 as the Java client computes it; which lane a person belongs to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (org.apache.kafka.common.utils.Utils.murmur2), as an unsigned 32-bit number."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * _M) & _MASK
        k ^= k >> 24
        k = (k * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    rest = length & 3
    if rest == 3:
        h ^= data[whole + 2] << 16
    if rest >= 2:
        h ^= data[whole + 1] << 8
    if rest >= 1:
        h ^= data[whole]
        h = (h * _M) & _MASK
    h ^= h >> 13
    h = (h * _M) & _MASK
    h ^= h >> 15
    return h


def partition_of(key: str, partitions: int) -> int:
    """Partition of a key among `partitions`, as Java's default partitioner and librdkafka's `murmur2_random` choose."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def shard_of(recipient: str, shards: int) -> int:
    """Shard of a sending number that a recipient belongs to; another hash than the partition's, so both spread."""
    return (murmur2(b"shard:" + recipient.encode()) & 0x7FFFFFFF) % shards


class LanePlace(NamedTuple):
    """Where a message waits for its number: the key `<number>#<shard>` and the partition pinned for it."""

    key: str
    partition: int


def lane_of(number: str, recipient: str, partitions: Sequence[int]) -> LanePlace:
    """Lane of a recipient among those of a number; the same for all priorities.

    Args:
        partitions: The number's lane partitions, one per shard.
    """
    shard = shard_of(recipient, len(partitions)) if len(partitions) > 1 else 0
    return LanePlace(f"{number}#{shard}", partitions[shard])
