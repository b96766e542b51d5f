"""A number sends only when all is in order; its own look at the API; what an operator lifts."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

import orjson
import pytest
from structlog.testing import capture_logs

from pipeline.clock import rfc3339
from pipeline.sender.access import FixedToken
from pipeline.sender.looks import Looks
from pipeline.sender.preflight import PATIENCE_S, Preflight
from pipeline.whatsapp.client import Answer, RequestFailed
from pipeline.whatsapp.profiles import PROFILES
from tests.support.sender_kafka import BASE_MS
from tests.support.sender_plan import BASE_URL
from tests.support.sender_values import NUMBER
from tests.unit.sender.making import Bench, Make
from tests.unit.sender.sending import RECENT_MS, Api, Sender

ACCOUNT = "300000000000001"
DENIED = Answer(401, {}, b'{"error":{"code":190,"message":"expired"}}')
GREEN = Answer(200, {}, b'{"quality_rating":"GREEN","throughput":{"level":"STANDARD"},"id":"1"}')
NO_FIELD = Answer(400, {}, b'{"error":{"code":100,"message":"no such field"}}')
NOT_THERE = Answer(404, {}, b"404 page not found")
KEY = f"number:{NUMBER}/preflight"
SILENT = RequestFailed(TimeoutError("slow"), written=True)


class LookApi(Api):
    """An API that takes all messages and answers looks as a test says; at the end the last answer holds.

    Attributes:
        looks: (URL, token) of each look.
    """

    def __init__(self, *looked: Answer | Exception | asyncio.Future[Any]) -> None:
        super().__init__()
        self._looked = list(looked)
        self.looks: list[tuple[str, str]] = []

    async def get(self, url: str, headers: dict[str, str]) -> Answer:
        """The next answer."""
        self.looks.append((url, headers["Authorization"].removeprefix("Bearer ")))
        answer = self._looked.pop(0) if len(self._looked) > 1 else self._looked[0]
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return cast("Answer", answer)


class Stand:
    """A sender with a message that is ready to go, as soon as its number may.

    Attributes:
        tokens: What the number's token file holds.
    """

    def __init__(self, world: Bench, *looked: Answer | Exception | asyncio.Future[Any], **policy: bool) -> None:
        self.world, self.tokens = world, ["t1"]
        numbers = {NUMBER: world.settings.numbers[NUMBER].model_copy(update={"account": ACCOUNT})}
        policies = world.settings.policy.model_copy(update=policy)
        world.ctx.settings = world.settings.model_copy(update={"numbers": numbers, "policy": policies})
        world.ctx.preflight = Preflight(world.ctx.settings, world.ctx.account, world.ctx.access)
        self.api = LookApi(*(looked or (GREEN,)))
        self.lane = world.opened()
        self._sender = Sender(world, self.api)
        locate = partial(PROFILES["cloud"].endpoint, BASE_URL, NUMBER)
        world.ctx.access.add(NUMBER, locate, FixedToken(NUMBER, lambda: self.tokens[-1]))
        world.run_for(10.0)  # until there are tokens of the bucket, and opt-outs are read
        world.deliver(world.ready(source_ms=RECENT_MS))

    def looks(self) -> Looks:
        """Begin to look."""
        world, ends = self.world, lambda _task: None
        looks = Looks(world.ctx, lambda _number: world.scheduling.wake(self.lane), ends)
        world.ctx.access.on_change = looks.renewed

        async def begin() -> None:
            looks.follow({NUMBER})

        world.run(begin())
        return looks

    def state(self, key: str, **fields: Any) -> None:
        """Somebody writes to `account-state`."""
        self.world.kafka.write("account-state", fields, key)
        self.world.run_for(0.6)

    def stop(self) -> str | None:
        """Why the number sends nothing."""
        now_ms = self.world.ctx.unix_ms()
        stop = self.world.ctx.preflight.stop(NUMBER, self.world.now_s, now_ms)
        last_word = self._sender.dispatch.stop_reasons(self.lane)
        assert last_word == ({stop} if stop else set())
        return stop

    def sent_within(self, seconds: float) -> int:
        """Messages that were posted by then."""
        self.world.run_for(seconds)
        return len(self.api.posts)

    def told(self) -> list[dict[str, Any]]:
        """What was written of the looks."""
        log = self.world.log("account-state")
        return [value for value in log if value.get("aspect") == "preflight" and value.get("by") == "host/1"]


# -- rules -------------------------------------------------------------------------------------------------------------
def test_nothing_goes_before_the_templates_were_synced(bench: Make) -> None:
    """A number of an account whose templates were never synced stands still with `preflight`, until they are."""
    stand = Stand(bench(), require_templates=True)
    assert stand.sent_within(2.0) == 0
    assert stand.stop() == "preflight"
    stand.state("account:299/templates", kind="account", id="299", aspect="templates", templates=3)
    assert stand.stop() == "preflight", "those of another account"
    stand.state(f"account:{ACCOUNT}/templates", kind="account", id=ACCOUNT, aspect="templates", templates=3)
    assert stand.sent_within(1.0) == 1


def test_nothing_goes_before_the_webhook_was_verified(bench: Make) -> None:
    """Without an authentic webhook the number stands still with `webhook`."""
    stand = Stand(bench())
    stand.state(f"number:{NUMBER}/webhook", kind="number", id=NUMBER, aspect="webhook", verified=False)
    assert stand.stop() == "webhook"


# -- the look ----------------------------------------------------------------------------------------------------------
def test_a_refused_token_stops_the_number_before_any_message(bench: Make) -> None:
    """A look that is refused with 401/190 stops the number with `token`; a new token is looked at, then it goes on."""
    stand = Stand(bench(), DENIED, DENIED, GREEN)
    stand.world.deliver(stand.world.ready("r-2", 1, source_ms=RECENT_MS, recipient="15550107777"))
    stand.looks()
    assert stand.sent_within(20.0) == 0, "no message was spent on it"
    assert stand.stop() == "token"
    assert [(value["token"], value["detail"]) for value in stand.told()] == [("refused", "expired")]
    stand.tokens.append("t2")
    assert stand.sent_within(40.0) == 2, "the file was read again by the next look"
    assert [token for _, token in stand.api.looks] == ["t1", "t1", "t2"]
    assert [value["token"] for value in stand.told()] == ["refused", "accepted"]


def test_a_refused_token_is_looked_at_again_by_itself(bench: Make) -> None:
    """The same token may become good: it is looked at again after 30 s, and the number goes on."""
    stand = Stand(bench(), DENIED, GREEN)
    stand.looks()
    assert stand.sent_within(25.0) == 0
    assert stand.sent_within(10.0) == 1


@pytest.mark.parametrize("answer", [NOT_THERE, Answer(403, {}, b""), Answer(200, {}, b"<html></html>")])
def test_an_api_without_that_endpoint_holds_nothing_up(bench: Make, answer: Answer) -> None:
    """Whoever does not know the endpoint has not refused the token: the message goes at once."""
    stand = Stand(bench(), answer)
    stand.looks()
    assert stand.sent_within(0.5) == 1
    assert [value["token"] for value in stand.told()] == ["unknown"]


def test_a_look_is_waited_for_but_not_for_long(bench: Make) -> None:
    """While nothing answers the number says `preflight`, for two seconds; then a message finds out."""
    world = bench()
    stand = Stand(world, world.loop.create_future())
    stand.looks()
    assert stand.sent_within(PATIENCE_S - 0.5) == 0
    assert stand.stop() == "preflight"
    assert stand.sent_within(1.0) == 1


def test_a_look_without_an_answer_is_repeated(bench: Make) -> None:
    """Each further one takes twice as long to come as the last, and the first answer counts."""
    stand = Stand(bench(), SILENT, SILENT, SILENT, DENIED)
    stand.looks()
    stand.world.run_for(2.9)
    assert len(stand.api.looks) == 2
    stand.world.run_for(4.2)
    assert len(stand.api.looks) == 4
    assert stand.stop() == "token"


def test_who_was_accepted_before_waits_for_no_look(bench: Make) -> None:
    """The next owner of a lane does not wait for its own look if one of its predecessors' was accepted."""
    world = bench()
    stand = Stand(world, world.loop.create_future())
    stand.state(KEY, kind="number", id=NUMBER, aspect="preflight", token="accepted")
    stand.looks()
    assert stand.sent_within(0.5) == 1


