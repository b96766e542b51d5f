"""One message from its attempt to its end: what is written, what is told, and what may come in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from pipeline.errors import NotSent
from pipeline.sender.dispatch import Dispatch
from pipeline.sender.evidence import Evidence
from pipeline.sender.flight import Flight
from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from pipeline.sender.posting import Posting
from pipeline.sender.replay import Tail
from pipeline.sender.unknown import Unknowns
from pipeline.whatsapp.answer import Kind, Outcome
from pipeline.whatsapp.client import Answer, Client, LastCheck
from tests.support.sender_kafka import SimFollower
from tests.support.sender_values import NOW_MS, NUMBER
from tests.unit.sender.making import LEDGER, Bench, Make

EVENTS = "outbound-events"
ACCEPTED = Answer(200, {}, b'{"messages":[{"id":"wamid.1"}],"contacts":[{"wa_id":"15550109999"}]}')
DENIED = Answer(
    401, {}, b'{"meta":{},"errors":[{"code":1005,"title":"Access denied","details":"The token is not valid."}]}'
)


SPAM = Answer(400, {}, b'{"error":{"message":"(#131048) Spam rate limit hit","code":131048}}')


class Answers:
    """An API that answers by what the body says.

    Attributes:
        asked: Bodies that were posted.
    """

    def __init__(self, *by_word: tuple[bytes, Answer]) -> None:
        self._by_word = by_word
        self.asked: list[bytes] = []

    async def post(self, _url: str, _headers: dict[str, str], body: bytes, check: LastCheck) -> Answer:
        """Ask the last check, then answer."""
        assert check() is None
        self.asked.append(body)
        return next(answer for word, answer in self._by_word if word in body)


PAIR_LIMITED = Answer(429, {}, b'{"error":{"message":"(#131056) m","type":"OAuthException","code":131056}}')


class OneAnswer:
    """An API that says the same to everybody."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.headers: list[dict[str, str]] = []

    async def post(self, _url: str, headers: dict[str, str], _body: bytes, check: LastCheck) -> Answer:
        """Ask the last check, then answer."""
        refused = check()
        if refused is not None:
            raise NotSent(refused)
        self.headers.append(headers)
        return self._answer


def sending(world: Bench, answer: Answer) -> tuple[Lane, Posting]:
    """A lane with one message in hand, and who sends it."""
    lane = world.opened()
    world.deliver(world.ready("r-1"))
    for _ in range(4):  # until there are tokens, and opt-outs are read
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)
    world.ctx.client = cast("Client", OneAnswer(answer))
    lane.chains.take(lane.jobs["r-1"].priority)
    lane.jobs["r-1"].stage = Stage.IN_HAND
    return lane, Posting(world.ctx, world.finish, world.scheduling)


def pumping(world: Bench, api: Answers) -> Lane:
    """A lane that sends by itself."""
    evidence = Evidence(world.settings, world.loop, lambda: None, SimFollower)
    unknowns = Unknowns(world.ctx, world.finish, world.scheduling, evidence, Tail(world.reader))
    posting = Posting(world.ctx, world.finish, world.scheduling)
    Dispatch(world.ctx, world.finish, world.scheduling, posting, unknowns)
    world.ctx.client = cast("Client", api)
    world.kafka.write("account-state", {"aspect": "webhook", "verified": True}, f"number:{NUMBER}/webhook")
    return world.opened()


def test_a_spam_limit_stops_marketing_and_nothing_else(bench: Make) -> None:
    """131048: the message and all marketing behind it wait for a day, unsent; other messages go on."""
    world = bench(profile="cloud")
    api = Answers((b"15550000001", SPAM), (b"", ACCEPTED))
    lane = pumping(world, api)
    day: dict[str, Any] = {"expires_ms": NOW_MS + 72 * 3_600_000, "valid_until_ms": NOW_MS + 72 * 3_600_000}
    world.deliver(world.ready("m-1", 1, recipient="15550000001", category="marketing", **day))
    for _ in range(4):
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)
    world.deliver(
        world.ready("m-2", 2, recipient="15550000002", category="marketing", **day),
        world.ready("u-1", 3, recipient="15550000003", **day),
    )
    for _ in range(2):
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)
    told = {event["request_id"]: (event["type"], event["reason"]) for event in world.log(EVENTS)}
    put_off = ("deferred", "marketing_limit")
    assert told == {"m-1": put_off, "m-2": put_off, "u-1": ("accepted", None)}
    assert len(api.asked) == 2, "the second one was not tried"
    assert [record["request"]["request_id"] for record in world.log("delayed-retry-1h")] == ["m-1", "m-2"]
    assert lane.parked == {"m-1", "m-2"}


def test_a_wrong_token_is_named(bench: Make) -> None:
    """The event and the log say what the API refused, and how; the message waits, and its attempt is not spent."""
    world = bench(profile="v1")
    lane, posting = sending(world, DENIED)
    job = lane.jobs["r-1"]
    with capture_logs() as lines:
        world.run(posting.send(lane, job, Flight(lane, world.scheduling.wake), probe=False))
    [event] = world.log(EVENTS)
    assert (event["type"], event["http_status"], event["error_code"]) == ("deferred", 401, 1005)
    assert "The token is not valid" in event["detail"]
    [line] = [line for line in lines if line["event"] == "halted"]
    assert (line["reason"], line["error_code"], line["log_level"]) == ("token", 1005, "warning")
    assert (job.spent, job.stage, list(lane.jobs)) == (0, Stage.WAITING, ["r-1"])


