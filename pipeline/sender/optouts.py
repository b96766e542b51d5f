"""Opt-outs at send time: what `consent-updates` says by now against what a message was judged on.

The same merge rule as the gate's. Only people with a revoke or an erasure since the reader's beginning are kept; for
everybody else the judgement stands. Applied on the event loop; read by a `Follower`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.errors import RecordError
from pipeline.records.alias import read_person
from pipeline.records.canonical import canonical
from pipeline.records.codec import check, decode_object
from pipeline.records.confirmation import is_confirmation
from pipeline.records.consent import ConsentUpdate
from pipeline.records.consent_rule import merge, standing
from pipeline.records.ready import ReadyMessage
from pipeline.sender.aliases import Aliases, joined
from pipeline.streams.follow import Follower

log = structlog.get_logger(__name__)

LOOK_BACK_MS = 60_000
REWIND_SLACK_MS = 600_000
MAX_PEOPLE = 2_000_000
STANDSTILL_S = 1.0
"""A process that did nothing for so long was frozen: an opt-out of that time is obeyed, however short the freeze."""


class OptOutList:
    """People who took something back, as far as one reading of the topic has shown. Pure."""

    def __init__(self) -> None:
        self._people: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._people)

    def apply(self, value: bytes | None, timestamp_ms: int, headers: Any = None) -> None:
        """Take one update in; what breaks the contract is the gate's to report.

        Args:
            headers: Those of the record: a gate may have said there whose alias the recipient is.
        """
        try:
            update = check(ConsentUpdate, decode_object(value))
        except RecordError:
            return
        person, _ = read_person(headers) or (canonical(update.recipient), 0)
        known = self._people.get(person)
        if known is None and (update.action == "grant" or len(self._people) >= MAX_PEOPLE):
            return
        merged = merge(known, update, timestamp_ms)
        if merged.consent is not None:
            self._people[person] = merged.consent

    @property
    def overflowed(self) -> bool:
        """Whether somebody may be missing: then nothing may be sent."""
        return len(self._people) >= MAX_PEOPLE

    def forbids(self, message: ReadyMessage, now_ms: int, ids: tuple[str, ...] = ()) -> bool:
        """Whether a revoke or erasure newer than the consent that the message was judged on concerns it.

        Args:
            ids: Every id of the person; empty: those that the message names.
        """
        found: dict[str, Mapping[str, Any]] = {
            person: consent
            for person in ids or (message.recipient, *message.aliases)
            if (consent := self._people.get(person)) is not None
        }
        if not found:
            return False
        if len(found) > 1:
            found = joined(found, message.recipient)
        return any(_forbids(consent, message, now_ms) for consent in found.values())


def _forbids(consent: Mapping[str, Any], message: ReadyMessage, now_ms: int) -> bool:
    basis = message.record["consent"]
    judged_s = parse_rfc3339_ms(basis["at"]) // 1000 if basis else None
    erased = consent["erased_at"]
    if erased is not None and (judged_s is None or parse_rfc3339_ms(erased) // 1000 >= judged_s):
        return True
    request = message.record["request"]
    now = standing(consent, message.record["business"], message.category, request.get("purpose"), now_ms)
    if now.kind != "withdrawn" or now.entry is None:
        return False
    if is_confirmation(now.entry, request):
        return False  # the answer to this very opt-out
    return judged_s is None or parse_rfc3339_ms(now.entry["at"]) // 1000 >= judged_s


class OptOuts:
    """The list, kept fresh by a follower that begins early enough for the oldest unsent message.

    Args:
        stale_s: Nothing may be sent when the knowledge is older than this.
        on_fresh: Called on the loop after each batch.
        follow: Makes the reader.
    """

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, on_fresh: Callable[[], None],
        follow: type[Follower] = Follower,
    ) -> None:  # fmt: skip
        self._follow = follow
        self._settings, self._loop, self._on_fresh = settings, loop, on_fresh
        self._stale_s = settings.sender.opt_out_stale_s
        self._list = OptOutList()
        self._aliases = Aliases(settings, loop, follow)
        self._beat_s = self._resumed_s = float("-inf")
        self._follower: Follower | None = None
        self._old: set[asyncio.Task[None]] = set()

    def require(self, oldest_source_ms: int) -> None:
        """Make sure that the reading begins 60 s before the broker time of a message's request; else begin anew."""
        begin = max(0, oldest_source_ms - LOOK_BACK_MS)
        if self._follower is not None and self._follower.from_ms is not None and self._follower.from_ms <= begin:
            return
        if self._follower is not None:
            begin = max(0, begin - REWIND_SLACK_MS)
            task = self._loop.create_task(self._follower.stop())
            self._old.add(task)
            task.add_done_callback(self._old.discard)
        fresh = OptOutList()

        def apply(batch: list[Any]) -> None:
            for message in batch:
                fresh.apply(message.value(), message.timestamp()[1], message.headers())
            self._on_fresh()

        self._list = fresh
        topic = self._settings.topic("consent-updates")
        self._follower = self._follow(self._settings.kafka, topic, apply, self._loop, begin)
        self._follower.start()
        self._aliases.read_from(begin)
        log.info("opt_out_reader_begins", from_ms=begin)

    def lag_s(self, now_s: float) -> float:
        """Age of the knowledge in seconds; infinite before the reading has reached the end once."""
        if self._follower is None:
            return float("inf")
        return max(self._follower.lag_s(now_s), self._aliases.lag_s(now_s))

    def beat(self, now_s: float) -> None:
        """The process runs. Called so often that a long silence means that it stood still, and heard of nothing."""
        if now_s - self._beat_s > STANDSTILL_S:
            self._resumed_s = now_s
        self._beat_s = now_s

    def is_fresh(self, now_s: float) -> bool:
        """Whether sending is allowed at all: the knowledge is complete, young, and of after a standstill."""
        self.beat(now_s)
        lag_s = self.lag_s(now_s)
        return lag_s <= self._stale_s and now_s - lag_s >= self._resumed_s and not self._list.overflowed

    def forbids(self, message: ReadyMessage, now_ms: int) -> bool:
        """Whether this message must not go."""
        return self._list.forbids(message, now_ms, self._aliases.of(message))

    async def stop(self) -> None:
        """End the reading."""
        await self._aliases.stop()
        if self._follower is not None:
            await self._follower.stop()
        for task in list(self._old):
            await task