def test_a_field_that_is_not_known_is_left_out(bench: Make) -> None:
    """An older version of the API is asked again at once, for what every version has."""
    stand = Stand(bench(), NO_FIELD, GREEN)
    stand.looks()
    stand.world.run_for(0.5)
    assert [url.rpartition("=")[2].count(",") for url, _ in stand.api.looks] == [2, 1]
    assert (stand.told()[-1]["token"], stand.told()[-1]["quality"]) == ("accepted", "GREEN")


def test_a_look_comes_every_hour_and_is_told_when_something_changed(bench: Make) -> None:
    """Quality and tier are looked at again each hour."""
    limited = orjson.dumps({"quality_rating": "RED", "whatsapp_business_manager_messaging_limit": "TIER_250"})
    stand = Stand(bench(), GREEN, Answer(200, {}, limited))
    stand.looks()
    stand.world.run_for(3605.0)
    assert len(stand.api.looks) == 2
    assert [(value["quality"], value["tier"]) for value in stand.told()] == [("GREEN", None), ("RED", "TIER_250")]


def test_a_number_whose_lane_is_gone_is_looked_at_no_more(bench: Make) -> None:
    """Looks end with the lanes."""
    stand = Stand(bench(), SILENT)
    looks = stand.looks()
    stand.world.run_for(0.5)

    async def leave() -> None:
        looks.follow(())

    stand.world.run(leave())
    before = len(stand.api.looks)
    stand.world.run_for(100.0)
    assert len(stand.api.looks) == before


