"""Messaging tiers: who is counted, when bulk is held, when it goes on, and what survives a restart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import rfc3339
from pipeline.gate import tiers as module
from pipeline.gate.item import Out
from pipeline.gate.quality import LOOK_AGAIN_MS
from pipeline.gate.requests import Wait
from pipeline.gate.tiers import share_of
from pipeline.records.account import TierRecipient
from pipeline.records.ready import parse_ready
from pipeline.records.returning import returning_headers
from pipeline.records.tier import COUNTED_MS, REFRESH_MS, TOPIC, people_of
from pipeline.streams.partition import partition_of
from tests.support.kafka_message import KafkaMessage
from tests.unit.gate import making
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, PARTITIONS, Tables, body

BULK = {"category": "marketing", "purpose": None}
HOME = partition_of(ADA, PARTITIONS)
SHARE = share_of(50, 0.95, HOME, PARTITIONS)


def neighbours() -> Iterator[str]:
    """People on Ada's partition, without end."""
    numbers = (f"155501{n:05d}" for n in range(100_000))
    return (person for person in numbers if partition_of(person, PARTITIONS) == HOME)


def at_tier(tier: str | None = "TIER_50", **policy: Any) -> Tables:
    """Tables of a portfolio with this tier."""
    tables = Tables(policy=policy)
    tables.account.put(f"number:{NUMBER}/limits", {"tier": tier, "tier_at": rfc3339(NOW_MS), "at": rfc3339(NOW_MS)})
    return tables


def asks(tables: Tables, person: str, *, now_ms: int = NOW_MS, **fields: Any) -> list[Out]:
    """A request for somebody who allows everything."""
    tables.grant(recipient=person, update_id=f"u-{person}", categories=["utility", "marketing", "authentication"])
    headers = fields.pop("headers", ())
    wanted = making.request(request_id=f"r-{person}", to=person, **{**BULK, **fields})
    outs = tables.judge(wanted, now_ms=now_ms, headers=headers)
    assert not isinstance(outs, Wait)
    return outs


def event_of(outs: list[Out]) -> dict[str, Any]:
    """The event among what is written."""
    return body(next(out for out in outs if out.topic == "outbound-events"))


def told(outs: list[Out]) -> tuple[str, str | None]:
    """Type and reason of the event."""
    event = event_of(outs)
    return event["type"], event["reason"]


def as_messages(outs: list[Out]) -> list[KafkaMessage]:
    """What stands on the topic afterwards, as another gate reads it."""
    return [KafkaMessage(str(out.key).encode(), out.value, out.partition) for out in outs if out.topic == TOPIC]


def test_a_campaign_meets_its_tier_and_goes_on_by_itself() -> None:
    """Bulk beyond the share waits until the first counted person leaves; codes go on; then the held one is queued."""
    tables, people = at_tier(), neighbours()
    for n in range(SHARE):
        assert told(asks(tables, next(people), now_ms=NOW_MS + n)) == ("queued", None)
    late, now_ms = next(people), NOW_MS + SHARE
    held = asks(tables, late, now_ms=now_ms)
    assert told(held) == ("deferred", "tier_exhausted")
    due_ms = NOW_MS + COUNTED_MS
    assert event_of(held)["due_at"] == rfc3339(due_ms)
    copy = parse_ready(body(next(out for out in held if out.topic == "delayed-retry-1h")))
    assert copy.via_gate
    for fields in ({"category": "authentication"}, {"category": "utility"}):
        assert told(asks(tables, next(people), now_ms=now_ms, **fields)) == ("queued", None)
    back = {"headers": returning_headers(copy.record["source"]), "expires_at": rfc3339(due_ms + 1000)}
    assert told(asks(tables, late, now_ms=due_ms - 1, **back)) == ("deferred", "tier_exhausted")
    # Two that were not held were counted, too, so one more has to leave for each of them.
    assert told(asks(tables, late, now_ms=due_ms + 2, **back)) == ("queued", None)


def test_a_person_counts_once() -> None:
    """Further messages to somebody who is counted are never held, and write nothing for ten minutes."""
    tables, people = at_tier(), neighbours()
    known = [next(people) for _ in range(SHARE)]
    for person in known:
        asks(tables, person)
    assert told(asks(tables, known[0])) == ("queued", None)
    assert as_messages(asks(tables, known[0], now_ms=NOW_MS + REFRESH_MS - 1)) == []
    [refreshed] = as_messages(asks(tables, known[0], now_ms=NOW_MS + REFRESH_MS))
    assert TierRecipient.model_validate_json(refreshed.value() or b"").portfolios == {NUMBER: NOW_MS + REFRESH_MS}


def test_answers_do_not_count() -> None:
    """Inside an open service window the business begins nothing, whatever it sends."""
    tables, people = at_tier(), neighbours()
    for _ in range(SHARE):
        asks(tables, next(people))
    person = next(people)
    tables.inbound.apply(making.item("inbound", making.message_event(recipient=person), key=person.encode()))
    outs = asks(tables, person)
    assert told(outs) == ("queued", None)
    assert as_messages(outs) == []


def test_a_room_that_comes_soon_is_waited_for_an_hour() -> None:
    """A shorter wait would stand outside the order of a chain."""
    tables, people = at_tier(), neighbours()
    for _ in range(SHARE):
        asks(tables, next(people))
    now_ms = NOW_MS + COUNTED_MS - 1000
    outs = asks(tables, next(people), now_ms=now_ms, expires_at=rfc3339(now_ms + 2 * LOOK_AGAIN_MS))
    assert event_of(outs)["due_at"] == rfc3339(now_ms + LOOK_AGAIN_MS)


