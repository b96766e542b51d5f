"""The postman: webhooks that wait for their time, then go out signed, a few at once, until the receiver answers 200.

One task pumps what is due, at most `concurrency` deliveries run beside it; both live in the simulator's loop and
end with `stop`. The queue is bounded: what does not fit is dropped and counted. What was not answered 200 goes back
into the queue with a growing pause, so that one bad receiver holds up nobody else.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import monotonic, time

import aiohttp

from pipeline.simulator import statuses, webhooks
from pipeline.simulator.history import History, State
from pipeline.simulator.settings import LiveSettings
from pipeline.simulator.statuses import Sent, StatusUpdate
from pipeline.simulator.webhooks import Shape, Update

DUPLICATE_AFTER_S = 0.05
GROWTH_MAX = 60
ANSWER_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Destination:
    """Where updates of one number go, and in which shape."""

    url: str
    shape: Shape
    number: str


@dataclass(slots=True)
class Parcel:
    """Updates that go out together, the same bytes at every try."""

    destination: Destination
    updates: list[Update]
    wall_s: float = 0.0
    failures: int = 0


class Postman:
    """Queue, pump and deliveries of webhooks.

    Attributes:
        history: What became of statuses.
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
        real_s: Callable[[float], float],
    ) -> None:
        """Take the settings in force from `current` each time; sign with `secret` unless it is None.

        `real_s` says how long a pause of the long clock really lasts.
        """
        self._current = current
        self._secret = secret
        self._concurrency = concurrency
        self._queue_max = queue_max
        self._seed = seed
        self._real_s = real_s
        self._rng = self._fresh_rng()
        self._later: list[tuple[float, int, Destination, Update | Parcel]] = []
        self._due: OrderedDict[Destination, deque[Update]] = OrderedDict()
        self._again: deque[Parcel] = deque()
        self._waiting = 0
        self._pushed = 0
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(concurrency)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._pump: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        self.history = History()
        self.sent = 0
        self.failed = 0
        self.dropped = 0

    @property
    def queued(self) -> int:
        """Updates that wait for their time, for another try or for a free delivery."""
        return self._waiting

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
        self._again.clear()
        self.history.clear()
        self._rng = self._fresh_rng()
        self._waiting = self.sent = self.failed = self.dropped = 0

    def statuses(self, destination: Destination, sent: Sent, *, in_s: float) -> None:
        """Plan the statuses of a message, counted from `in_s` seconds ahead."""
        for update, delay_ms in statuses.plan(self._current(), self._rng, sent):
            self._plan(destination, update, in_s + delay_ms / 1000)

    def tell(self, destination: Destination, update: Update) -> None:
        """Let an update go out now."""
        self._plan(destination, update, 0.0)

    async def verify(self, url: str, token: str, challenge: str) -> dict[str, object]:
        """Ask a receiver for the handshake of a new subscription; whether it passed, and what it answered."""
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
        timeout = aiohttp.ClientTimeout(total=self._current().webhook_timeout_s)
        assert self._session is not None, "start() comes first"  # noqa: S101 - programmer's error
        try:
            async with self._session.get(url, params=query, timeout=timeout) as answer:
                raw = await answer.content.read(ANSWER_BYTES_MAX)
                return {
                    "verified": answer.status == 200 and raw.decode(errors="replace") == challenge,
                    "status": answer.status,
                }
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return {"verified": False, "status": None, "error": type(error).__name__}

    def _fresh_rng(self) -> Random:
        return Random(f"{self._seed}/webhooks")  # noqa: S311 - reproducible on purpose

    def _plan(self, destination: Destination, update: Update, delay_s: float) -> None:
        settings = self._current()
        delay_s += self._rng.random() * settings.webhook_disorder_ms / 1000
        self._push(destination, update, delay_s)
        if self._rng.random() < settings.webhook_duplicate_ratio:
            self._push(destination, update, delay_s + DUPLICATE_AFTER_S)

    def _push(self, destination: Destination, update: Update, delay_s: float) -> None:
        if self._waiting >= self._queue_max:
            self.dropped += 1
            return
        due_s = monotonic() + delay_s
        gather_s = self._current().webhook_gather_ms / 1000
        if gather_s:
            due_s = math.ceil(due_s / gather_s) * gather_s
        self._waiting += 1
        self._wait(due_s, destination, update)

    def _wait(self, due_s: float, destination: Destination, what: Update | Parcel) -> None:
        self._pushed += 1
        is_first = not self._later or due_s < self._later[0][0]
        heapq.heappush(self._later, (due_s, self._pushed, destination, what))
        if is_first:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._collect()
            if not self._due and not self._again:
                await self._sleep()
                continue
            # While this waits for a free delivery more becomes due and goes along.
            await self._slots.acquire()
            self._collect()
            parcel = self._next()
            if parcel is None:
                self._slots.release()
                continue
            delivery = asyncio.create_task(self._deliver(parcel))
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
            _, _, destination, what = heapq.heappop(self._later)
            if isinstance(what, Parcel):
                self._again.append(what)
            else:
                self._due.setdefault(destination, deque()).append(what)

    def _next(self) -> Parcel | None:
        """The next parcel: one that is tried again, else new updates of one destination; destinations take turns."""
        if self._again:
            parcel = self._again.popleft()
        elif self._due:
            destination, waiting = self._due.popitem(last=False)
            size = min(len(waiting), self._current().webhook_batch)
            parcel = Parcel(destination, [waiting.popleft() for _ in range(size)])
            if waiting:
                self._due[destination] = waiting
        else:
            return None
        self._waiting -= len(parcel.updates)
        return parcel

    async def _deliver(self, parcel: Parcel) -> None:
        try:
            settings, destination = self._current(), parcel.destination
            parcel.wall_s = parcel.wall_s or time()
            number = destination.number
            sender = webhooks.Sender(settings.account_of(number), number, settings.phone_of(number))
            raw = webhooks.body(destination.shape, sender, parcel.updates, parcel.wall_s, settings.webhook_pad_bytes)
            if await self._post(destination.url, raw, settings):
                self.sent += len(parcel.updates)
                self._remember(parcel, "DELIVERED")
                return
            parcel.failures += 1
            if parcel.failures >= settings.webhook_tries:
                self.failed += len(parcel.updates)
                self._remember(parcel, "FAILED")
                return
            self._remember(parcel, "RETRYING")
            self._waiting += len(parcel.updates)
            self._wait(monotonic() + self._pause_s(settings, parcel), destination, parcel)
        finally:
            self._slots.release()

    def _pause_s(self, settings: LiveSettings, parcel: Parcel) -> float:
        growth = settings.webhook_retry_growth
        is_linear = growth == "linear" or (growth == "auto" and parcel.destination.shape == "v1")
        failures = parcel.failures
        factor = failures if is_linear else 2 ** min(failures - 1, GROWTH_MAX)
        return self._real_s(min(settings.webhook_retry_s_max, settings.webhook_retry_s * factor))

    def _remember(self, parcel: Parcel, state: State) -> None:
        destination = parcel.destination
        for update in parcel.updates:
            if isinstance(update, StatusUpdate):
                number, url = destination.number, destination.url
                self.history.tell(number, update.message_id, update.status, url, state, parcel.wall_s)

    async def _post(self, url: str, raw: bytes, settings: LiveSettings) -> bool:
        """POST a body once; say whether it was answered 200."""
        assert self._session is not None, "start() comes first"  # noqa: S101 - programmer's error
        headers = {"Content-Type": "application/json"}
        if self._secret is not None and settings.webhook_signature != "none":
            signed = raw if settings.webhook_signature == "right" else raw + b" "
            headers["X-Hub-Signature-256"] = webhooks.signature(self._secret, signed)
        timeout = aiohttp.ClientTimeout(total=settings.webhook_timeout_s)
        try:
            async with self._session.post(url, data=raw, headers=headers, timeout=timeout) as answer:
                await answer.read()
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
