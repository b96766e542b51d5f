"""Messaging tiers: how many people a portfolio may write to in 24 h without having been written to (Meta, limits).

Whom the gate admits a message to outside an open service window is counted, once however many messages follow, and
written to `tier-recipients`. Every gate follows that topic, so a restart or a rebalance finds the count as it was. Each
recipient partition has a share of the tier of its own: gates need not agree with each other, and the sum of the shares
is never above what may be used. Bulk is held when its partition's share is used up; others are counted, never held.

Counted is what was *admitted*: it may be sent a while later, so people are counted somewhat longer than 24 h, and what
ends unsent frees nothing before that. Touched on the gate's loop only.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import structlog

from pipeline.clock import parse_rfc3339_ms, rfc3339, steady_s, unix_ms
from pipeline.config import Settings
from pipeline.errors import RecordError
from pipeline.gate.item import Item, Out, traced
from pipeline.gate.quality import LOOK_AGAIN_MS
from pipeline.gate.state import AccountFacts
from pipeline.logs import Repeats
from pipeline.metrics import Metrics
from pipeline.records.codec import decode_object, encode
from pipeline.records.tier import COUNTED_MS, REFRESH_MS, SCHEMA, TOPIC, newest_people, portfolios_of, sources_of
from pipeline.streams.partition import partition_of

log = structlog.get_logger(__name__)

PEOPLE_MAX: Final = 500_000
"""About 100 MB; five portfolios of the largest tier. Whoever comes on top is not counted, and that is logged."""


def share_of(people: float, part: float, partition: int, partitions: int) -> int:
    """How many people one recipient partition may add: shares differ by one at most, and sum up to `people × part`.

    Args:
        part: Part of the tier that bulk may use up, in (0, 1].

    Returns:
        At least 1, or nobody on that partition would ever get bulk: only with more partitions than people more than
        the tier might be used.
    """
    whole, rest = divmod(int(people * part), partitions)
    return max(1, whole + (partition < rest))


class Tiers:
    """Who was counted, per portfolio and recipient partition, oldest first; what the tiers are.

    Args:
        partitions: Number of recipient partitions.
        account: What `account-state` says.
    """

    def __init__(self, settings: Settings, partitions: int, account: AccountFacts, metrics: Metrics) -> None:
        self._part = settings.policy.tier_share
        self._partitions = partitions
        self._account = account
        self._portfolios, self._sources = portfolios_of(settings), sources_of(settings)
        self._tiers: dict[str, float | None] = dict.fromkeys(self._sources)
        self._as_of = -1
        self._rings: dict[tuple[str, int], OrderedDict[str, int]] = {}
        self._people = 0
        self._repeats = Repeats()
        for name in self._sources:
            metrics.watch(metrics.tier_used_ratio, partial(self._used_now, name), name)

    # -- tiers -------------------------------------------------------------------------------------------------------
    def is_limited(self, number: str) -> bool:
        """Whether whom this number writes to has to be counted: its tier is known, and not unlimited."""
        people = self._people_of(self._portfolios.get(number, ""))
        return people is not None and people < math.inf

    def used_ratio(self, portfolio: str, now_ms: int) -> float:
        """Part of the tier that is used, over all partitions; 0 if it is unlimited, NaN if it is unknown."""
        people = self._people_of(portfolio)
        if people is None:
            return math.nan
        used = sum(len(self._ring(portfolio, partition, now_ms)) for partition in range(self._partitions))
        return used / people

    def _used_now(self, portfolio: str) -> float:
        return self.used_ratio(portfolio, unix_ms())

    def _people_of(self, portfolio: str) -> float | None:
        if self._as_of != self._account.changes:
            self._as_of = self._account.changes
            for name, sources in self._sources.items():
                self._tiers[name] = newest_people(sources, self._account.get)
        return self._tiers.get(portfolio)

    # -- who was written to ------------------------------------------------------------------------------------------
    def held_until_ms(self, number: str, recipient: str, partition: int, now_ms: int) -> int | None:
        """When there is room for one more person; None: there is, or this one is counted already.

        Returns:
            An hour from now at least: see `LOOK_AGAIN_MS`.
        """
        portfolio = self._portfolios.get(number, "")
        people = self._people_of(portfolio)
        if people is None or people == math.inf:
            return None
        ring = self._ring(portfolio, partition, now_ms)
        if recipient in ring or len(ring) < share_of(people, self._part, partition, self._partitions):
            return None
        return max(next(iter(ring.values())) + COUNTED_MS, now_ms + LOOK_AGAIN_MS)

    def count(self, item: Item, number: str, recipient: str, at_ms: int, now_ms: int) -> list[Out]:
        """Count a person that a message was admitted to; the record that says so, or nothing if it is said already.

        Args:
            item: What caused it; on the recipient's partition.
            at_ms: When the message may go, milliseconds since 1970; less than an hour ahead.
        """
        partition, portfolio = item.tp[1], self._portfolios[number]
        known_ms = self._ring(portfolio, partition, now_ms).get(recipient)
        if known_ms is not None and at_ms - known_ms < REFRESH_MS:
            return []
        self._put(portfolio, partition, recipient, at_ms)
        told = {name: rfc3339(at) for name, at in self._counted(recipient, partition)}
        value = encode({"recipient": recipient, "portfolios": told})
        return [Out(TOPIC, recipient, value, traced(SCHEMA, item), partition)]

    def apply(self, batch: list[Any]) -> None:
        """Take Kafka messages of `tier-recipients` in, our own included; what cannot be read changes nothing."""
        now_ms = unix_ms()
        for message in batch:
            recipient, raw = (message.key() or b"").decode(errors="replace"), message.value()
            if partition_of(recipient, self._partitions) != message.partition():
                continue  # moved when there were more partitions: counted where it is now
            try:
                told = decode_object(raw)["portfolios"] if raw is not None else {}
                times = [(name, parse_rfc3339_ms(at)) for name, at in told.items()]
            except (RecordError, KeyError, TypeError, AttributeError, ValueError, OverflowError) as exc:
                self._warn("tier_recipient_unreadable", error=f"{type(exc).__name__}: {exc}")
                continue
            for name, at_ms in times:
                ring = self._ring(name, message.partition(), now_ms) if name in self._sources else None
                if ring is not None and now_ms - COUNTED_MS < at_ms and ring.get(recipient, 0) < at_ms:
                    self._put(name, message.partition(), recipient, at_ms)

    def _counted(self, recipient: str, partition: int) -> Iterator[tuple[str, int]]:
        for name in self._sources:
            ring = self._rings.get((name, partition))
            if ring is not None and recipient in ring:
                yield name, ring[recipient]

    def _ring(self, portfolio: str, partition: int, now_ms: int) -> OrderedDict[str, int]:
        """People of one partition that count now, oldest first; each leaves once, so this costs nothing on average."""
        ring = self._rings.setdefault((portfolio, partition), OrderedDict())
        while ring:
            recipient, at_ms = next(iter(ring.items()))
            if at_ms + COUNTED_MS > now_ms:
                break
            del ring[recipient]
            self._people -= 1
        return ring

    def _put(self, portfolio: str, partition: int, recipient: str, at_ms: int) -> None:
        ring = self._rings[portfolio, partition]
        if recipient not in ring:
            if self._people >= PEOPLE_MAX:
                self._warn("tier_overflow", people=self._people)
                return
            self._people += 1
        ring[recipient] = at_ms
        ring.move_to_end(recipient)

    def _warn(self, event: str, **details: Any) -> None:
        held_back = self._repeats.pass_now(event, steady_s())
        if held_back is not None:
            log.warning(event, suppressed=held_back, **details)
