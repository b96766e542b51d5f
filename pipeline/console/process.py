"""One console: a feed that keeps the read model, followers of what is shown as it is now, the pages; until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import Mapping
from pathlib import Path

import structlog
from aiohttp import web
from confluent_kafka import KafkaException

from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.console import people
from pipeline.console.access import Attempts, Doors, Sessions
from pipeline.console.app import app_of
from pipeline.console.feed import Feed
from pipeline.console.files import open_file
from pipeline.console.query import Reading
from pipeline.console.rates import SECONDS, Rates
from pipeline.console.rates import TOPIC as LEDGER
from pipeline.console.states import States
from pipeline.console.web import Parts
from pipeline.errors import EXIT_CRASHED, EXIT_DONE, BrokerUnreachable
from pipeline.health import Health, listen
from pipeline.metrics import Metrics
from pipeline.operations.numbers import ACCOUNT, backlogs
from pipeline.records.lanes import lanes_in_force
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Delivery
from pipeline.streams.follow import Follower
from pipeline.streams.layout import read_lanes
from pipeline.streams.start import topics_are_there

log = structlog.get_logger(__name__)

LATE = {ACCOUNT: "holds and halts", LEDGER: "rates and tokens"}
WATCH_EVERY_S = 2.0
TIERS_EVERY_S = 10.0
STALE_S = 10.0
SHUTDOWN_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 3.0


class Console:
    """One run of the role; touched on its loop only.

    Args:
        rebuild: Whether to forget the read model and read all of it from Kafka again.

    Attributes:
        health: How it is.
        metrics: What it counts.

    Raises:
        ConfigError: others could reach it without a login, or a token cannot be read.
    """

    def __init__(self, settings: Settings, *, rebuild: bool = False) -> None:
        self.health, self.metrics = Health(("kafka", "read_model", "page")), Metrics()
        self._settings, self._rebuild = settings, rebuild
        self._folder = settings.storage.data_dir / "console"
        self._doors = Doors(settings, self._folder)
        self._stop = asyncio.Event()
        self._exit_code = EXIT_DONE

    async def run(self, health_port: int | None = None) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit code of the process.

        Args:
            health_port: Where its health is served, for the log.

        Raises:
            ConfigError: the address is taken, or another console uses the same folder.
            BrokerUnreachable: Kafka did not answer within `kafka.startup_timeout_s`.
            TopicsWrong: topics are missing or made differently.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if not await topics_are_there(self._settings, "console", self._stop, self.health):
            return EXIT_DONE
        self.health.meet("kafka")
        with open_file(self._settings, self._folder, rebuild=self._rebuild) as path:
            return await self._serve(path, health_port)

    async def _serve(self, path: Path, health_port: int | None) -> int:
        loop, kafka = asyncio.get_running_loop(), self._settings.kafka
        rates, states, reading = Rates(self._settings), States(), Reading(path)
        rates.follow(await asyncio.to_thread(read_lanes, self._settings))
        feed = Feed(self._settings, path, self.metrics)
        followers = {
            ACCOUNT: Follower(kafka, self._settings.topic(ACCOUNT), states.apply, loop),
            LEDGER: Follower(kafka, self._settings.topic(LEDGER), rates.apply, loop, unix_ms() - SECONDS * 1000),
        }
        delivery = Delivery(producer_conf(kafka), loop, on_fatal=self._producer_died)
        sessions = Sessions(self._settings.console.session_h * 3600)
        parts = Parts(
            self._settings, self.metrics, self._doors, sessions, Attempts(), feed, rates, states, reading, delivery
        )
        runner = web.AppRunner(app_of(parts), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        self._show(parts, path)
        feed.start()
        for follower in followers.values():
            follower.start()
        tasks = [
            asyncio.create_task(self._watch(parts, followers), name="watch"),
            asyncio.create_task(_count_tiers(parts), name="tiers"),
        ]
        try:
            console = self._settings.console
            port = await listen(runner, console.host, console.port, "console")
            self.health.meet("page")
            made = self._doors.made_token_file
            log.info(
                "console_listening", url=f"http://{console.host}:{port}/", health_port=health_port,
                token_file=str(made) if made is not None else None,
            )  # fmt: skip
            await self._stop.wait()
            self.health.miss("draining", "asked to stop")
            return EXIT_CRASHED if feed.error is not None else self._exit_code
        finally:
            parts.draining.set()
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
            await runner.cleanup()
            await asyncio.gather(*(follower.stop() for follower in followers.values()))
            await asyncio.to_thread(feed.stop)
            reading.close()
            await delivery.close(CLOSE_TIMEOUT_S)
            log.info("console_stopped")

    def _producer_died(self, error: KafkaException) -> None:
        """Leave, and be started anew: no act could be written any more."""
        log.error("producer_fatal", error=error.args[0].str())
        self._exit_code = EXIT_CRASHED
        self._stop.set()

    def _show(self, parts: Parts, path: Path) -> None:
        """Let figures be read when they are asked for."""
        metrics, feed = self.metrics, parts.feed
        metrics.watch(metrics.read_model_behind, lambda: math.nan if feed.behind is None else feed.behind)
        metrics.watch(metrics.read_model_bytes, lambda: path.stat().st_size)
        metrics.watch(metrics.console_streams, lambda: parts.streams)

    async def _watch(self, parts: Parts, followers: Mapping[str, Follower]) -> None:
        """Ask for what waits in the lanes, and see whether what we show is true now."""
        while True:  # ends by cancellation
            try:
                lanes = lanes_in_force(self._settings, parts.states.known.get)
                parts.rates.follow(lanes)
                parts.backlogs = await asyncio.to_thread(backlogs, self._settings, lanes)
                parts.problem = None
            except BrokerUnreachable as exc:
                parts.problem = str(exc)
            if parts.feed.error is not None:
                self.health.miss("read_model", f"stands still: {parts.feed.error}")
            elif parts.feed.behind is not None and followers[ACCOUNT].caught_up.is_set():
                self.health.meet("read_model")
            for topic, follower in followers.items():
                is_late = follower.caught_up.is_set() and follower.lag_s(steady_s()) > STALE_S
                if parts.problem is None and (is_late or follower.error is not None):
                    parts.problem = f"{topic} is not heard of: {LATE[topic]} may be shown late"
            await asyncio.sleep(WATCH_EVERY_S)


async def _count_tiers(parts: Parts) -> None:
    """Count whom each portfolio has written to: too much to do for every look at the page."""
    while True:  # ends by cancellation
        parts.tiers_used = await parts.reading.run(people.tiers_used, unix_ms())
        await asyncio.sleep(TIERS_EVERY_S)
