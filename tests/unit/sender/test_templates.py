"""Templates that Meta paused, deleted or recategorised after the gate judged: nothing leaves any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import orjson
import pytest

from pipeline.errors import NotSent
from pipeline.sender.dispatch import Dispatch
from pipeline.sender.flight import Flight
from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from pipeline.sender.posting import Posting
from pipeline.sender.preflight import Preflight
from pipeline.sender.unknown import Unknowns
from pipeline.whatsapp.client import Answer, Client, LastCheck
from tests.support.kafka_message import KafkaMessage
from tests.support.sender_values import message
from tests.support.template_values import ACCOUNT, AT, DEFINED, KEY, definition, told
from tests.unit.sender.making import Bench, Make

EVENTS, LEDGER = "outbound-events", "send-ledger"
TAKEN = Answer(200, {}, b'{"messages":[{"id":"wamid.1"}]}')
PAUSED = (KEY, told(status="PAUSED", reason="NONE", status_at=AT))
DELETED = (DEFINED, definition(status="DELETED"))
DISABLED = (DEFINED, definition(status="DISABLED"))
MOVED = (KEY, told(category="MARKETING", category_at=AT))
NOT_APPROVED, MISMATCH = "template_not_approved", "category_mismatch"


def tell(world: Bench, *records: tuple[str, dict[str, Any]]) -> None:
    """The sender reads these on `account-state`."""
    world.ctx.account.apply([KafkaMessage(key.encode(), orjson.dumps(value)) for key, value in records])


def waiting(world: Bench) -> Lane:
    """A lane with one template message in it, of an account."""
    lane = world.opened()
    lane.settings = lane.settings.model_copy(update={"account": ACCOUNT})
    record = message("r-1").record
    template = {"type": "template", "template": {"name": "order_shipped", "language": {"code": "en_US"}}}
    world.deliver(world.kafka.write("ready-normal", {**record, "request": {**record["request"], "message": template}}))
    return lane


class Asking:
    """An API that takes everything; before it is asked, something happens."""

    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before
        self.posts = 0

    async def post(self, _url: str, _headers: dict[str, str], _body: bytes, check: LastCheck) -> Answer:
        """Ask the last check, then take it."""
        self._before()
        forbidden = check()
        if forbidden is not None:
            raise NotSent(forbidden)
        self.posts += 1
        return TAKEN


def settle(world: Bench) -> None:
    """Let time pass until there are tokens, and opt-outs are read."""
    for _ in range(4):
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)


@pytest.mark.parametrize(
    ("news", "reason"),
    [(PAUSED, NOT_APPROVED), (DELETED, NOT_APPROVED), (DISABLED, NOT_APPROVED), (MOVED, MISMATCH)],
    ids=["paused", "deleted", "disabled", "recategorised"],
)
def test_the_last_check_asks_once_more(bench: Make, news: tuple[str, dict[str, Any]], reason: str) -> None:
    """Changed by a webhook or a sync while its attempt was written: void, rejected, and nothing was posted."""
    world = bench()
    lane = waiting(world)
    tell(world, (DEFINED, definition()))
    assert [known.components for known in world.ctx.account.templates] == [None], "a sender keeps no texts"
    settle(world)
    api = Asking(lambda: tell(world, news))
    world.ctx.client = cast("Client", api)
    lane.chains.take(lane.jobs["r-1"].priority)
    lane.jobs["r-1"].stage = Stage.IN_HAND
    posting = Posting(world.ctx, world.finish, world.scheduling)
    world.run(posting.send(lane, lane.jobs["r-1"], Flight(lane, world.scheduling.wake), probe=False))
    [event] = world.log(EVENTS)
    assert (event["type"], event["reason"], event["stage"]) == ("rejected", reason, "sender")
    assert event["detail"].startswith("template order_shipped/en_US is ")
    assert event["consent"] is None
    kinds = [(record["kind"], record.get("reason")) for record in world.log(LEDGER)]
    assert kinds[-2:] == [("void", reason), ("settled", None)]
    assert (api.posts, lane.jobs) == (0, {})


def pumped(world: Bench, *records: tuple[str, dict[str, Any]]) -> tuple[Asking, list[dict[str, Any]]]:
    """What the API saw and which events there are, once a lane was pumped that knows these records."""
    waiting(world)
    posting = Posting(world.ctx, world.finish, world.scheduling)
    Dispatch(world.ctx, world.finish, world.scheduling, posting, cast("Unknowns", Nobody()))
    policy = world.settings.policy.model_copy(update={"require_webhook": False, "require_templates": False})
    world.ctx.settings = world.settings.model_copy(update={"policy": policy})
    world.ctx.preflight = Preflight(world.ctx.settings, world.ctx.account, world.ctx.access)
    api = Asking(lambda: None)
    world.ctx.client = cast("Client", api)
    tell(world, *records)
    settle(world)
    return api, world.log(EVENTS)


class Nobody:
    """Nothing is of unknown outcome."""

    async def end_unsent(self, _lane: Lane, _job: Any) -> None:
        """Never asked."""
        raise AssertionError


def test_a_waiting_message_is_not_even_tried(bench: Make) -> None:
    """Paused while it waited for its turn: no token, no attempt."""
    world = bench()
    api, [event] = pumped(world, (DEFINED, definition()), PAUSED)
    assert (event["type"], event["reason"], event["attempt"]) == ("rejected", NOT_APPROVED, None)
    assert (api.posts, "attempt" in [record["kind"] for record in world.log(LEDGER)]) == (0, False)


@pytest.mark.parametrize(
    "records",
    [[], [(DEFINED, definition())], [PAUSED, (DEFINED, definition(at="2026-11-22T09:00:01.000Z"))]],
    ids=["not known here yet", "approved", "approved again"],
)
def test_what_the_gate_let_through_goes(bench: Make, records: list[tuple[str, dict[str, Any]]]) -> None:
    """A template that is approved goes, and one that this sender has not read of refuses nothing."""
    api, [event] = pumped(bench(), *records)
    assert (event["type"], api.posts) == ("accepted", 1)
