"""A number's requests against its limit: how fast it goes now, and how close it came to rate·t + burst.

The rules are pure; `attempts_of` and `rates_now` read Kafka and block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.config import Settings
from pipeline.operations.account import account_states
from pipeline.operations.events import OUTBOUND
from pipeline.operations.reading import Advance, Reader, decoded
from pipeline.records.lanes import lanes_in_force
from pipeline.whatsapp.profiles import default_limit

LEDGER: Final = "send-ledger"
NOW_S: Final = 10
"""What counts as now: short enough to follow a campaign's start, long enough for a slow number to show."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a number posted in some time.

    Attributes:
        at_ms: Broker time of each attempt, written just before its POST; ascending.
        refused_ms: The same of answers 429 and 503.
        rate_per_s: Its limit by setting or profile.
        burst: The same.
    """

    at_ms: Sequence[int]
    refused_ms: Sequence[int]
    rate_per_s: float
    burst: int


def limit_of(settings: Settings, number: str) -> tuple[float, int]:
    """Rate and burst of a whole number, by setting or profile."""
    own = settings.numbers[number]
    rate, burst = default_limit(own.profile, own.api_version)
    return own.rate_per_s or rate, int(own.burst or burst)


def attempts_of(
    reader: Reader, settings: Settings, number: str, since_ms: int, advance: Advance | None = None
) -> Arrivals:
    """What a number of the settings posted since then, by its lanes' ledgers."""
    lanes = sorted(lanes_in_force(settings, account_states(reader).get)[number].used)
    at_ms, refused_ms = list[int](), list[int]()
    for row in reader.to_end(LEDGER, partitions=lanes, since_ms=since_ms, advance=advance):
        record: dict[str, Any] = decoded(row) or {}
        if record.get("kind") == "attempt":
            at_ms.append(row.timestamp_ms)
        elif record.get("kind") == "returned" and record.get("reason") in ("throttled", "overloaded"):
            refused_ms.append(row.timestamp_ms)
    return Arrivals(sorted(at_ms), sorted(refused_ms), *limit_of(settings, number))


def rates_now(reader: Reader, now_ms: int) -> Counter[str]:
    """Answers of the API per number in the last `NOW_S` seconds; a number that has none is not there."""
    answers: Counter[str] = Counter()
    for row in reader.to_end(OUTBOUND, since_ms=now_ms - NOW_S * 1000):
        event = decoded(row)
        if event is not None and event.get("http_status") is not None and isinstance(event.get("number"), str):
            answers[event["number"]] += 1
    return answers


def allowed(arrivals: Arrivals) -> list[float]:
    """How many requests a full bucket would have allowed up to each arrival: the tightest rate·t + burst over any time.

    Returns:
        One count per arrival; an arrival is within the limit if its own number is not above it.
    """
    found: list[float] = []
    tokens, last_ms = float(arrivals.burst), arrivals.at_ms[0] if arrivals.at_ms else 0
    for number, at_ms in enumerate(arrivals.at_ms):
        tokens = min(arrivals.burst, tokens + arrivals.rate_per_s * (at_ms - last_ms) / 1000)
        found.append(number + tokens)
        tokens, last_ms = tokens - 1, at_ms
    return found


def per_second(at_ms: Sequence[int], begin_ms: int, end_ms: int) -> list[int]:
    """Arrivals in each second from `begin_ms` until `end_ms`; the last second may be a part of one."""
    counts = [0] * max(1, -(-(end_ms - begin_ms) // 1000))
    for one in at_ms:
        if begin_ms <= one < end_ms:
            counts[(one - begin_ms) // 1000] += 1
    return counts