def test_what_is_scheduled_within_the_hour_counts_when_it_goes() -> None:
    """It is not judged again, so it is counted now; what comes back through the gate is counted then."""
    tables, people = at_tier(), neighbours()
    person, due_ms = next(people), NOW_MS + 600_000
    [message] = as_messages(asks(tables, person, not_before=rfc3339(due_ms)))
    assert TierRecipient.model_validate_json(message.value() or b"").portfolios == {NUMBER: due_ms}
    assert as_messages(asks(tables, next(people), not_before=rfc3339(NOW_MS + LOOK_AGAIN_MS))) == []


def test_another_gate_finds_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart or a rebalance: it has followed the topic, where our own records change nothing."""
    monkeypatch.setattr(module, "unix_ms", lambda: NOW_MS)
    tables, heir, people = at_tier(), at_tier(), neighbours()
    written = as_messages([out for _ in range(SHARE) for out in asks(tables, next(people))])
    tables.tiers.apply(written)
    heir.tiers.apply(
        [*written, KafkaMessage(b"1", b"{"), KafkaMessage(b"1", b'{"portfolios": 3}'), KafkaMessage(b"1", None)]
    )
    assert tables.tiers.used_ratio(NUMBER, NOW_MS) == heir.tiers.used_ratio(NUMBER, NOW_MS) == SHARE / 50
    assert told(asks(heir, next(people))) == ("deferred", "tier_exhausted")


def test_who_moved_to_another_partition_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a move leaves behind on the partition of before is not counted beside the copy."""
    monkeypatch.setattr(module, "unix_ms", lambda: NOW_MS)
    tables, heir = at_tier(), at_tier()
    written = as_messages(asks(tables, next(neighbours())))
    left = [one._replace(at_partition=(one.at_partition + 1) % PARTITIONS) for one in written]
    heir.tiers.apply([*left, *written])
    assert heir.tiers.used_ratio(NUMBER, NOW_MS) == 1 / 50


def test_an_unknown_tier_limits_nobody_and_shows() -> None:
    """Nothing is counted; the metric says that it is unknown, and 0 for a tier without an end."""
    for tier, shown in ((None, math.nan), ("TIER_NOT_SET", math.nan), ("TIER_UNLIMITED", 0.0)):
        tables = at_tier(tier)
        assert as_messages(asks(tables, ADA)) == []
        assert repr(tables.tiers.used_ratio(NUMBER, NOW_MS)) == repr(shown)
    assert b'wapipe_tier_used_ratio{portfolio="200000000000001"} 0.0' in tables.metrics.exposition()


def test_the_newest_word_on_a_portfolio_counts_for_all_its_numbers() -> None:
    """Of its numbers' limits, its accounts' capability and the preflight; a change holds at once."""
    one = {"base_url": "https://api.invalid", "token_env": "T", "business": "acme", "profile": "cloud"}
    numbers = {
        NUMBER: {**one, "portfolio": "p1", "account": "7", "partitions": [0]},
        "2": {**one, "portfolio": "p1", "account": "8", "partitions": [1]},
    }
    tables = Tables(numbers=numbers)
    tables.account.put("number:2/preflight", {"tier": "TIER_250", "at": rfc3339(NOW_MS)})
    assert tables.tiers.is_limited(NUMBER)
    tables.account.put("account:7/capability", {"tier": "TIER_UNLIMITED", "at": rfc3339(NOW_MS + 1)})
    assert not tables.tiers.is_limited("2")
    tables.account.put(f"number:{NUMBER}/limits", {"tier": "TIER_2K", "tier_at": rfc3339(NOW_MS + 2)})
    assert tables.tiers.is_limited("2")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound nobody more is counted; who leaves makes room."""
    monkeypatch.setattr(module, "PEOPLE_MAX", 2)
    tables, people = at_tier("TIER_100K"), neighbours()
    for _ in range(3):
        asks(tables, next(people))
    assert tables.tiers.used_ratio(NUMBER, NOW_MS) == 2 / 100_000
    asks(tables, next(people), now_ms=NOW_MS + COUNTED_MS, expires_at=rfc3339(NOW_MS + 2 * COUNTED_MS))
    assert tables.tiers.used_ratio(NUMBER, NOW_MS + COUNTED_MS) == 1 / 100_000


@pytest.mark.parametrize(
    ("tier", "people"),
    [("TIER_50", 50), ("TIER_1K", 1000), ("TIER_2K", 2000), ("TIER_100K", 100_000), ("TIER_UNLIMITED", math.inf),
     ("TIER_NOT_SET", None), ("TIER_", None), ("250", None), (None, None)],
)  # fmt: skip
def test_tiers_are_read(tier: str | None, people: float | None) -> None:
    """As webhooks and the API name them; what names none is unknown."""
    assert people_of(tier) == people


@given(st.integers(1, 200_000), st.floats(0.01, 1.0), st.integers(1, 500))
def test_shares_never_sum_up_to_more_than_may_be_used(people: int, part: float, partitions: int) -> None:
    """And differ by one at most; each partition may add somebody."""
    shares = [share_of(people, part, partition, partitions) for partition in range(partitions)]
    assert sum(shares) == max(partitions, int(people * part))
    assert 1 <= min(shares) <= max(shares) <= min(shares) + 1
