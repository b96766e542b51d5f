"""Faust 0.15.3, made safe: the only way that Faust is used here.

What its defaults would do, and what happens instead:
* It commits past unfinished records, and acknowledges what raised → commits cover only the gapless finished
  beginning of each partition, as `Windows` has it; Faust's own acknowledgements are not used.
* A rebalance forgets what is finished → drain (bounded), commit, hand over, in that order, before the base class.
* Coordinator errors park for ever, stops and commits can hang → watchdog, bounded final commit, exit deadline.
* A frozen process goes on sending → a lease from the sending time of accepted heartbeats.
* A resumed partition waits a second → the fetcher is woken; delivery of a record costs no task.

The consumer talks to Kafka in a thread of its own; hooks and everything else run on the main loop.
Private names of the pinned versions are used: `tests/unit/streams/test_hardened.py` checks each still exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
import structlog
from faust.types import TP

from pipeline.config import KafkaSettings, Settings
from pipeline.secrets import sasl_password_of
from pipeline.streams.client import faust_broker, ssl_context
from pipeline.streams.consumer import HardenedTransport
from pipeline.streams.deadline import CRASH_EXIT_AFTER_S, ExitDeadline
from pipeline.streams.lease import Lease
from pipeline.streams.watchdog import FetchWatchdog
from pipeline.streams.windows import Windows

log = structlog.get_logger(__name__)

REBALANCE_TIMEOUT_S = 30.0
DRAIN_S = 8.0
COMMIT_EVERY_S = 1.0
POLL_RECORDS = 50
BUFFER_RECORDS = 2000

Hook = Callable[[frozenset[TP], int], Awaitable[None]]


async def _nothing(_partitions: frozenset[TP], _generation: int) -> None:
    return None


class HardenedApp(faust.App):
    """A Faust app that loses nothing.

    Args:
        settings: Of the process.
        role: `gate` or `sender`; the group id is `<topic prefix>wapipe-<role>`.
        co_partitioned: Full names of topics whose partition n must always belong to one member; empty: Faust's
            own assignor, which keeps tables and topics together.
        ahead: Full names of topics whose records are delivered before others that were fetched earlier.
        options: Further Faust settings.
    """

    def __init__(
        self, settings: Settings, role: str, *, co_partitioned: tuple[str, ...] = (), ahead: tuple[str, ...] = (),
        **options: Any,
    ) -> None:  # fmt: skip
        kafka = settings.kafka
        self.settings = settings
        self.co_partitioned = co_partitioned
        self.ahead = frozenset(ahead)
        self.windows = Windows()
        self.lease = Lease(kafka.session_timeout_s, REBALANCE_TIMEOUT_S, max(1.0, kafka.session_timeout_s * 0.2))
        self.hooks_assigned: Hook = _nothing
        self.hooks_draining: Hook = _nothing
        self.hooks_handing_over: Hook = _nothing
        self.hooks_revoked: Hook = _nothing
        self.on_restored: Callable[[int, float], None] = lambda _records, _seconds: None
        self.held: frozenset[TP] = frozenset()
        self.crash_reason_seen: BaseException | None = None
        self.ended = asyncio.Event()
        self.is_told_to_end = False
        self.exit_deadline = ExitDeadline()
        Path(settings.storage.data_dir, role).mkdir(parents=True, exist_ok=True)
        super().__init__(settings.group(role), **{**faust_options(kafka, settings, role), **options})

    def bytes_topic(self, *names: str) -> Any:
        """A channel of raw bytes over topics, given by their names without the prefix."""
        return self.topic(
            *(self.settings.topic(name) for name in names),
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
        )  # fmt: skip

    def pause(self, tp: tuple[str, int]) -> None:
        """Fetch no more of a partition; nothing that was fetched is dropped."""
        self.consumer.pause(TP(*tp))

    def resume(self, tp: tuple[str, int]) -> None:
        """Fetch a paused partition again."""
        self.consumer.resume(TP(*tp))

    def skip_to(self, tp: tuple[str, int], offset: int) -> None:
        """Deliver a paused partition from here on: what stands before was opened in its window already."""
        self.consumer.skip_to(TP(*tp), offset)

    def is_at_end(self, tp: tuple[str, int]) -> bool:
        """Whether everything was delivered that a partition held when it was fetched last."""
        at_end: bool = self.consumer.is_at_end(TP(*tp))
        return at_end

    def fetch_watchdog(self) -> FetchWatchdog:
        """A watchdog over this app's stream; `run_role` runs it."""
        return FetchWatchdog(self.consumer.fetch_progress, self.crash)

    def committed(self, tp: tuple[str, int]) -> int | None:
        """What this process committed for a partition in this assignment; None: nothing yet."""
        stored: int | None = self.consumer.stored_offset(TP(*tp))
        return stored

    def end_on_signal(self) -> None:
        """Whoever started this process wants it to end."""
        self.is_told_to_end = True
        self.ended.set()

    async def crash(self, reason: BaseException) -> None:
        """End this process: nothing more is acknowledged, a supervisor starts it anew."""
        self._end_crashed(reason)
        await super().crash(reason)

    def _crash(self, reason: BaseException) -> None:
        """Faust's own parts crash without calling `crash`: they only mark whatever they are part of."""
        self._end_crashed(reason)
        super()._crash(reason)

    def _end_crashed(self, reason: BaseException) -> None:
        if self.crash_reason_seen is None:
            self.crash_reason_seen = reason
            log.error("crashed", error=repr(reason), exc_info=reason)
        self.exit_deadline.arm("crash", code=70, after_s=CRASH_EXIT_AFTER_S)
        self.loop.call_soon_threadsafe(self.ended.set)  # the consumer has a thread of its own

    async def on_stop(self) -> None:
        """Drain, commit and leave the group, each within its bound."""
        self.exit_deadline.arm("stop", code=71)
        if self._consumer is not None and self.crash_reason_seen is None:
            held = self.held
            generation = self.consumer.group_generation()
            await self.hooks_draining(held, generation)
            await self.consumer._commit_bounded()
            await self.hooks_handing_over(held, generation)
        await super().on_stop()

    def _new_transport(self) -> HardenedTransport:
        return HardenedTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> HardenedTransport:
        return HardenedTransport(self.conf.broker_producer, self)


