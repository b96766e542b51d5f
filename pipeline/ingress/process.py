"""One ingress: one process, one loop, one producer; from start to drained stop.

Kafka is waited for at start only; once the door is open, Kafka's absence is answered with 503 and ends by itself.
"""

from __future__ import annotations

import asyncio
import signal

import structlog
from aiohttp import web
from confluent_kafka import KafkaException

from pipeline.config import Settings
from pipeline.errors import EXIT_CRASHED, EXIT_DONE, BrokerUnreachable
from pipeline.health import Health, listen
from pipeline.ingress.access import Access
from pipeline.ingress.door import Door
from pipeline.ingress.journal import journal_of
from pipeline.ingress.noise import server_logger
from pipeline.ingress.states import States
from pipeline.ingress.store import Store, ingress_producer_conf
from pipeline.ingress.tls import tls_of
from pipeline.metrics import Metrics
from pipeline.streams.delivery import Delivery
from pipeline.streams.follow import Follower
from pipeline.streams.progress import Progress
from pipeline.streams.start import topics_are_there
from pipeline.tracing import OFF, Tracing

WRITTEN = ("inbound-events", "consent-updates", "account-state", "dead-letter")
# Kafka is asked in steps, because a step cannot be interrupted by SIGTERM.
# Longer than a reverse proxy keeps its idle connections, so that it is never us who closes first.
KEEPALIVE_S = 75.0
# A call has ended by then: its body in 10 s, Kafka's ack in 2 s.
DRAIN_TIMEOUT_S = 15.0
SHUTDOWN_TIMEOUT_S = 2.0
FLUSH_TIMEOUT_S = 10.0
LINGER_S = 5.0

log = structlog.get_logger(__name__)


class Ingress:
    """One run of the role; touched on its loop only.

    Args:
        port: Where webhooks come in; 0: any free one.
        worker: Which of the processes of this role it is.
        is_shared: Whether other processes listen on the same port; the kernel shares the connections out.
        tracing: Follows the statuses of traced messages.

    Attributes:
        health: How it is.
        metrics: What it counts.

    Raises:
        ConfigError: a setting would leave the door open, or a secret or certificate cannot be read.
    """

    def __init__(
        self, settings: Settings, port: int, worker: int = 0, *, is_shared: bool = False, tracing: Tracing = OFF
    ) -> None:
        self.health = Health(("kafka", "door"))
        self.metrics = Metrics()
        self._settings, self._port, self._is_shared = settings, port, is_shared
        self._access, self._tracing = Access(settings), tracing
        self._tls = tls_of(settings.ingress)
        self._journal = journal_of(settings, worker) if settings.ingress.spool else None
        self._stop = asyncio.Event()
        self._exit_code = EXIT_DONE
        self._health_port: int | None = None

    def stop(self) -> None:
        """Begin to drain; `run` ends when that is done."""
        self._stop.set()

    async def run(self, health_port: int | None = None) -> int:
        """Serve until SIGTERM, SIGINT or `stop`; returns the exit code of the process.

        Args:
            health_port: Where its health is served, for the log; None: elsewhere.

        Raises:
            ConfigError: the address is taken.
            BrokerUnreachable: Kafka did not answer within `kafka.startup_timeout_s`, or refused us.
            TopicsWrong: topics are missing or made differently.
        """
        self._health_port = health_port
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await self._with_kafka()
        finally:
            if self._journal is not None:
                self._journal.close()
        return self._exit_code

    async def _with_kafka(self) -> None:
        if not await topics_are_there(self._settings, "ingress", self._stop, self.health):
            return
        conf = ingress_producer_conf(self._settings.kafka)
        delivery = Delivery(conf, asyncio.get_running_loop(), on_fatal=self._producer_died)
        try:
            await self._warm_up(delivery)
            await self._with_states(delivery)
        finally:
            undelivered = await delivery.close(FLUSH_TIMEOUT_S)
            log.info("ingress_stopped", undelivered=undelivered)

    async def _warm_up(self, delivery: Delivery) -> None:
        names = [self._settings.topic(name) for name in WRITTEN]
        await asyncio.to_thread(delivery.warm_up, names, self._settings.kafka.startup_timeout_s)

    async def _with_states(self, delivery: Delivery) -> None:
        """Follow `account-state`; the door opens once what stands there is known."""
        states, kafka = States(), self._settings.kafka
        topic = self._settings.topic("account-state")
        follower = Follower(kafka, topic, states.apply, asyncio.get_running_loop())
        follower.start()
        try:
            if await self._is_known(follower):
                self.health.meet("kafka")
                await self._with_door(delivery, states)
        finally:
            await follower.stop()

    async def _is_known(self, follower: Follower) -> bool:
        """Wait until the topic was read to its end; False if the process was asked to stop meanwhile.

        Raises:
            BrokerUnreachable: it could not be read in time.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in (follower.caught_up, self._stop)]
        timeout_s = self._settings.kafka.startup_timeout_s
        done, _ = await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not done:
            raise BrokerUnreachable(f"account-state could not be read within {timeout_s:.0f} s; check the brokers")
        return follower.caught_up.is_set()

    async def _with_door(self, delivery: Delivery, states: States) -> None:
        ingress, tls = self._settings.ingress, self._tls
        store = Store(delivery, self.metrics)
        journal = self._journal
        door = Door(
            self._settings, self._access, store, self.health, self.metrics, states=states, journal=journal,
            tracing=self._tracing,
        )  # fmt: skip
        runner = web.AppRunner(
            door.app(),
            access_log=None,
            logger=server_logger(self.metrics),
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        port = await listen(
            runner, ingress.host, self._port, "ingress", tls.context if tls is not None else None,
            is_shared=self._is_shared,
        )  # fmt: skip
        tasks = self._beside(door, runner)
        try:
            self.health.meet("door")
            log.info(
                "ingress_listening", host=ingress.host, port=port, path=ingress.path, health_port=self._health_port
            )
            await self._stop.wait()
            # Step 1: nobody sends new calls here. Step 2: no new connections. Step 3: calls under way are finished,
            # their bodies read to the end, which aiohttp's own shutdown would not do.
            self.health.miss("draining", "asked to stop")
            log.info("ingress_draining")
            for site in runner.sites:
                await site.stop()
            await door.drain(DRAIN_TIMEOUT_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()

    def _beside(self, door: Door, runner: web.AppRunner) -> list[asyncio.Task[None]]:
        """What goes on while the door is open."""
        assert runner.server is not None  # noqa: S101  it listens
        tasks = [asyncio.create_task(door.connections.watch(runner.server), name="connections")]
        progress = Progress(self.metrics, self.health, "door")
        tasks.append(asyncio.create_task(progress.watch(door.progress), name="progress"))
        if self._tls is not None:
            tasks.append(asyncio.create_task(self._tls.follow_files(), name="certificates"))
        if door.spool is not None:
            tasks.append(asyncio.create_task(door.spool.run(), name="spool"))
        for task in tasks:
            task.add_done_callback(self._ended)
        return tasks

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task of ours ended: cancelled at the end, or by a bug that must not go unseen."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("task_failed", task=task.get_name(), exc_info=error)
            self._exit_code = EXIT_CRASHED
            self._stop.set()

    def _producer_died(self, error: KafkaException) -> None:
        """Leave, and be started anew: nothing could be written any more."""
        log.error("producer_fatal", error=error.args[0].str())
        self._exit_code = EXIT_CRASHED
        self._stop.set()
