"""A sender in virtual time that posts by itself: the parts of `making.Bench`, its pump, its clockwork, and an API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import orjson

from pipeline.clock import rfc3339
from pipeline.errors import NotSent
from pipeline.health import Health
from pipeline.sender.dispatch import Dispatch
from pipeline.sender.evidence import Evidence
from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from pipeline.sender.leaving import Leaving
from pipeline.sender.posting import Posting
from pipeline.sender.replay import Tail
from pipeline.sender.ticker import Ticker
from pipeline.sender.unknown import Unknowns
from pipeline.whatsapp.client import Answer, Client, LastCheck, RequestFailed
from tests.support.sender_kafka import BASE_MS, Stored
from tests.support.sender_values import ADA, NUMBER, record
from tests.unit.sender.making import LEDGER, Bench, Opening

EVENTS = "outbound-events"
RECENT_MS = BASE_MS + 100
"""Broker time of a request that makes the reader of opt-outs not begin anew."""
WAIT_S = 30.0
"""`sender.unknown_wait_s`."""
BASIS = ("kind", "attempt", "basis")
THROTTLED = Answer(429, {}, b'{"error":{"code":130429}}')
TRANSIENT = Answer(500, {}, b'{"error":{"code":131000}}')
LOST = RequestFailed(TimeoutError("no answer"), written=True)
REFUSED = Answer(400, {}, b'{"error":{"code":131026}}')
DAY = Answer(400, {}, b'{"error":{"code":131049}}')


def taken(message_id: str = "wamid.1") -> Answer:
    """The API takes a message."""
    body = {"messages": [{"id": message_id}], "contacts": [{"wa_id": ADA}]}
    return Answer(200, {}, orjson.dumps(body))


class Api:
    """An API that answers what a test says, then takes everything.

    Args:
        answers: For the next requests, one each; a future: when the test says so; an error: instead of an answer.

    Attributes:
        answers: What is still to be answered.
        posts: What was written: `request_id:attempt`, on v1 the recipient.
        refused: Why requests were not written.
        before: What happens between the choice of a message and its last checks; taken away before it is called.
    """

    def __init__(self, *answers: Answer | Exception | asyncio.Future[Any]) -> None:
        self.answers = list(answers)
        self.posts: list[str] = []
        self.refused: list[str] = []
        self.before: Callable[[], Awaitable[object]] | None = None

    async def post(self, _url: str, _headers: dict[str, str], body: bytes, check: LastCheck) -> Answer:
        """As the real one: last checks and write in one step, then the answer."""
        before, self.before = self.before, None
        if before is not None:
            await before()
        reason = check()
        if reason is not None:
            self.refused.append(reason)
            raise NotSent(reason)
        value = orjson.loads(body)
        self.posts.append(value.get("biz_opaque_callback_data") or value["to"].lstrip("+"))
        answer = self.answers.pop(0) if self.answers else taken(f"wamid.{len(self.posts)}")
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer


class Sender:
    """All parts of a sender that a `Bench` does not have, at work.

    Args:
        ticks: Whether it does what is done by the clock; else only what its pump does.

    Attributes:
        dispatch: Its pump.
        evidence: Its reader of statuses.
        unknowns: Looks after messages of unknown outcome.
    """

    def __init__(self, world: Bench, api: Api, *, ticks: bool = True) -> None:
        ctx, finish, scheduling = world.ctx, world.finish, world.scheduling
        ctx.client = cast("Client", api)
        self.evidence = Evidence(world.settings, world.loop, lambda: None, Opening)
        self.unknowns = Unknowns(ctx, finish, scheduling, self.evidence, Tail(world.reader))
        self.dispatch = Dispatch(ctx, finish, scheduling, Posting(ctx, finish, scheduling), self.unknowns)
        leaving, health = Leaving(ctx, finish, scheduling), Health(("assignment",), ctx.steady_s)
        ticker = Ticker(ctx, self.dispatch, self.unknowns, world.handover, health, leaving)
        self._ticking = world.loop.create_task(ticker.run()) if ticks else None
        world.kafka.write("account-state", {"aspect": "webhook", "verified": True}, f"number:{NUMBER}/webhook")


def sends(world: Bench, *answers: Answer | Exception | asyncio.Future[Any]) -> Api:
    """Let a bench post by itself, to this API."""
    api = Api(*answers)
    Sender(world, api)
    return api


def told(world: Bench, request_id: str | None = None) -> list[tuple[str, str | None]]:
    """Type and reason of all events, or of a request's."""
    events = [e for e in world.log(EVENTS) if request_id in (None, e["request_id"])]
    return [(event["type"], event["reason"]) for event in events]