# -- overrides ---------------------------------------------------------------------------------------------------------
def override(stand: Stand, *checks: str, for_s: float = 60.0) -> None:
    """An operator lifts checks."""
    until = rfc3339(BASE_MS + int((stand.world.now_s + for_s) * 1000))
    stand.state(
        f"number:{NUMBER}/override", kind="number", id=NUMBER, aspect="override", checks=list(checks),
        reason="registry is down", until=until, by="ada",
    )  # fmt: skip


@pytest.mark.parametrize(("check", "reason"), [("webhook", "webhook"), ("templates", "preflight"), ("limits", "token")])
def test_an_override_lifts_one_check_for_a_time(bench: Make, check: str, reason: str) -> None:
    """The named check holds nothing up, no other one is lifted, and it holds again when the time is over."""
    stand = Stand(bench(), DENIED, require_templates=True)
    if check != "templates":
        stand.state(f"account:{ACCOUNT}/templates", kind="account", id=ACCOUNT, aspect="templates", templates=3)
    if check == "webhook":
        stand.state(f"number:{NUMBER}/webhook", kind="number", id=NUMBER, aspect="webhook", verified=False)
    if check == "limits":
        stand.looks()
    stand.world.run_for(1.0)
    override(stand, *({"webhook", "templates", "limits"} - {check}))
    assert stand.stop() == reason
    override(stand, check)
    assert stand.stop() is None
    assert stand.sent_within(1.0) == 1
    stand.world.run_for(60.0)
    assert stand.stop() == reason


def test_overrides_are_logged_when_they_are_known_changed_and_over(bench: Make) -> None:
    """One line each, with checks, reason, end and author."""
    stand = Stand(bench())
    with capture_logs() as logs:
        override(stand, "templates")
        stand.world.run_for(10.0)
        override(stand, "webhook", for_s=20.0)
        stand.world.run_for(30.0)
    said = [line for line in logs if line["event"].startswith("preflight_override")]
    assert [(line["event"], line.get("checks"), line.get("by")) for line in said] == [
        ("preflight_override", ["templates"], "ada"),
        ("preflight_override", ["webhook"], "ada"),
        ("preflight_override_ended", None, None),
    ]
    assert said[0]["reason"] == "registry is down"


def test_an_override_that_cannot_be_read_lifts_nothing(bench: Make) -> None:
    """No end, no list: the checks hold."""
    stand = Stand(bench(), require_templates=True)
    for fields in ({"checks": ["templates"], "until": "soon"}, {"checks": "templates", "until": rfc3339(BASE_MS * 2)}):
        stand.state(f"number:{NUMBER}/override", **fields)
        assert stand.stop() == "preflight"


def test_what_a_look_finds_in_between_stops_the_write(bench: Make) -> None:
    """A token refused after a message was chosen is seen by its last checks."""
    stand = Stand(bench())

    async def refuse() -> None:
        stand.world.ctx.preflight.refused(NUMBER, stand.world.ctx.access.endpoint(NUMBER))

    stand.api.before = refuse
    assert stand.sent_within(1.0) == 0
    assert stand.api.refused == ["access"]
