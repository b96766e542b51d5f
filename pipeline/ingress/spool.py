"""What is done with webhooks while Kafka is away, if `ingress.spool` is on: kept on disk, answered 200, written later.

The trade: WhatsApp gets its 200 and need not come again, but the 200 means "on this machine's disk", and what the
webhook says reaches the topics only when Kafka is back. A disk that is lost then is webhooks lost, so the folder must
outlive the process. Off by default. While anything stands on disk, new webhooks go there, too: they come out in order.

Runs on the ingress' loop; the journal's file work in a thread, one piece at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from pipeline.clock import steady_s
from pipeline.errors import PipelineError
from pipeline.ingress.journal import Damaged, Entry, Journal, read_entries
from pipeline.ingress.store import NotStored
from pipeline.logs import Repeats
from pipeline.metrics import Metrics

BATCH_ENTRIES: Final = 200
BATCH_BYTES: Final = 4 * 1024 * 1024
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
RETRY_S: Final = 1.0

Deliver = Callable[[list[Entry]], Awaitable[None]]
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class SpoolFull(PipelineError):
    """The spool has no room or cannot be written: the call is answered 503 and comes again.

    Operator action: bring Kafka back, or give `ingress.spool_max_bytes` and the disk more room.
    """


class Spool:
    """Keeps webhooks on disk until Kafka has them.

    Args:
        max_bytes: What all files together may take.
        deliver: Writes entries to Kafka; raises `NotStored` while Kafka is away.
    """

    def __init__(self, journal: Journal, max_bytes: int, deliver: Deliver, metrics: Metrics) -> None:
        self._journal, self._max_bytes, self._deliver, self._metrics = journal, max_bytes, deliver, metrics
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._waiting_bytes = 0
        self._disk = asyncio.Lock()
        self._asked, self._filled = asyncio.Event(), asyncio.Event()
        self._repeats = Repeats()
        if not journal.is_empty:
            log.info("spool_found", size_bytes=journal.size_bytes)
            self._filled.set()
        metrics.spool_bytes.set(journal.size_bytes)

    @property
    def is_in_use(self) -> bool:
        """Whether new webhooks belong here, because older ones still stand here."""
        return self._filled.is_set()

    async def keep(self, entry: Entry) -> None:
        """Put a webhook on disk; it is safe when this returns. Calls of one moment share one sync.

        Raises:
            SpoolFull: no room, or the disk refuses.
        """
        size_bytes = len(entry.raw)
        if self._journal.size_bytes + self._waiting_bytes + size_bytes > self._max_bytes:
            raise SpoolFull(f"the spool holds {self._journal.size_bytes} of {self._max_bytes} bytes")
        if self._waiting_bytes + size_bytes > WAITING_BYTES_MAX:
            raise SpoolFull("the disk is slower than the webhooks")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        self._waiting_bytes += size_bytes
        self._filled.set()
        self._asked.set()
        await done

    async def run(self) -> None:
        """Write what is to be kept, and bring to Kafka what stands on disk, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_writing())
            tasks.create_task(self._keep_draining())

    async def _keep_writing(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._write()

    async def _keep_draining(self) -> None:
        while True:
            await self._filled.wait()
            if not await self._drain_file():
                await asyncio.sleep(RETRY_S)

    async def _write(self) -> None:
        """Write all that waits by the time the disk is free, with one sync."""
        async with self._disk:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
            try:
                await _to_the_end(self._journal.append, [entry for entry, _ in waiting])
            except OSError as exc:
                for _, done in waiting:
                    if not done.done():
                        done.set_exception(SpoolFull(f"the disk refuses: {exc.strerror}"))
                return
            finally:
                self._metrics.spool_bytes.set(self._journal.size_bytes)
            for _, done in waiting:
                if not done.done():
                    done.set_result(None)

    async def _drain_file(self) -> bool:
        """Bring the oldest file to Kafka; False if Kafka is away."""
        async with self._disk:
            path = await _to_the_end(self._journal.oldest)
            if path is None:
                if not self._waiting:
                    self._filled.clear()
                    log.info("spool_drained")
                return True
        damage: str | None = None
        entries = _batches(path)
        try:
            while batch := await _to_the_end(next, entries, None):
                await self._deliver(batch)
        except NotStored as exc:
            held_back = self._repeats.pass_now("away", steady_s())
            if held_back is not None:
                log.warning("spool_waits", why=str(exc), size_bytes=self._journal.size_bytes, suppressed=held_back)
            return False
        except Damaged as exc:
            damage = str(exc)
        async with self._disk:
            if damage is None:
                await _to_the_end(self._journal.remove, path)
            else:
                kept = await _to_the_end(self._journal.set_aside, path)
                log.error("spool_damaged", why=damage, kept_as=kept.name)
        self._metrics.spool_bytes.set(self._journal.size_bytes)
        return True


async def _to_the_end(work: Callable[..., Result], *args: Any) -> Result:
    """Have a thread do it, and be cancelled only when it has: whoever closes the journal then has it for itself."""
    doing = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise


def _batches(path: Path) -> Iterator[list[Entry]]:
    """The entries of a file in pieces that one write to Kafka takes; of a damaged one, all before the damage.

    Raises:
        Damaged: after them.
    """
    batch: list[Entry] = []
    damage: Damaged | None = None
    try:
        for entry in read_entries(path):
            batch.append(entry)
            if len(batch) >= BATCH_ENTRIES or sum(len(one.raw) for one in batch) >= BATCH_BYTES:
                yield batch
                batch = []
    except Damaged as exc:
        damage = exc
    if batch:
        yield batch
    if damage is not None:
        raise damage
