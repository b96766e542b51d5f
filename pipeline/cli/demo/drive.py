"""Runs the campaign: writes it, lets things happen on the way, and waits until every request has its end.

Coroutines on one event loop on the main thread; calls to the simulator and to /metrics run in threads. What happens on
the way is tied to how far the campaign is, not to the clock, so that a slow machine sees the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException

from pipeline.cli.demo.campaign import Campaign, Planned
from pipeline.cli.demo.judge import STATUSES
from pipeline.cli.demo.tally import STOP, Tally
from pipeline.cli.demo.view import View
from pipeline.cli.local import Local
from pipeline.cli.local_plan import CLOUD_NUMBER, V1_NUMBER
from pipeline.clock import steady_s
from pipeline.errors import PipelineError
from pipeline.operations.reading import unreachable
from pipeline.records.codec import headers_for
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Delivery
from pipeline.streams.follow import Follower

TICK_S = 0.25
CONSENT_TIMEOUT_S = 120.0
CAMPAIGN_TIMEOUT_S = 240.0  # and twice the time that the limits themselves ask for
STATUS_TIMEOUT_S = 20.0
SCRAPE_EVERY_S = 1.0
REQUESTS_PER_BREATH = 500

SPELL_429_AT, SPELL_429_S = 0.2, 5.0
SPELL_503_AT, SPELL_503_S = 0.45, 4.0
CODES_FROM, CODES_TO = 0.05, 0.85
STOPS_FROM, STOPS_TO = 0.25, 0.6
LATE_AT = 0.75


@dataclass(slots=True)
class Course:
    """How far the things on the way are.

    Attributes:
        codes: Written so far.
        stops: STOPs sent so far.
        is_late_written: Whether the messages after the STOPs are.
        spelled: Numbers that a spell was put on, in order.
    """

    codes: int = 0
    stops: int = 0
    is_late_written: bool = False
    spelled: list[str] = field(default_factory=list)


class Drive:
    """One run.

    Args:
        local: The system that it runs on.
        campaign: What is to be written.
        view: Shows how it goes.
    """

    def __init__(self, local: Local, campaign: Campaign, view: View) -> None:
        self._local, self._campaign, self._view = local, campaign, view
        self._tally = Tally(campaign.tag)
        self._total = sum(1 for _ in campaign.requests)
        self._course = Course()
        self._scraped_s = 0.0

    @property
    def spelled(self) -> list[str]:
        """The number of each spell, in order of their begin."""
        return self._course.spelled

    async def run(self, since_ms: int) -> bool:
        """Consents, campaign, statuses.

        Args:
            since_ms: Broker time from which on the run's records are.

        Returns:
            Whether everything had its end in time.

        Raises:
            BrokerUnreachable: Kafka did not take a record.
            PipelineError: the gate did not take the consents in time.
        """
        loop = asyncio.get_running_loop()
        delivery = Delivery(producer_conf(self._local.settings.kafka), loop)
        try:
            async with self._followers(loop, since_ms):
                await self._consents(delivery)
                return await self._requests(delivery)
        except KafkaException as exc:
            raise unreachable(self._local.settings, exc) from exc
        finally:
            await delivery.close()

    @asynccontextmanager
    async def _followers(self, loop: asyncio.AbstractEventLoop, since_ms: int) -> AsyncIterator[None]:
        tally, people = self._tally, self._campaign.people
        takers: Mapping[str, Callable[[list[Any]], None]] = {
            "outbound-events": tally.take_outbound,
            "dead-letter": tally.take_dead,
            "consent-events": tally.take_consent,
            "inbound-events": lambda batch: tally.take_inbound(batch, people),
        }
        settings = self._local.settings
        followers = [
            Follower(settings.kafka, settings.topic(topic), take, loop, since_ms) for topic, take in takers.items()
        ]
        try:
            for follower in followers:
                follower.start()
            yield
        finally:
            await asyncio.gather(*(follower.stop() for follower in followers))

    # -- consents ------------------------------------------------------------------------------------------------------
    async def _consents(self, delivery: Delivery) -> None:
        grants = self._campaign.grants
        topic, headers = self._local.settings.topic("consent-updates"), headers_for("consent-update/1")
        began_s = steady_s()
        writing = asyncio.create_task(self._write(delivery.send(topic, value, key, headers) for key, value in grants))
        while self._tally.consents < len(grants):
            await self._tick(lambda: self._view.consents(self._tally.consents, len(grants), steady_s() - began_s))
            if writing.done():
                await writing
            if steady_s() - began_s > CONSENT_TIMEOUT_S:
                raise PipelineError(f"the gate took {self._tally.consents} of {len(grants)} consents; see its log")
        await writing
        self._view.consents_done(len(grants), steady_s() - began_s)
        for person, number in self._campaign.greeters:
            await self._inbound(person, number, "hello")
        force = {person: {"code": code} for person, code in self._campaign.refused.items()}
        await asyncio.to_thread(self._local.control, {"force": force})

    # -- campaign ------------------------------------------------------------------------------------------------------
    async def _requests(self, delivery: Delivery) -> bool:
        began_s = steady_s()
        give_up_s = began_s + CAMPAIGN_TIMEOUT_S + self._total / 20
        main = asyncio.create_task(self._write_requests(delivery, self._campaign.main))
        while self._tally.ended < self._total:
            await self._tick(lambda: self._view.campaign(self._tally, self._total, steady_s() - began_s))
            if main.done():
                await main
                await self._on_the_way(delivery)
            if steady_s() > give_up_s:
                main.cancel()
                return False
        await main
        return await self._statuses(began_s)

    async def _on_the_way(self, delivery: Delivery) -> None:
        """Let happen what is due, by the share of the campaign that has ended."""
        share = self._tally.ended / self._total
        course, campaign = self._course, self._campaign
        if share >= SPELL_429_AT and not course.spelled:
            await self._spell(V1_NUMBER, {"kind": "429", "for_s": SPELL_429_S, "retry_after": "auto"})
        if share >= SPELL_503_AT and len(course.spelled) == 1:
            await self._spell(CLOUD_NUMBER, {"kind": "503", "for_s": SPELL_503_S})
        codes = due(share, CODES_FROM, CODES_TO, len(campaign.codes))
        await self._write_requests(delivery, campaign.codes[course.codes : codes])
        course.codes = max(course.codes, codes)
        stops = due(share, STOPS_FROM, STOPS_TO, len(campaign.stoppers))
        for person, number in campaign.stoppers[course.stops : stops]:
            await self._inbound(person, number, STOP)
        course.stops = max(course.stops, stops)
        # Only once Kafka has all STOPs, so that it is plain what must become of these.
        has_stopped = self._tally.stops >= len(campaign.stoppers)
        if share >= LATE_AT and has_stopped and not course.is_late_written:
            await self._write_requests(delivery, campaign.late)
            course.is_late_written = True

    async def _statuses(self, began_s: float) -> bool:
        """Wait for the last status webhooks."""
        wanted = len(STATUSES) * self._tally.ends["accepted"]
        give_up_s = steady_s() + STATUS_TIMEOUT_S
        while self._tally.statuses_received < wanted and steady_s() < give_up_s:
            await self._tick(lambda: self._view.campaign(self._tally, self._total, steady_s() - began_s))
        return True

    # -- parts ---------------------------------------------------------------------------------------------------------
    async def _tick(self, show: Callable[[], None]) -> None:
        self._local.poll()
        now_s = steady_s()
        if now_s - self._scraped_s >= SCRAPE_EVERY_S:
            self._scraped_s = now_s
            await self._view.scrape(self._local.children)
        show()
        await asyncio.sleep(TICK_S)

    async def _write_requests(self, delivery: Delivery, requests: Iterable[Planned]) -> None:
        topic, headers = self._local.settings.topic, headers_for("request/1")
        await self._write(delivery.send(topic(one.topic), one.value, one.recipient, headers) for one in requests)

    @staticmethod
    async def _write(sends: Iterable[Awaitable[Any]]) -> None:
        """Have everything on Kafka, a bounded number of records at a time."""
        waiting: list[Awaitable[Any]] = []
        for send in sends:
            waiting.append(send)
            if len(waiting) >= REQUESTS_PER_BREATH:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)

    async def _spell(self, number: str, spell: dict[str, Any]) -> None:
        await asyncio.to_thread(self._local.control, {"spell": {**spell, "sender": number}})
        self._course.spelled.append(number)
        self._view.note(f"the API answers {spell['kind']} to {number} for {spell['for_s']:g} s from now on")

    async def _inbound(self, person: str, number: str, text: str) -> None:
        profile = self._local.settings.numbers[number].profile
        wanted = {"from": person, "number": number, "text": text, "profile": profile}
        await asyncio.to_thread(self._local.control, {"inbound": wanted})


def due(share: float, begin: float, end: float, count: int) -> int:
    """How many of `count` things, spread evenly over a part of the campaign, are due at a share of it."""
    return max(0, min(count, round(count * (share - begin) / (end - begin))))
