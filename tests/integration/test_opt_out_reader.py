"""The opt-out reader behind a real link that swallows everything, while the rest of Kafka works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from pipeline.clock import rfc3339, steady_s, unix_ms
from pipeline.config import KafkaSettings, Settings
from pipeline.errors import InvariantBroken
from pipeline.sender.aliases import TOPIC as ALIASES
from pipeline.sender.optouts import TOPIC, OptOuts
from pipeline.streams.watchdog import ReaderWatchdog
from tests.faults.cluster import LinkedKafka
from tests.faults.proxy import Links
from tests.support.broker import create_topics, produce
from tests.support.campaign import BUSINESS, grant
from tests.support.sender_values import ADA, message

READER = "reader"
STALE_S = 5.0
LIMIT_S = 60.0
LOOK_S = 0.1


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LinkedKafka, Links]]:
    """One broker that the reader reaches through a link of its own; everybody else goes around it."""
    folder: Path = tmp_path_factory.mktemp("linked")
    with Links() as links, LinkedKafka(folder / "kafka", links, [READER], 1) as kafka:
        create_topics(kafka.bootstrap, {TOPIC: 3, ALIASES: 3}, config={"message.timestamp.type": "LogAppendTime"})
        yield kafka, links


def stop_of(recipient: str) -> bytes:
    """A person's STOP, as the ingress writes it."""
    at = rfc3339(unix_ms())
    return orjson.dumps(grant(recipient, f"stop-{recipient}", ["*"], action="revoke", at=at, business=BUSINESS))


@asynccontextmanager
async def reading(kafka: LinkedKafka) -> AsyncIterator[OptOuts]:
    """The reader of a sender, with the contract's 5 s, that has caught up."""
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap_of(READER), client={"log_level": 0}))
    outs = OptOuts(settings, asyncio.get_running_loop(), lambda: None)
    assert settings.sender.opt_out_stale_s == STALE_S
    outs.require(unix_ms())
    try:
        await until(lambda: outs.is_fresh(steady_s()))
        yield outs
    finally:
        await outs.stop()


async def until(is_true: Callable[[], bool]) -> float:
    """Wait until something holds, looking as often as a sender's tasks do; returns how long that took, seconds."""
    began = time.monotonic()
    async with asyncio.timeout(LIMIT_S):
        while not is_true():
            await asyncio.sleep(LOOK_S)
    return time.monotonic() - began


async def test_cut_off_reader_stops_sending_and_resumes_by_itself(brokers: tuple[LinkedKafka, Links]) -> None:
    """No sending 5 s after the cut; what was said meanwhile is obeyed from the first message on; a watchdog notices."""
    kafka, links = brokers
    crashes: list[BaseException] = []

    async def crash(reason: BaseException) -> None:
        crashes.append(reason)

    async with reading(kafka) as outs:
        assert outs.follower is not None
        follower = outs.follower
        watchdog = ReaderWatchdog(lambda: {TOPIC: follower}, lambda: True, crash, look_s=LOOK_S, looks_max=5)
        watching = asyncio.ensure_future(watchdog.run())
        (link,) = kafka.links_of(READER)
        links.swallow(link)
        stopped_s = await until(lambda: not outs.is_fresh(steady_s()))
        assert stopped_s <= STALE_S + 2 * LOOK_S
        produce(kafka.bootstrap, TOPIC, [stop_of(ADA)], key=ADA.encode())
        await asyncio.wait_for(watching, LIMIT_S)
        assert not outs.is_fresh(steady_s()), "the rest of Kafka works: that is no reason to send"
        links.heal(link)
        await until(lambda: outs.is_fresh(steady_s()))
        assert outs.forbids(message("r-1"), unix_ms())
    (reason,) = crashes
    assert isinstance(reason, InvariantBroken)
    assert TOPIC in str(reason)