def written(world: Bench, lane: Lane, names: Iterable[str] = ("kind", "attempt")) -> list[tuple[Any, ...]]:
    """What the lane's owner wrote to its ledger after `opened`."""
    own = [entry for entry in world.log(LEDGER) if entry["generation"] == lane.generation]
    return [tuple(entry[name] for name in names) for entry in own if entry["kind"] != "opened"]


def status(
    world: Bench, request_id: str | None, message_id: str = "wamid.s", *, stamp_ms: int | None = None,
    recipient: str = ADA, kind: str = "sent",
) -> Stored:  # fmt: skip
    """A status webhook was recorded."""
    at_ms = stamp_ms if stamp_ms is not None else BASE_MS + int(world.now_s * 1000)
    value = {
        "type": "status", "at": rfc3339(at_ms), "number": NUMBER, "recipient": recipient, "message_id": message_id,
        "status": kind, "request_id": request_id,
    }  # fmt: skip
    return world.kafka.write("inbound-events", value)


def position(world: Bench, stored: Stored) -> int | None:
    """Up to where the records of a partition are finished."""
    return world.stream.windows.position(stored.where)


def opt_out(world: Bench) -> None:
    """The person takes everything back."""
    update = {
        "update_id": "o", "recipient": ADA, "business": "*", "action": "revoke", "categories": ["*"],
        "at": rfc3339(BASE_MS + int(world.now_s * 1000)), "evidence": {"method": "keyword", "actor": "user"},
    }  # fmt: skip
    world.kafka.write("consent-updates", update, ADA)


# -- messages of unknown outcome ---------------------------------------------------------------------------------------
def inherits(world: Bench, api: Api, *, opened_s: float = 0.5, **fields: Any) -> tuple[Lane, Stored]:
    """A lane that is taken over from an owner whose last attempt, at second 0, has no outcome."""
    world.ledger(record("opened", 1), record("attempt", 1))
    stored = world.ready(source_ms=RECENT_MS, **fields)
    world.pass_by(opened_s)
    Sender(world, api)
    lane = world.lane()
    world.opening(lane)
    world.deliver(stored)
    world.run_for(1.0)
    assert lane.is_open
    return lane, stored


def until(world: Bench, at_s: float) -> None:
    """Let time pass until then."""
    world.run_for(at_s - world.now_s)


def waiting(world: Bench, **fields: Any) -> tuple[Lane, Sender, Api]:
    """A message of unknown outcome that the policy sends again; nothing looks after it but the pump."""
    world.ledger(record("opened", 1), record("attempt", 1))
    stored = world.ready(source_ms=RECENT_MS, **fields)
    api = Api()
    sender = Sender(world, api, ticks=False)
    lane = world.lane()
    world.opening(lane)
    world.deliver(stored)
    world.run_for(1.0)
    lane.chains.offer(*lane.chains)
    assert lane.jobs["r-1"].stage is Stage.UNKNOWN
    return lane, sender, api


def goes_on(world: Bench, lane: Lane) -> None:
    """The policy sends it again, now."""
    world.scheduling.again(lane, lane.jobs["r-1"], world.now_s)
    world.run_for(2.0)
