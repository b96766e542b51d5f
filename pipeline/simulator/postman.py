"""The postman: webhooks that wait for their time, then go out signed, a few at once, until the receiver answers 200.

One task pumps what is due, at most `concurrency` deliveries run beside it; both live in the simulator's loop and
end with `stop`. The queue is bounded: what does not fit is dropped and counted.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import monotonic, time

import aiohttp

from pipeline.simulator import webhooks
from pipeline.simulator.settings import LiveSettings
from pipeline.simulator.webhooks import InboundMessage, Shape, StatusUpdate, Update

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0
DUPLICATE_AFTER_S = 0.05


@dataclass(frozen=True, slots=True)
class Destination:
    """Where updates of one number go, and in which shape."""

    url: str
    shape: Shape
    number: str


class Postman:
    """Queue, pump and deliveries of webhooks.

    Attributes:
        sent: Updates that were answered 200, duplicates included.
        failed: Updates given up after all tries.
        dropped: Updates that found the queue full.
    """

    def __init__(
        self,
        current: Callable[[], LiveSettings],
        *,
        secret: bytes | None,
        concurrency: int,
        queue_max: int,
        seed: int,
    ) -> None:
        """Take the settings in force from `current` each time; sign with `secret` unless it is None."""
        self._current = current
        self._secret = secret
        self._concurrency = concurrency
        self._queue_max = queue_max
        self._rng = Random(f"{seed}/webhooks")  # noqa: S311 - reproducible on purpose
        self._later: list[tuple[float, int, Destination, Update]] = []
        self._due: OrderedDict[Destination, deque[Update]] = OrderedDict()
        self._due_count = 0
        self._pushed = 0
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(concurrency)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._pump: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        self.sent = 0
        self.failed = 0
        self.dropped = 0

    @property
    def queued(self) -> int:
        """Updates that wait for their time or for a free delivery."""
        return len(self._later) + self._due_count

    def start(self) -> None:
        """Start the pump in the running loop."""
        connector = aiohttp.TCPConnector(limit=self._concurrency)
        self._session = aiohttp.ClientSession(connector=connector)
        self._pump = asyncio.create_task(self._run(), name="simulator-postman")

    async def stop(self) -> None:
        """Drop what waits, cancel what is under way, close connections."""
        tasks = [task for task in (self._pump, *self._deliveries) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def clear(self) -> None:
        """Drop what waits and set the counters to zero; deliveries under way go on."""
        self._later.clear()
        self._due.clear()
        self._due_count = self.sent = self.failed = self.dropped = 0

    def statuses(self, destination: Destination, update: StatusUpdate, *, in_s: float, failed_code: int | None) -> None:
        """Plan the statuses of a taken message, counted from `in_s` seconds ahead: `failed`, or all the others."""
        for status, delay_ms in self._current().webhook_delays_ms.items():
            if (status == "failed") != (failed_code is not None):
                continue
            planned = StatusUpdate(
                update.message_id, update.recipient, status, update.callback, update.category, failed_code
            )
            self._plan(destination, planned, in_s + delay_ms / 1000)

    def inbound(self, destination: Destination, message: InboundMessage) -> None:
        """Let a person's message go out now."""
        self._plan(destination, message, 0.0)

    def _plan(self, destination: Destination, update: Update, delay_s: float) -> None:
        settings = self._current()
        delay_s += self._rng.random() * settings.webhook_disorder_ms / 1000
        self._push(destination, update, delay_s)
        if self._rng.random() < settings.webhook_duplicate_ratio:
            self._push(destination, update, delay_s + DUPLICATE_AFTER_S)

    def _push(self, destination: Destination, update: Update, delay_s: float) -> None:
        if self.queued >= self._queue_max:
            self.dropped += 1
            return
        self._pushed += 1
        is_first = not self._later or monotonic() + delay_s < self._later[0][0]
        heapq.heappush(self._later, (monotonic() + delay_s, self._pushed, destination, update))
        if is_first:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._collect()
            if not self._due:
                await self._sleep()
                continue
            # While this waits for a free delivery more becomes due and goes along.
            await self._slots.acquire()
            self._collect()
            batch = self._next_batch()
            if batch is None:
                self._slots.release()
                continue
            delivery = asyncio.create_task(self._deliver(*batch))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _sleep(self) -> None:
        self._wake.clear()
        wait_s = self._later[0][0] - monotonic() if self._later else None
        try:
            await asyncio.wait_for(self._wake.wait(), wait_s)
        except TimeoutError:
            return

    def _collect(self) -> None:
        """Move what is due to the queue of its destination."""
        now = monotonic()
        while self._later and self._later[0][0] <= now:
            _, _, destination, update = heapq.heappop(self._later)
            self._due.setdefault(destination, deque()).append(update)
            self._due_count += 1

    def _next_batch(self) -> tuple[Destination, list[Update]] | None:
        """The next updates of one destination; destinations take turns."""
        if not self._due:
            return None
        destination, waiting = self._due.popitem(last=False)
        size = min(len(waiting), self._current().webhook_batch)
        batch = [waiting.popleft() for _ in range(size)]
        self._due_count -= size
        if waiting:
            self._due[destination] = waiting
        return destination, batch

    async def _deliver(self, destination: Destination, batch: list[Update]) -> None:
        try:
            settings = self._current()
            raw = webhooks.body(destination.shape, settings.webhook_account, destination.number, batch, time())
            for attempt in range(settings.webhook_tries):
                if attempt:
                    await asyncio.sleep(min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** (attempt - 1)))
                if await self._post(destination.url, raw, settings.webhook_timeout_s):
                    self.sent += len(batch)
                    return
            self.failed += len(batch)
        finally:
            self._slots.release()

    async def _post(self, url: str, raw: bytes, timeout_s: float) -> bool:
        """POST a body once; say whether it was answered 200."""
        assert self._session is not None, "start() comes first"  # noqa: S101 - programmer's error
        headers = {"Content-Type": "application/json"}
        if self._secret is not None:
            headers["X-Hub-Signature-256"] = webhooks.signature(self._secret, raw)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.post(url, data=raw, headers=headers, timeout=timeout) as answer:
                await answer.read()
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
