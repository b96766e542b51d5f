"""A lane: everything in memory about one partition of the lane topics, that is one shard of one sending number.

The process that owns the partition owns this object, and with it the number's token bucket, alone. Touched only on the
event loop.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.config import NumberSettings
from pipeline.records.ready import ReadyMessage
from pipeline.sender.attempt_age import AttemptAge
from pipeline.sender.jobs import Chain, Chains, Job, Place
from pipeline.sender.ledger_state import LedgerState
from pipeline.sender.scopes import Scopes
from pipeline.throttle.bucket import Bucket, Limit
from pipeline.throttle.pair import PairBuckets
from pipeline.throttle.priority import PRIORITIES, PriorityPolicy
from pipeline.whatsapp.profiles import PROFILES, Endpoint, Profile, default_limit

NETWORK_JITTER_S = 0.1
"""Requests leave evenly and arrive bunched: the burst is cut by what this much time brings (5 of 150 at 50/s)."""
ON_WAY_MAX = 64
"""Messages of a lane between their choice and their write: so few that their attempts do not grow old on the way."""
GATHER_S = 0.04
"""How long tokens gather while a backlog waits for them, so that one look at the lane starts several messages."""
LOOK_MIN_S = 0.001
"""Never sooner, or a lane whose tokens are all spoken for would look without end."""
LOOK_EVERY_S = 0.01
"""Answers that come close together are looked at together; a lane that was idle is looked at at once."""
BROKER_SKEW_S = 0.1
"""Clocks of two brokers agree within this."""
HIGH_PER_S = 1000.0
"""Messages per second of a number whose throughput Meta has raised; no burst beyond it is documented."""
IN_FLIGHT_SECONDS = 2.0
IN_FLIGHT_MIN = 16
READY_WINDOW_HIGH, READY_WINDOW_LOW = 2000, 1000
DELAYED_WINDOW_HIGH, DELAYED_WINDOW_LOW = 50_000, 25_000
JOBS_HIGH, JOBS_LOW = 20_000, 10_000
FINISHED_MAX = 300_000
"""More than full windows hold (206,000), and what is finished between two marks."""

Alarm = Literal["due", "mature"]


@dataclass(frozen=True, slots=True)
class Early:
    """A record that came before its lane was open."""

    message: ReadyMessage
    place: Place
    timestamp_ms: int
    trace: bytes | None


class Lane:
    """One lane.

    Args:
        number: The sending number.
        shard: Which of the number's shards.
        settings: Of the number.
        endpoint: Where its messages are posted, with the token that it had then (`Access.newest`).
        scopes: Halts of the number, its account and its host, shared by all lanes of this process that belong to them.

    Attributes:
        opened_s: Since when it is open, on the steady clock.
        quality_part: Part of the rate that the number's quality leaves it, in (0, 1].
        held_up: Tasks of it that wait for the lease.
        tail_read_s: When its ledger was last read on to the end, on the steady clock.
        stopped: Messages of paused or cancelled campaigns, and what is done with each; `stoppers` tasks work them off.
        stops_seen: Which change of campaigns its messages were looked through for last.
        read_to: By (ready topic, source topic, source partition): the newest source offset that was read there.
    """

    def __init__(
        self, number: str, shard: int, partition: int, settings: NumberSettings, endpoint: Endpoint,
        scopes: Scopes, now_s: float,
    ) -> None:  # fmt: skip
        self.number, self.shard, self.partition = number, shard, partition
        self.key = f"{number}#{shard}"
        self.settings = settings
        self.profile: Profile = PROFILES[settings.profile]
        self.endpoint = endpoint
        self.scopes = scopes
        self.limit = limit_of(settings)
        self.bucket = Bucket(self.limit, tokens=0.0, now_s=now_s)
        self.policy = PriorityPolicy(self.limit)
        pair = self.profile.pair_limit
        self.pairs = PairBuckets(pair.every_s, pair.burst) if pair is not None else None
        self.in_flight_max = in_flight_of(settings, self.limit)
        self.attempt_age = AttemptAge()
        self.generation = -1
        self.ledger = LedgerState()
        self.tail_offset = 0
        self.tail_read_s = float("-inf")
        self.is_open = False
        self.opened_s = 0.0
        self.draining = False
        self.closed = False
        self.kafka_away = False
        self.early: list[Early] = []
        self.chains = Chains(len(PRIORITIES))
        self.jobs: dict[str, Job] = {}
        self.parked: set[str] = set()
        self.unknown: dict[str, Job] = {}
        self.busy_recipients: dict[str, list[Chain]] = {}
        self.on_way = 0
        self.in_flight = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.held_up = 0
        self.backlog = [0, 0, 0]
        self.paused: set[tuple[str, int]] = set()
        self.read_to: dict[tuple[str, str, int], int] = {}
        self.finished: deque[tuple[Place, str]] = deque(maxlen=FINISHED_MAX)
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = float("inf")
        self.gather_s = gather_of(self.limit)
        self.looked_s = float("-inf")
        self.quality_part = 1.0
        self.stopped: deque[tuple[Job, Callable[[Lane, Job], Awaitable[None]]]] = deque()
        self.stoppers = 0
        self.stops_seen = 0
        self._allowance = (1.0, 1.0)
        self._alarms: list[tuple[float, int, Alarm, Job, Place | None]] = []
        self._serial = 0

    # -- halts -------------------------------------------------------------------------------------------------------
    def follow_factor(self, now_s: float) -> None:
        """Bring the bucket to the part of the limit that halts of number, account and host, and quality, allow now.

        In a spell it goes on as before: what was learned of the true limit holds for the tokens that come meanwhile.
        """
        allowed = self.scopes.allowance(now_s)
        if allowed is None:
            return
        factor, ceiling = allowed
        allowance = factor * self.quality_part, ceiling
        if allowance != self._allowance:
            self._allowance = allowance
            self._set_bucket(now_s)

    def follow_throughput(self, throughput: str | None, now_s: float) -> None:
        """Take on the limit that Meta has raised the number to (or back).

        Args:
            throughput: `HIGH` after an upgrade; anything else: the limit of settings and profile.
        """
        limit = limit_of(self.settings, throughput)
        if limit != self.limit:
            self.limit = limit
            self.gather_s, self.in_flight_max = gather_of(limit), in_flight_of(self.settings, limit)
            self._set_bucket(now_s)

    def _set_bucket(self, now_s: float) -> None:
        factor, ceiling = self._allowance
        limit = Limit(self.limit.rate_per_s * factor, max(1.0, self.limit.burst * ceiling))
        self.bucket.set_limit(limit, now_s)

    @property
    def in_flight_allowed(self) -> int:
        """Requests that may be on their way now: fewer while the API recovers."""
        return max(1, int(self.in_flight_max * self._allowance[0]))

    # -- alarms ------------------------------------------------------------------------------------------------------
    def set_alarm(self, when_s: float, kind: Alarm, job: Job, place: Place | None = None) -> None:
        """Have a job looked at again at a time on the steady clock."""
        self._serial += 1
        heapq.heappush(self._alarms, (when_s, self._serial, kind, job, place))

    def alarms_until(self, now_s: float) -> list[tuple[Alarm, Job, Place | None]]:
        """Take out all alarms that have gone off."""
        rung = []
        while self._alarms and self._alarms[0][0] <= now_s:
            _, _, kind, job, place = heapq.heappop(self._alarms)
            rung.append((kind, job, place))
        return rung

    @property
    def next_alarm_s(self) -> float:
        """When the next alarm goes off; infinite if none is set."""
        return self._alarms[0][0] if self._alarms else float("inf")

    # -- order -------------------------------------------------------------------------------------------------------
    def offer(self, chain: Chain, now_s: float, *, first: bool = False) -> None:
        """Queue a chain if its head may go; if that is due later, look again then."""
        head = chain.head
        if head.due_s > now_s:
            self.set_alarm(head.due_s, "due", head)
        else:
            self.chains.offer(chain, first=first)

    # -- unknown outcomes --------------------------------------------------------------------------------------------
    def doubtful_since_ms(self, job: Job) -> int:
        """Broker time of a job's oldest attempt without an outcome: the newest sets the wait, any may be proven."""
        state = self.ledger.of(job.message.request_id)
        newest_ms = job.unknown_attempt_ms
        return min(state.open.values(), default=newest_ms) if state is not None else newest_ms

    @property
    def oldest_doubt_ms(self) -> int | None:
        """Broker time of the oldest attempt without an outcome; None: there is none."""
        return min((self.doubtful_since_ms(job) for job in self.unknown.values()), default=None)

    def oldest_source_ms(self) -> list[int | None]:
        """Broker time of the oldest unsent request per priority, None where nothing waits."""
        oldest: list[int | None] = [None, None, None]
        for job in self.jobs.values():
            known = oldest[job.priority]
            if known is None or job.message.source_ms < known:
                oldest[job.priority] = job.message.source_ms
        return oldest


