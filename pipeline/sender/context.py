"""What the parts of the sender share: clients, clocks, lanes. Built once by `sender/app.py`, on the event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import KafkaException

from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.errors import AssignmentLost
from pipeline.metrics import Metrics
from pipeline.records.codec import Headers
from pipeline.sender.access import Access
from pipeline.sender.account import AccountState
from pipeline.sender.jobs import Job, Place
from pipeline.sender.lane import Lane
from pipeline.sender.ledger_state import LedgerState
from pipeline.sender.optouts import OptOuts
from pipeline.sender.preflight import Preflight
from pipeline.sender.suppressions import Suppressions
from pipeline.streams.delivery import Delivery, Receipt
from pipeline.streams.lease import Lease
from pipeline.streams.outlets import Outlets
from pipeline.streams.windows import Windows
from pipeline.tracing import OFF, Tracing
from pipeline.whatsapp.client import Client

KAFKA_RETRY_S = 0.5


class Stream(Protocol):
    """What the sender needs of its Faust app."""

    windows: Windows
    lease: Lease

    def pause(self, tp: tuple[str, int]) -> None:
        """Fetch no more of a partition."""

    def resume(self, tp: tuple[str, int]) -> None:
        """Fetch it again."""

    def skip_to(self, tp: tuple[str, int], offset: int) -> None:
        """Deliver a paused partition from here on: what stands before was opened in its window already."""

    def committed(self, tp: tuple[str, int]) -> int | None:
        """What this process committed for a partition; None: nothing yet."""

    def is_at_end(self, tp: tuple[str, int]) -> bool:
        """Whether everything was delivered that a partition held when it was fetched last."""

    async def crash(self, reason: BaseException) -> None:
        """End the process."""


@dataclass(slots=True)
class Context:
    """Everything that is one per process.

    Attributes:
        kept: What the ledgers of lanes said that were handed over in good order, until the next assignment: most lanes
            come back, and then only what was written since has to be read.
    """

    settings: Settings
    loop: asyncio.AbstractEventLoop
    stream: Stream
    delivery: Delivery | Outlets
    client: Client
    optouts: OptOuts
    account: AccountState
    metrics: Metrics
    owner: str
    access: Access = field(default_factory=Access)
    suppressions: Suppressions = field(default_factory=Suppressions)
    lanes: dict[int, Lane] = field(default_factory=dict)
    kept: dict[int, LedgerState] = field(default_factory=dict)
    random: random.Random = field(default_factory=random.Random)
    settled_count: int = 0
    tracing: Tracing = OFF
    preflight: Preflight = field(init=False)

    def __post_init__(self) -> None:
        """Make what follows from the others."""
        self.preflight = Preflight(self.settings, self.account, self.access)

    def steady_s(self) -> float:
        """The steady clock."""
        return steady_s()

    def unix_ms(self) -> int:
        """This host's date, ms."""
        return unix_ms()

    def may_act(self, lane: Lane) -> bool:
        """Whether the lane is ours for certain: anything done now is done by its owner."""
        return not lane.closed and self.stream.lease.valid

    def spawn(self, lane: Lane, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that acts for a lane; an error that nobody foresaw ends the process."""
        task = self.loop.create_task(work)
        lane.tasks.add(task)
        task.add_done_callback(lambda done: self._ended(lane, done))

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        lane.tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, AssignmentLost):
            lane.closed = True
            crash = self.loop.create_task(self.stream.crash(error))
            lane.tasks.add(crash)
            crash.add_done_callback(lane.tasks.discard)

    async def ours(self, lane: Lane) -> None:
        """Wait until the lease is valid.

        Raises:
            AssignmentLost: the lane was closed.
        """
        while not self.may_act(lane):
            if lane.closed:
                raise AssignmentLost(lane.key)
            lane.held_up += 1
            try:
                await asyncio.sleep(KAFKA_RETRY_S)
            finally:
                lane.held_up -= 1

    async def write(
        self,
        lane: Lane,
        topic: str,
        value: bytes,
        key: str,
        headers: Headers,
        partition: int = -1,
        *,
        owned: bool = True,
    ) -> Receipt:
        """Write a record that must not be missing: again and again until Kafka has it.

        Args:
            owned: Only while the lane is ours for certain; False: also after it was lost (an API's own answer).

        Raises:
            AssignmentLost: the lane was closed meanwhile.
        """
        while True:
            if owned and not self.may_act(lane):
                await self.ours(lane)
            try:
                receipt = await self.delivery.send(topic, value, key, headers, partition)
            except KafkaException:
                self.metrics.producer_errors.inc()
                lane.kafka_away = True
                if lane.closed:
                    raise AssignmentLost(lane.key) from None
                await asyncio.sleep(KAFKA_RETRY_S)
            else:
                lane.kafka_away = False
                return receipt

    def acknowledge(self, lane: Lane, places: list[Place], request_id: str | None = None) -> None:
        """Mark records as finished. After the lane was lost this changes nothing.

        Args:
            request_id: Of what they stand for: the ledger must tell of it until they are committed.
        """
        if lane.closed:
            return
        if request_id is not None:
            lane.finished.extend((place, request_id) for place in places)
        windows = self.stream.windows
        for topic, partition, offset in places:
            windows.done((topic, partition), offset)

    def acknowledge_job(self, lane: Lane, job: Job) -> None:
        """Mark all records that stand for a job as finished."""
        places, job.places = job.places, []
        self.acknowledge(lane, places, job.message.request_id)
