"""Opt-outs at send time: what `consent-updates` says by now against what a message was judged on.

The same merge rule as the gate's. Only people with a revoke or an erasure since the reader's beginning are kept; for
everybody else the judgement stands. What is kept is bounded: people whose last word was merged before anything unsent
was judged are forgotten (`trim`), and beyond `MAX_PEOPLE` the oldest words go, too. A message that was judged on less
than what is still known here is not covered: it goes back to the gate, which knows all of it, and is judged anew.
Applied on the event loop; read by a `Follower`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.records.ready import ReadyMessage
from pipeline.sender.aliases import TOPIC as ALIASES
from pipeline.sender.aliases import Aliases
from pipeline.sender.withdrawn import Withdrawn
from pipeline.streams.follow import Follower
from pipeline.streams.topics import retention_ms

log = structlog.get_logger(__name__)

TOPIC = "consent-updates"
LOOK_BACK_MS = 60_000
"""What a gate merged up to is known by its clock or the broker's: they may differ by as much."""
REWIND_SLACK_MS = 600_000
RETENTION_SLACK_MS = 600_000
"""Kafka deletes whole segments and looks every few minutes: what is about to go is taken for gone."""
KEEP_MS = 2 * 3_600_000
"""Copies on the delayed topics come back within an hour; words of that time are never trimmed."""
TRIM_ABOVE = 20_000
STANDSTILL_S = 1.0
"""A process that did nothing for so long was frozen: an opt-out of that time is obeyed, however short the freeze."""


def heard_ms(message: ReadyMessage) -> int:
    """Broker time up to which updates were merged when the message was judged.

    A gate of an older release does not say so: then it is taken to have been abreast of its requests.
    """
    heard: int | None = message.record.get("heard_ms")
    return message.source_ms if heard is None else heard


class OptOuts:
    """The list, kept fresh by a follower that begins early enough for the oldest unsent message.

    Args:
        stale_s: Nothing may be sent when the knowledge is older than this.
        on_fresh: Called on the loop after each batch.
        follow: Makes the reader.
        clock_ms: Milliseconds since 1970.

    Attributes:
        follower: The reader; None before the first message.
    """

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, on_fresh: Callable[[], None],
        follow: type[Follower] = Follower, clock_ms: Callable[[], int] = unix_ms,
    ) -> None:  # fmt: skip
        self._follow, self._clock_ms = follow, clock_ms
        self._settings, self._loop, self._on_fresh = settings, loop, on_fresh
        self._stale_s = settings.sender.opt_out_stale_s
        self._retention_ms = retention_ms(settings, TOPIC) or 0
        self._list = Withdrawn()
        self._aliases = Aliases(settings, loop, follow)
        self._from_ms = 0
        self._beat_s = self._resumed_s = float("-inf")
        self._was_fresh: bool | None = None
        self.follower: Follower | None = None
        self._old: set[asyncio.Task[None]] = set()

    @property
    def people(self) -> int:
        """How many people are kept."""
        return len(self._list)

    @property
    def readers(self) -> dict[str, Follower]:
        """Those who read for it, by topic; none before the first message."""
        readers = {TOPIC: self.follower, ALIASES: self._aliases.follower}
        return {topic: reader for topic, reader in readers.items() if reader is not None}

    def require(self, oldest_heard_ms: int) -> None:
        """Make sure that the reading began 60 s before that broker time (`heard_ms` of a message); else begin anew.

        What Kafka does not keep any more cannot be read: messages of before are not covered.
        """
        kept_ms = self._clock_ms() - self._retention_ms + RETENTION_SLACK_MS
        begin = max(0, oldest_heard_ms - LOOK_BACK_MS, kept_ms)
        if self.follower is not None and self._from_ms <= begin:
            return
        if self.follower is not None:
            begin = max(0, begin - REWIND_SLACK_MS, kept_ms)
            task = self._loop.create_task(self.follower.stop())
            self._old.add(task)
            task.add_done_callback(self._old.discard)
        fresh = Withdrawn()

        def apply(batch: list[Any]) -> None:
            for message in batch:
                fresh.apply(message.value(), message.timestamp()[1], message.headers())
            self._on_fresh()

        self._list, self._from_ms = fresh, begin
        self.follower = self._follow(self._settings.kafka, self._settings.topic(TOPIC), apply, self._loop, begin)
        self.follower.start()
        self._aliases.read_from(begin)
        log.info("opt_out_reader_begins", from_ms=begin)

    def trim(self, unsent: Iterable[ReadyMessage]) -> None:
        """Forget people whose last word every gate had merged before anything unsent was judged.

        A message that is still to come and was judged earlier has the reader begin anew, as any other.

        Args:
            unsent: Every message of this process that may still be sent; looked at only if there is much to forget.
        """
        if len(self._list) <= TRIM_ABOVE or self.follower is None or not self.follower.caught_up.is_set():
            return
        oldest_ms = min((heard_ms(message) for message in unsent), default=self._clock_ms())
        needed_ms = min(oldest_ms - LOOK_BACK_MS, self._clock_ms() - KEEP_MS)
        if needed_ms > self._from_ms:
            self._from_ms = needed_ms
            self._list.forget_older(needed_ms)

    def lag_s(self, now_s: float) -> float:
        """Age of the knowledge in seconds; infinite before the reading has reached the end once."""
        if self.follower is None:
            return float("inf")
        return max(self.follower.lag_s(now_s), self._aliases.lag_s(now_s))

    def beat(self, now_s: float) -> None:
        """The process runs. Called so often that a long silence means that it stood still, and heard of nothing."""
        if now_s - self._beat_s > STANDSTILL_S:
            self._resumed_s = now_s
        self._beat_s = now_s

    def is_fresh(self, now_s: float) -> bool:
        """Whether sending is allowed at all: the knowledge is complete, young, and of after a standstill."""
        self.beat(now_s)
        lag_s = self.lag_s(now_s)
        return lag_s <= self._stale_s and now_s - lag_s >= self._resumed_s

    def tell(self, now_s: float) -> None:
        """Say in the log when freshness goes and comes back; called about once a second."""
        is_fresh = self.is_fresh(now_s)
        if is_fresh and self._was_fresh is False:
            log.info("sending_resumes", reason="opt_outs_stale", people=len(self._list))
        elif not is_fresh and self._was_fresh:
            lag_s = self.lag_s(now_s)
            log.warning(
                "sending_stops", reason="opt_outs_stale", lag_s=round(lag_s, 1) if lag_s < float("inf") else None
            )
        if is_fresh or self._was_fresh is not None:
            self._was_fresh = is_fresh

    def covers(self, message: ReadyMessage) -> bool:
        """Whether everything said since the message was judged is known; if not, the gate has to judge it anew."""
        return heard_ms(message) - LOOK_BACK_MS >= max(self._from_ms, self._list.forgotten_ms) or self._from_ms == 0

    def forbids(self, message: ReadyMessage, now_ms: int) -> bool:
        """Whether this message must not go: a revoke or erasure newer than the consent it was judged on concerns it."""
        return self._list.forbids(message, now_ms, self._aliases.of(message))

    async def stop(self) -> None:
        """End the reading."""
        await self._aliases.stop()
        if self.follower is not None:
            await self.follower.stop()
        for task in list(self._old):
            await task