def limit_of(settings: NumberSettings, throughput: str | None = None) -> Limit:
    """The limit of one lane: the number's by setting or profile, the burst less its margin, shared by its shards.

    Args:
        throughput: The level that Meta gives the number. `HIGH` raises the limit to 1,000/s (Meta, throughput), unless
            the settings keep the number below what it had before: that is an operator's own brake.
    """
    rate, burst = default_limit(settings.profile, settings.api_version)
    whole = Limit(settings.rate_per_s or rate, settings.burst or burst)
    if throughput == "HIGH" and PROFILES[settings.profile].upgrades and whole.rate_per_s >= rate:
        whole = Limit(max(whole.rate_per_s, HIGH_PER_S), max(whole.burst, HIGH_PER_S))
    return whole.shared(len(settings.partitions or [0])).less_margin(NETWORK_JITTER_S)


def gather_of(limit: Limit) -> float:
    """How long tokens may gather: a lane whose bucket holds few looks as often as each of them needs."""
    return min(GATHER_S, max(LOOK_MIN_S, (limit.burst - 1.0) / (2.0 * limit.rate_per_s)))


def in_flight_of(settings: NumberSettings, limit: Limit) -> int:
    """Requests that one lane may have on their way: two seconds' worth unless the settings say otherwise."""
    shards = len(settings.partitions or [0])
    if settings.max_in_flight is not None:
        return max(1, settings.max_in_flight // shards)
    return max(IN_FLIGHT_MIN, int(limit.rate_per_s * IN_FLIGHT_SECONDS))


def lane_tasks(lanes: dict[int, Lane]) -> set[asyncio.Task[Any]]:
    """All tasks that act for these lanes."""
    return {task for lane in lanes.values() for task in lane.tasks}
