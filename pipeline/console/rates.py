"""How fast each number sends, second by second, and what its buckets hold: by the ledgers of its lanes.

Touched on the loop. `send-ledger` is read from five minutes ago on, so a restart finds the plots as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from pipeline.config import Settings
from pipeline.errors import DecodeError
from pipeline.operations.arrivals import limit_of
from pipeline.records.codec import decode_object
from pipeline.records.lanes import Lanes, pinned
from pipeline.throttle.bucket import Bucket, Limit

TOPIC: Final = "send-ledger"
SECONDS: Final = 300
_REFUSALS: Final = frozenset({"throttled", "overloaded"})


class Rates:
    """Requests to the API, and refusals of it, per number and second of the last five minutes.

    Buckets are full at first, which five minutes put right. What a sender learned of a lower limit, and messages that
    come in and count (`count_inbound`), are not seen here.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = {number: Limit(*limit_of(settings, number)) for number in settings.numbers}
        self._owners: dict[int, str] = {}
        self._buckets: dict[str, dict[int, Bucket]] = {number: {} for number in settings.numbers}
        self.follow({number: pinned(settings, number) for number in settings.numbers})
        self._sent: dict[str, Counter[int]] = {number: Counter() for number in settings.numbers}
        self._refused: dict[str, Counter[int]] = {number: Counter() for number in settings.numbers}

    def follow(self, lanes: Mapping[str, Lanes]) -> None:
        """Count by the lanes that numbers have now."""
        owners = {partition: number for number, one in lanes.items() for partition in one.partitions}
        if owners == self._owners:
            return
        self._owners = owners
        for number, one in lanes.items():
            share, known = self._limits[number].shared(len(one.partitions)), self._buckets[number]
            self._buckets[number] = {
                partition: known.get(partition) or Bucket(share, tokens=share.burst, now_s=0.0)
                for partition in one.partitions
            }

    def apply(self, batch: list[Any]) -> None:
        """Take Kafka messages of `send-ledger` in; what cannot be read is passed over."""
        for message in batch:
            number = self._owners.get(message.partition())
            try:
                record = decode_object(message.value())
            except DecodeError:
                continue
            if number is not None:
                self._take(number, message.partition(), record, message.timestamp()[1])

    def _take(self, number: str, partition: int, record: dict[str, Any], at_ms: int) -> None:
        if record.get("kind") == "attempt":
            self._buckets[number][partition].charge(1, at_ms / 1000)
            counts = self._sent[number]
        elif record.get("kind") == "returned" and record.get("reason") in _REFUSALS:
            counts = self._refused[number]
        else:
            return
        counts[at_ms // 1000] += 1
        if len(counts) > SECONDS + 60:
            for old in sorted(counts)[: len(counts) - SECONDS]:
                del counts[old]

    def sent(self, number: str, now_s: float, seconds: int = SECONDS) -> list[int]:
        """Requests in each of the last whole seconds, oldest first."""
        return _last(self._sent[number], now_s, seconds)

    def refused(self, number: str, now_s: float, seconds: int = SECONDS) -> list[int]:
        """Answers 429 and 503 in each of the last whole seconds, oldest first."""
        return _last(self._refused[number], now_s, seconds)

    def tokens(self, number: str, limit: Limit, now_s: float) -> float:
        """What the number's buckets hold together.

        Args:
            limit: Of the whole number, as it is now: Meta may have raised it.
        """
        buckets = self._buckets[number].values()
        for bucket in buckets:
            bucket.set_limit(limit.shared(len(buckets)), now_s)
        return max(0.0, sum(bucket.tokens(now_s) for bucket in buckets))


def _last(counts: Counter[int], now_s: float, seconds: int) -> list[int]:
    end = int(now_s)
    return [counts[second] for second in range(end - seconds, end)]
