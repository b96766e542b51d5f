"""A console for tests: its read model filled by hand, its pages on a real socket; no Kafka behind it.

async with stand(tmp_path) as console:
    console.take(event("accepted", "order-1"))
    async with console.logged_in() as browser:
        assert "order-1" in await browser.text("/messages")
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from aiohttp import web

from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.console.access import Attempts, Doors, Sessions
from pipeline.console.app import app_of
from pipeline.console.feed import Feed
from pipeline.console.query import Reading
from pipeline.console.rates import Rates
from pipeline.console.schema import open_writer
from pipeline.console.states import States
from pipeline.console.store import Store
from pipeline.console.taken import Taken
from pipeline.console.web import Parts
from pipeline.metrics import Metrics
from pipeline.records.outbound import outbound_event
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Delivery

NUMBER: Final = "200000000000001"
PERSON: Final = "15550109999"
TOKEN, VIEWER_TOKEN = "operator-token-of-tests", "viewer-token-of-tests"
NOWHERE: Final = "127.0.0.1:1"
_CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')


class Offsets:
    """Places that no two records of a test share."""

    def __init__(self) -> None:
        self._next = 0

    def record(
        self, topic: str, value: Any, key: bytes | None = None, headers: Any = (), at_ms: int | None = None
    ) -> Taken:
        """A record as the feed hands it over."""
        self._next += 1
        raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
        return Taken(topic, 0, self._next, unix_ms() if at_ms is None else at_ms, key, raw, headers)


def event(kind: str, request_id: str, *, at_ms: int | None = None, **fields: Any) -> dict[str, Any]:
    """An outbound-event; fields of the request (`to`, `campaign`, …) and of the event alike."""
    asked = {"request_id": request_id, "from": NUMBER, "to": PERSON, "category": "utility", "priority": "normal"}
    own = {name: fields.pop(name) for name in list(fields) if name in ("to", "campaign", "from", "metadata")}
    source = {"topic": "outbound-requests", "partition": 0, "offset": 1}
    stage = "gate" if kind in ("queued", "rejected") else "sender"
    return outbound_event(
        kind, {**asked, **own}, source, at_ms=unix_ms() if at_ms is None else at_ms, stage=stage, **fields
    )


def status(word: str, message_id: str, request_id: str | None = None, *, at_ms: int | None = None) -> dict[str, Any]:
    """An inbound-event of a status webhook."""
    at = rfc3339(unix_ms() if at_ms is None else at_ms)
    return {
        "event_id": f"{word}-{message_id}", "type": "status", "at": at, "received_at": at, "number": NUMBER,
        "recipient": PERSON, "message_id": message_id, "status": word, "request_id": request_id, "errors": [],
    }  # fmt: skip


def settings_of(folder: Path, **console: Any) -> Settings:
    """Settings of one number, with a token for operators and one for viewers unless others are named."""
    for name, text in (("operator", TOKEN), ("viewer", VIEWER_TOKEN), ("token", "t")):
        (folder / name).write_text(text)
    ways = {"operator_token_file": str(folder / "operator"), "viewer_token_file": str(folder / "viewer")}
    return Settings.model_validate({
        "kafka": {"bootstrap_servers": NOWHERE, "client": {"log_level": 0}, "topic_prefix": "t-"},
        "numbers": {NUMBER: {
            "business": "acme", "account": "300000000000001", "profile": "cloud", "base_url": "http://127.0.0.1:1",
            "token_file": str(folder / "token"),
        }},
        "console": {**ways, "port": 0, **console},
        "storage": {"data_dir": str(folder / "data")},
    })  # fmt: skip


class Browser:
    """Somebody at the console: keeps cookies, follows no redirect by itself."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def get(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        """`GET`, with the body read."""
        async with self.session.get(self.url + path, allow_redirects=False, **options) as answer:
            await answer.read()
            return answer

    async def post(self, path: str, form: Mapping[str, str], **options: Any) -> aiohttp.ClientResponse:
        """`POST` of a form, as it is."""
        async with self.session.post(self.url + path, data=form, allow_redirects=False, **options) as answer:
            await answer.read()
            return answer

    async def text(self, path: str) -> str:
        """A page that must be there."""
        answer = await self.get(path)
        assert answer.status == 200, (answer.status, await answer.text())
        return await answer.text()

    async def csrf(self, path: str = "/messages") -> str:
        """The token that the forms of a page carry."""
        found = _CSRF.search(await self.text(path))
        assert found is not None
        return found[1]


class Stand:
    """A running console without a feed."""

    def __init__(self, parts: Parts, store: Store, port: int) -> None:
        self.parts, self.url = parts, f"http://127.0.0.1:{port}"
        self._store, self._offsets = store, Offsets()

    def take(self, *events: Mapping[str, Any], topic: str = "outbound-events") -> None:
        """Let the read model hear of events."""
        self.take_records(self._offsets.record(topic, one) for one in events)

    def take_records(self, records: Iterable[Taken]) -> None:
        """Let the read model hear of records."""
        self._store.apply(records, {})

    def record(self, topic: str, value: Any, **fields: Any) -> None:
        """Let the read model hear of one record with key or headers of its own."""
        self.take_records([self._offsets.record(topic, value, **fields)])

    @asynccontextmanager
    async def browser(self, **options: Any) -> AsyncIterator[Browser]:
        """Somebody who is not logged in."""
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=20), **options) as session:
            yield Browser(session, self.url)

    @asynccontextmanager
    async def logged_in(self, token: str = TOKEN, name: str = "ada") -> AsyncIterator[Browser]:
        """Somebody who is."""
        async with self.browser() as browser:
            answer = await browser.post("/login", {"name": name, "token": token})
            assert answer.status == 303, await answer.text()
            yield browser


@asynccontextmanager
async def stand(folder: Path, **console: Any) -> AsyncIterator[Stand]:
    """A console whose pages can be asked; leaving it ends all of it.

    Args:
        console: Settings of `[console]`.
    """
    settings = settings_of(folder, **console)
    path = folder / "read-model.sqlite"
    writer = open_writer(path)
    delivery = Delivery(producer_conf(settings.kafka), asyncio.get_running_loop())
    sessions = Sessions(settings.console.session_h * 3600)
    with closing(writer):
        metrics = Metrics()
        feed = Feed(settings, path, metrics)
        parts = Parts(
            settings,
            metrics,
            Doors(settings, folder),
            sessions,
            Attempts(),
            feed,
            Rates(settings),
            States(),
            Reading(path),
            delivery,
        )
        runner = web.AppRunner(app_of(parts), access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Stand(parts, Store(writer), int(runner.addresses[0][1]))
        finally:
            parts.draining.set()
            await runner.cleanup()
            parts.reading.close()
            feed.stop()
            await delivery.close(0.1)
