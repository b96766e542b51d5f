"""A number without a token, or whose opt-outs are not known, stands still, says so, and goes on by itself."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from pipeline.clock import rfc3339
from pipeline.sender.dispatch import Dispatch
from pipeline.sender.posting import Posting
from pipeline.sender.unknown import Unknowns
from pipeline.whatsapp.client import Answer, Client, LastCheck
from tests.support.sender_values import ADA, NUMBER
from tests.unit.sender.making import Bench, Make

STOP = {
    "update_id": "u-stop", "recipient": ADA, "business": "acme", "action": "revoke", "categories": ["*"],
    "purposes": ["*"], "expires_at": None, "evidence": None,
}  # fmt: skip
DENIED, ACCEPTED = b'{"errors":[{"code":1005}]}', b'{"messages":[{"id":"gBEG"}]}'


class Login:
    """A source of tokens that a test fills."""

    token: str | None = None
    asked = 0
    on_token: Callable[[], None]

    def renew(self) -> bool:
        """Count."""
        self.asked += 1
        return True


class Api:
    """Takes one token only.

    Attributes:
        right: That one.
        seen: Every request's token.
    """

    def __init__(self, right: str) -> None:
        self.right = right
        self.seen: list[str] = []

    async def post(self, _url: str, headers: dict[str, str], _body: bytes, check: LastCheck) -> Answer:
        """Ask the last check, then look at the token."""
        assert check() is None
        self.seen.append(headers["Authorization"].removeprefix("Bearer "))
        return Answer(201, {}, ACCEPTED) if self.seen[-1] == self.right else Answer(401, {}, DENIED)


def sending(world: Bench, source: Login, api: Api) -> Dispatch:
    """A lane with a message whose number has its token from there, and who pumps it."""
    verified = {"kind": "number", "id": NUMBER, "aspect": "webhook", "verified": True}
    world.kafka.write("account-state", verified, f"number:{NUMBER}/webhook")
    posting = Posting(world.ctx, world.finish, world.scheduling)
    unknowns = cast("Unknowns", SimpleNamespace(end_unsent=None))
    dispatch = Dispatch(world.ctx, world.finish, world.scheduling, posting, unknowns)
    world.ctx.client = cast("Client", api)
    lane = world.opened()
    access = world.ctx.access
    access.add(NUMBER, lambda token: lane.profile.endpoint("https://a.invalid", NUMBER, token), source)
    access.on_change = lambda _number: world.scheduling.wake(lane)
    for _ in range(4):  # until there are tokens of the bucket, and opt-outs are read
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)
    world.deliver(world.ready("r-1"))
    world.run_for(0.5)
    return dispatch


def test_a_number_without_a_token_says_token_and_goes_on_by_itself(bench: Make) -> None:
    """Before the first login nothing is attempted, and the reason is `token`; once there is one, the message goes."""
    world, source, api = bench(profile="v1"), Login(), Api("t1")
    dispatch = sending(world, source, api)
    lane = world.ctx.lanes[0]
    assert dispatch.stop_reasons(lane) == {"token"}
    assert api.seen == []
    assert [record for record in world.log("send-ledger") if record["kind"] == "attempt"] == []
    source.token = "t1"
    source.on_token()
    world.run_for(0.1)
    assert dispatch.stop_reasons(lane) == set()
    assert api.seen == ["t1"]
    assert [event["type"] for event in world.log("outbound-events")] == ["accepted"]


def test_a_token_that_ran_out_is_replaced_and_the_message_goes(bench: Make) -> None:
    """One refusal, one renewal, one more attempt, one event: accepted, as its second attempt."""
    world, source, api = bench(profile="v1"), Login(), Api("t2")
    source.token = "t1"
    dispatch = sending(world, source, api)
    lane = world.ctx.lanes[0]
    assert (api.seen, source.asked, dispatch.stop_reasons(lane)) == (["t1"], 1, {"token"})
    source.token = "t2"
    source.on_token()
    world.run_for(0.5)
    assert (api.seen, source.asked, dispatch.stop_reasons(lane)) == (["t1", "t2"], 1, set())
    [event] = world.log("outbound-events")
    assert (event["type"], event["attempt"]) == ("accepted", 2)


def test_a_token_that_helps_nothing_halts_the_number(bench: Make) -> None:
    """The API refuses the new token, too: the number halts with `token`; each later probe waits for a newer one."""
    world, source, api = bench(profile="v1"), Login(), Api("never")
    source.token = "t1"
    dispatch = sending(world, source, api)
    lane = world.ctx.lanes[0]
    source.token = "t2"
    source.on_token()
    world.run_for(0.5)
    assert api.seen == ["t1", "t2"]
    assert lane.scopes.number.halt.is_halted(world.now_s)
    assert dispatch.stop_reasons(lane) == {"token"}
    assert lane.jobs["r-1"].spent == 0
    source.token = "t3"
    source.on_token()
    for _ in range(28):
        world.ctx.optouts.beat(world.now_s)
        world.run_for(1.0)
    assert api.seen == ["t1", "t2"], "a new token is no reason to probe sooner"
    for _ in range(5):
        world.ctx.optouts.beat(world.now_s)
        world.run_for(1.0)
    assert api.seen == ["t1", "t2", "t3"]
    assert source.asked == 3


# -- opt-outs --------------------------------------------------------------------------------------------------------
def test_stale_opt_outs_stop_sending_and_what_was_said_meanwhile_is_obeyed(bench: Make) -> None:
    """Cut off from `consent-updates` nothing is attempted, with the contract's reason; then the STOP is obeyed."""
    world, source, api = bench(profile="v1", stalls=((10.0, 25.0),)), Login(), Api("t1")
    source.token = "t1"
    dispatch = sending(world, source, api)
    assert api.seen == ["t1"]
    lane = world.ctx.lanes[0]
    for _ in range(20):  # until 5 s after the last word that was heard
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)
    assert dispatch.stop_reasons(lane) == {"opt_outs_stale"}
    world.deliver(world.ready("r-2", 1))
    world.kafka.write("consent-updates", {**STOP, "at": rfc3339(world.kafka.broker_ms())}, ADA)
    world.run_for(0.8)
    assert (api.seen, lane.jobs["r-2"].attempt) == (["t1"], 0)
    for _ in range(15):
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)
    assert dispatch.stop_reasons(lane) == set()
    assert api.seen == ["t1"]
    assert [event["reason"] for event in world.log("outbound-events")] == [None, "consent_withdrawn"]


def test_what_opt_outs_do_not_cover_is_judged_anew(bench: Make) -> None:
    """Too old for what is still known: neither sent nor held for ever nor ended, but back at the gate, once."""
    world, source, api = bench(profile="v1"), Login(), Api("t1")
    source.token = "t1"
    sending(world, source, api)
    world.ctx.optouts._list.forgotten_ms = world.kafka.broker_ms()
    world.deliver(world.ready("r-2", 1))
    world.run_for(0.5)
    assert api.seen == ["t1"]
    assert [request["request_id"] for request in world.log("outbound-requests")] == ["r-2"]
    assert [event["request_id"] for event in world.log("outbound-events")] == ["r-1"]
    assert "r-2" not in world.ctx.lanes[0].jobs