class Renewing:
    """A source that can always have another token."""

    token: str | None = "t"
    on_token: Callable[[], None]

    def renew(self) -> bool:
        """One comes."""
        return True


def shared_token(world: Bench, lane: Lane) -> Renewing:
    """Let the lane's number have its token from a source that renews it."""
    source = Renewing()
    world.ctx.access.add(
        lane.number, lambda token: lane.profile.endpoint("https://a.invalid", lane.number, token), source
    )
    return source


def test_a_spent_token_costs_the_message_nothing(bench: Make) -> None:
    """Its answer is on the ledger, it waits in its chain, no attempt is spent, no copy or event written, nothing halts.

    With another token it goes again, as a new attempt.
    """
    world = bench(profile="v1")
    lane, posting = sending(world, DENIED)
    source, job = shared_token(world, lane), lane.jobs["r-1"]
    world.run(posting.send(lane, job, Flight(lane, world.scheduling.wake), probe=False))
    assert [record["kind"] for record in world.log(LEDGER) if record.get("attempt")] == ["attempt", "returned"]
    assert (world.log(EVENTS), world.log("delayed-retry")) == ([], [])
    assert (job.spent, job.stage, job.deferred, lane.scopes.number.halt.is_halted(world.now_s)) == (
        0, Stage.WAITING, False, False,
    )  # fmt: skip
    source.token = "t2"
    source.on_token()
    api = OneAnswer(ACCEPTED)
    world.ctx.client = cast("Client", api)
    job.stage = Stage.IN_HAND
    world.run(posting.send(lane, job, Flight(lane, world.scheduling.wake), probe=False))
    assert api.headers[0]["Authorization"] == "Bearer t2"
    [event] = world.log(EVENTS)
    assert (event["type"], event["attempt"]) == ("accepted", 2)


def test_a_spent_token_says_nothing_about_a_throttle(bench: Make) -> None:
    """A token is looked at before the limit is: the halt that the number was in goes on."""
    world = bench(profile="v1")
    lane, posting = sending(world, DENIED)
    shared_token(world, lane)
    lane.scopes.number.halt.refused(world.now_s - 5.0, None, 0.0)
    world.run(posting.send(lane, lane.jobs["r-1"], Flight(lane, world.scheduling.wake), probe=True))
    assert lane.scopes.number.halt.is_halted(world.now_s)


def test_a_token_lost_on_the_way_stops_the_write(bench: Make) -> None:
    """A message that was chosen before the token was refused does not leave with it; its attempt is void."""
    world = bench(profile="v1")
    lane, posting = sending(world, ACCEPTED)
    shared_token(world, lane)
    world.ctx.access.judged(lane.number, world.ctx.access.endpoint(lane.number), Outcome(Kind.UNAUTHORISED, 401))
    world.run(posting.send(lane, lane.jobs["r-1"], Flight(lane, world.scheduling.wake), probe=False))
    assert [record["kind"] for record in world.log(LEDGER) if record.get("attempt")] == ["attempt", "void"]


def test_a_pair_limit_waits_four_times_as_long_each_time(bench: Make) -> None:
    """1, 4, 16 s for this message, its attempts not spent, and nothing is halted."""
    world = bench(profile="cloud")
    lane, posting = sending(world, PAIR_LIMITED)
    job, waits = lane.jobs["r-1"], []
    for _ in range(3):
        world.run(posting.send(lane, job, Flight(lane, world.scheduling.wake), probe=False))
        waits.append(job.due_s - world.now_s)
        assert (job.spent, lane.scopes.number.halt.since_s) == (0, None)
        world.ctx.optouts.beat(world.now_s)
        world.pass_by(60.0)
        world.ctx.optouts.beat(world.now_s)
        job.stage = Stage.IN_HAND
    assert waits == pytest.approx([1.0, 4.0, 16.0], abs=0.1)


@pytest.mark.parametrize("returns", [False, True], ids=["once", "its record comes again"])
def test_a_successor_does_not_wait_for_the_event(bench: Make, returns: bool) -> None:
    """Settled, the next one of the chain may go; a record of it that comes meanwhile is finished with its one event."""
    world = bench(profile="v1")
    lane, posting = sending(world, ACCEPTED)
    job, follower = lane.jobs["r-1"], world.ready("r-2", 1)
    world.deliver(follower)
    task = world.loop.create_task(posting.send(lane, job, Flight(lane, world.scheduling.wake), probe=False))
    while not lane.ledger.ids or not lane.ledger.ids["r-1"].settled:
        world.run_for(0.0001)
    world.run_for(0.0001)
    assert world.log(EVENTS) == [], "the event is on its way"
    assert (job.stage, lane.jobs["r-2"].chain and lane.jobs["r-2"].chain.head) == (Stage.SETTLING, lane.jobs["r-2"])
    again = world.ready("r-1", topic="delayed-retry")
    if returns:
        world.deliver(again)
    world.run_for(1.0)
    assert task.done()
    assert [event["type"] for event in world.log(EVENTS)] == ["accepted"]
    assert list(lane.jobs) == ["r-2"]
    if returns:
        assert world.stream.windows.position(again.where) == again.place + 1