def faust_options(kafka: KafkaSettings, settings: Settings, role: str) -> dict[str, Any]:
    """Faust's settings: dynamic members, short sessions, no topic creation, no web server, everything raw."""
    options: dict[str, Any] = {
        "broker": faust_broker(kafka),
        "version": 1,
        "env_prefix": "WAPIPE_FAUST_UNUSED_",
        "datadir": str(Path(settings.storage.data_dir).absolute() / role),
        "value_serializer": "raw",
        "key_serializer": "raw",
        "stream_wait_empty": False,
        "stream_buffer_maxsize": BUFFER_RECORDS,
        "broker_max_poll_records": POLL_RECORDS,
        "broker_commit_interval": COMMIT_EVERY_S,
        "broker_max_poll_interval": 2_000_000.0,
        "broker_session_timeout": kafka.session_timeout_s,
        "broker_heartbeat_interval": 1.0,
        "broker_rebalance_timeout": REBALANCE_TIMEOUT_S,
        "broker_request_timeout": max(60.0, kafka.session_timeout_s),
        "producer_request_timeout": 30.0,
        "producer_acks": -1,
        "consumer_auto_offset_reset": "earliest",
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "agent_supervisor": "mode.CrashingSupervisor",
        "web_enabled": False,
        "worker_redirect_stdouts": False,
    }
    context = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        options["broker_credentials"] = faust.SASLCredentials(
            username=kafka.sasl_username,
            password=sasl_password_of(kafka),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    elif context is not None:
        options["broker_credentials"] = faust.SSLCredentials(context=context)
    return options
