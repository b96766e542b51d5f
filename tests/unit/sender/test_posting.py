"""One message from its attempt to its end: what is written, what is told, and what may come in between."""

from __future__ import annotations

from typing import cast

import pytest
from structlog.testing import capture_logs

from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from pipeline.sender.posting import Flight, Posting
from pipeline.whatsapp.client import Answer, Client, LastCheck
from tests.unit.sender.making import Bench, Make

EVENTS = "outbound-events"
ACCEPTED = Answer(200, {}, b'{"messages":[{"id":"wamid.1"}],"contacts":[{"wa_id":"15550109999"}]}')
DENIED = Answer(
    401, {}, b'{"meta":{},"errors":[{"code":1005,"title":"Access denied","details":"The token is not valid."}]}'
)


PAIR_LIMITED = Answer(429, {}, b'{"error":{"message":"(#131056) m","type":"OAuthException","code":131056}}')


class OneAnswer:
    """An API that says the same to everybody."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def post(self, _url: str, _headers: dict[str, str], _body: bytes, check: LastCheck) -> Answer:
        """Ask the last check, then answer."""
        assert check() is None
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


def test_a_pair_limit_waits_four_times_as_long_each_time(bench: Make) -> None:
    """1, 4, 16 s for this message, its attempts not spent, and nothing is halted."""
    world = bench(profile="cloud")
    lane, posting = sending(world, PAIR_LIMITED)
    job, waits = lane.jobs["r-1"], []
    for _ in range(3):
        world.run(posting.send(lane, job, Flight(lane, world.scheduling.wake), probe=False))
        waits.append(job.due_s - world.now_s)
        assert (job.spent, lane.number_scope.halt.since_s) == (0, None)
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
