"""How each number stands, and an operator's hold on it.

The rules are pure; `backlogs` asks Kafka and blocks: the ends of the lane topics, and what senders have committed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.clock import rfc3339
from pipeline.config import Settings
from pipeline.errors import WrongRequest
from pipeline.operations.account import MOVES, account_states, all_stops
from pipeline.operations.acts import Act, Actor, Outgoing, audited
from pipeline.operations.arrivals import NOW_S, limit_of, rates_now
from pipeline.operations.overrides import override_key, override_of
from pipeline.operations.reading import CONNECT_TIMEOUT_S, Reader, unreachable
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.records.lanes import Lanes, lanes_in_force
from pipeline.records.request import PRIORITIES
from pipeline.streams.client import reader_conf
from pipeline.streams.topics import DELAYED, READY

ACCOUNT: Final = "account-state"

Backlog = Mapping[str, int]
"""Records that wait, by lane topic (without the prefix)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a number stands.

    Attributes:
        limit_per_s: Its rate by setting or profile.
        rate_now_per_s: Answers of the API in the last seconds.
        is_still: Whether nothing of it goes; a hold on some priorities leaves the others.
        stops: Why it stands still, or what of it does.
        backlog: Records that wait, by priority.
        delayed: Records that wait for a moment of their own.
        seconds_to_drain: How long the backlog takes at the full rate; None: it does not drain.
    """

    number: str
    business: str
    profile: str
    limit_per_s: float
    rate_now_per_s: float
    is_still: bool
    stops: tuple[str, ...]
    backlog: Mapping[str, int]
    delayed: int
    seconds_to_drain: float | None


def standing(
    settings: Settings,
    number: str,
    states: Mapping[str, Mapping[str, Any]],
    backlog: Backlog,
    now_ms: int,
    rate_now_per_s: float = 0.0,
) -> Standing:
    """How a number of the settings stands.

    Args:
        states: Newest value of each key of `account-state`.
        backlog: Its part of what `backlogs` returns.
        now_ms: This host's time.
    """
    own = settings.numbers[number]
    lifted = override_of(states.get(override_key(number), {}), now_ms)
    stops = all_stops(settings, number, states, lifted, now_ms)
    is_partial = bool((states.get(pause_key(number)) or {}).get("priorities"))
    limit, _ = limit_of(settings, number)
    is_still = any(not ((stop.startswith("operator") and is_partial) or stop.startswith(MOVES)) for stop in stops)
    waiting = sum(backlog[name] for name in READY)
    return Standing(
        number, own.business, own.profile, limit, rate_now_per_s, is_still, tuple(stops),
        {name.removeprefix("ready-"): backlog[name] for name in READY},
        sum(backlog[name] for name in DELAYED),
        None if is_still and waiting else round(waiting / limit, 1),
    )  # fmt: skip


def standings(reader: Reader, settings: Settings, now_ms: int) -> list[Standing]:
    """How every number stands now; blocks.

    Raises:
        BrokerUnreachable: no broker answered in time.
    """
    states, answers = account_states(reader), rates_now(reader, now_ms)
    waiting = backlogs(settings, lanes_in_force(settings, states.get))
    return [
        standing(settings, number, states, waiting[number], now_ms, answers[number] / NOW_S)
        for number in settings.numbers
    ]


def backlogs(settings: Settings, lanes: Mapping[str, Lanes]) -> dict[str, dict[str, int]]:
    """Uncommitted records by number and lane topic (without the prefix); blocks.

    Args:
        lanes: In force, of every number.

    Raises:
        BrokerUnreachable: no broker answered in time.
    """
    group = settings.group("sender")
    found = {number: dict.fromkeys((*READY, *DELAYED), 0) for number in settings.numbers}
    consumer = Consumer(reader_conf(settings.kafka, **{"group.id": group}))
    try:
        for number, partition in [(name, one) for name in found for one in sorted(lanes[name].held)]:
            places = [TopicPartition(settings.topic(name), partition) for name in found[number]]
            # The ends come after all commits: what a sender has written before it committed something is seen.
            for name, place in zip(found[number], consumer.committed(places, CONNECT_TIMEOUT_S), strict=True):
                low, end = consumer.get_watermark_offsets(place, timeout=CONNECT_TIMEOUT_S)
                found[number][name] += end - (max(place.offset, low) if place.offset >= 0 else low)
    except KafkaException as exc:
        raise unreachable(settings, exc) from exc
    finally:
        consumer.close()
    return found


def require_number(settings: Settings, number: str) -> None:
    """See whether a number is configured.

    Raises:
        WrongRequest: it is not; names those that are.
    """
    if number not in settings.numbers:
        known = ", ".join(settings.numbers) or "none"
        raise WrongRequest(f"NUMBER: {number} is not in the settings; there are: {known}")


def pause_key(number: str) -> str:
    """Where `account-state` keeps an operator's hold on a number."""
    return f"number:{number}/pause"


def pause_number(
    settings: Settings,
    actor: Actor,
    number: str,
    *,
    is_paused: bool,
    priorities: Collection[str] = (),
    reason: str,
    before: Mapping[str, Any] | None,
    now_ms: int,
) -> Act | None:
    """Hold what a number sends, or let it go again.

    Args:
        priorities: Hold these only; none or all of them: everything.
        before: The hold that stands, from `account-state`.

    Returns:
        The act; None: it is so already.

    Raises:
        WrongRequest: there is no such number.
    """
    require_number(settings, number)
    some = [name for name in PRIORITIES if name in priorities] if is_paused else []
    wanted = some if len(some) not in (0, len(PRIORITIES)) else None
    was = bool(before and before["paused"])
    if was == is_paused and (not is_paused or (before and before["priorities"] == wanted)):
        return None
    after = {
        "kind": "number", "id": number, "aspect": "pause", "paused": is_paused, "priorities": wanted,
        "reason": reason, "at": rfc3339(now_ms), "by": actor.name,
    }  # fmt: skip
    record = Outgoing(ACCOUNT, pause_key(number), encode(after), headers_for(SCHEMA))
    verb = "pause" if is_paused else "resume"
    return audited(actor, verb, f"number:{number}", reason=reason, before=before, after=after, records=(record,))
