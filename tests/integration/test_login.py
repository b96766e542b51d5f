"""v1 logins over real sockets against the simulator, and once through a whole pipeline.

The clock that decides about tokens is the test's: days and halts pass when it says so.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest
from structlog.testing import capture_logs

from pipeline.config import Settings
from pipeline.sender.access import Access
from pipeline.sender.login import RENEWALS
from pipeline.sender.logins import Logins
from pipeline.sender.outcomes import TOKEN_RETRY_S
from pipeline.sender.scopes import scopes_of
from pipeline.simulator.server import Simulator, start_simulator
from pipeline.simulator.settings import SimulatorSettings
from pipeline.whatsapp.answer import Kind, classify
from pipeline.whatsapp.client import Answer, Client, LastCheck, RequestFailed
from tests.support.campaign import Ids, campaign, people
from tests.support.world import NUMBER, World

OTHER: Final = "200000000000002"
USER, PASSWORD = "admin", "s3cret-of-the-login"
DAY_S = 86_400.0
WAIT_S = 20.0


class Watched(Client):
    """The real client; tells of each login that was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.logins: asyncio.Queue[int] = asyncio.Queue()

    async def post(self, url: str, headers: dict[str, str], body: bytes, check: LastCheck) -> Answer:
        """As the real one."""
        is_login, status = url.endswith("/v1/users/login"), 0
        try:
            answer = await super().post(url, headers, body, check)
            status = answer.status
        finally:
            if is_login:
                self.logins.put_nowait(status)
        return answer


class Stand:
    """Two numbers with one login, at a simulator.

    Attributes:
        tokens: Gets a number each time that it has another token.
    """

    def __init__(self, base_url: str, password: Path) -> None:
        self.base_url, self.password = base_url, password
        self.passed_s = 0.0
        self.client, self.access = Watched(), Access()
        self.tokens: asyncio.Queue[str] = asyncio.Queue()
        self.access.on_change = self.tokens.put_nowait
        own = {
            "business": "acme", "profile": "v1", "base_url": base_url, "login_user": USER,
            "login_password_file": password,
        }  # fmt: skip
        numbers = {number: {**own, "partitions": [lane]} for lane, number in enumerate((NUMBER, OTHER))}
        settings = Settings.model_validate({"numbers": numbers})
        scopes = scopes_of(settings.numbers)
        self.host = scopes[NUMBER].host
        logins = Logins(
            settings, self.access, self.client, scopes,
            lambda _base_url: 0.0, lambda: time.monotonic() + self.passed_s, lambda: time.time() + self.passed_s,
        )  # fmt: skip
        self._logins = list(logins.tasks.values())
        self._running = logins.start(lambda _task: None)

    async def close(self) -> None:
        """End it."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.client.close()

    def passes(self, seconds: float) -> None:
        """Let so much time pass for the logins."""
        self.passed_s += seconds
        for login in self._logins:
            login._look.set()

    async def token(self) -> None:
        """Wait until both numbers have another token."""
        for _ in (NUMBER, OTHER):
            await asyncio.wait_for(self.tokens.get(), WAIT_S)

    async def login(self) -> int:
        """Wait for the answer to a login; its status, 0: there was none."""
        return await asyncio.wait_for(self.client.logins.get(), WAIT_S)

    async def send(self, number: str) -> Kind:
        """Post a message as a sender does."""
        endpoint = self.access.endpoint(number)
        body = orjson.dumps({"to": "15550109999", "type": "text", "text": {"body": "hi"}})
        answer = await self.client.post(endpoint.url, endpoint.headers, body, lambda: None)
        outcome = classify(answer.status, answer.headers, answer.body, time.time())
        return self.access.judged(number, endpoint, outcome).kind

    async def control(self, **asked: Any) -> None:
        """Change something at the simulator."""
        async with aiohttp.ClientSession() as session:
            url = f"{self.base_url}/_simulator/control"
            async with session.post(url, data=orjson.dumps(asked)) as answer:
                assert answer.status == 200, await answer.text()


def logins_at(simulator: Simulator) -> list[int]:
    """The status of each login in the simulator's ledger."""
    rows = [orjson.loads(line) for line in simulator.referee.ledger.lines(0, len(simulator.referee.ledger))]
    return [row["status"] for row in rows if row["to"] == "/v1/users/login"]


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """The file with the right password."""
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator that knows the user."""
    running = await start_simulator(SimulatorSettings(logins={USER: PASSWORD}))
    yield running
    await running.stop()


@pytest.fixture
async def stand(simulator: Simulator, password: Path) -> AsyncIterator[Stand]:
    """Two numbers that have just begun to log in."""
    made = Stand(simulator.url, password)
    yield made
    await made.close()


async def test_two_numbers_share_one_token(stand: Stand, simulator: Simulator) -> None:
    """Nothing goes before the login; then one login serves both numbers, and nobody else gets in."""
    assert not stand.access.is_ready(NUMBER)
    assert await stand.send(NUMBER) is Kind.TOKEN_SPENT, "no token is no right token"
    await stand.token()
    assert [await stand.send(number) for number in (NUMBER, OTHER)] == [Kind.ACCEPTED, Kind.ACCEPTED]
    assert logins_at(simulator) == [200]


async def test_a_token_is_renewed_early(stand: Stand, simulator: Simulator) -> None:
    """By the end that the answer names: not within six days, but a day before the token is refused."""
    await stand.token()
    stand.passes(5.99 * DAY_S)
    assert await stand.send(NUMBER) is Kind.ACCEPTED
    assert logins_at(simulator) == [200]
    stand.passes(0.02 * DAY_S)
    await stand.token()
    assert await stand.send(NUMBER) is Kind.ACCEPTED
    assert logins_at(simulator) == [200, 200]


async def test_a_token_that_runs_out_costs_one_login(stand: Stand, simulator: Simulator) -> None:
    """Forty requests of both numbers are refused at once: one login, and all go with the new token."""
    await stand.token()
    await stand.control(expire_tokens=True)
    crowd = [stand.send(number) for number in (NUMBER, OTHER) for _ in range(20)]
    assert set(await asyncio.gather(*crowd)) == {Kind.TOKEN_SPENT}
    await stand.token()
    assert stand.access.is_ready(NUMBER)
    again = [stand.send(number) for number in (NUMBER, OTHER) for _ in range(20)]
    assert set(await asyncio.gather(*again)) == {Kind.ACCEPTED}
    assert logins_at(simulator) == [200, 200]


async def test_a_wrong_password_makes_no_storm(stand: Stand, simulator: Simulator, password: Path) -> None:
    """Refused requests and wrong passwords lead to a login per halt's probe; the right password is found by itself."""
    await stand.token()
    with capture_logs() as lines:
        await stand.control(settings={"logins": {USER: "another"}}, expire_tokens=True)
        crowd = [stand.send(NUMBER) for _ in range(20)]
        assert set(await asyncio.gather(*crowd)) == {Kind.TOKEN_SPENT}
        assert [await stand.login(), await stand.login()] == [200, 401]
        for _ in range(3):
            stand.passes(TOKEN_RETRY_S - 2.0)
            assert not stand.access.is_ready(NUMBER)
            assert await stand.send(NUMBER) is Kind.TOKEN_SPENT
            stand.passes(3.0)
            assert await stand.login() == 401
        assert logins_at(simulator) == [200, 401, 401, 401, 401]
        password.write_text("another")
        stand.passes(TOKEN_RETRY_S + 1.0)
        await stand.token()
    assert await stand.send(NUMBER) is Kind.ACCEPTED
    assert {line["event"] for line in lines} == {"login_refused", "logged_in"}
    assert "correct login_user" in lines[0]["remedy"]
    assert PASSWORD not in str(lines)
    assert stand.access.endpoint(NUMBER).headers["Authorization"].split()[1] not in str(lines)


async def test_tokens_that_run_out_at_once_make_no_storm(stand: Stand, simulator: Simulator) -> None:
    """A host that forgets each token as soon as it gave it is asked `RENEWALS.burst` times, then the number halts."""
    await stand.token()
    kinds = []
    for _ in range(10):
        await stand.control(expire_tokens=True)
        kinds.append(await stand.send(NUMBER))
        if stand.access.is_ready(NUMBER):
            continue
        await stand.token()
    assert kinds == [Kind.TOKEN_SPENT] + [Kind.UNAUTHORISED] * 9
    assert len(logins_at(simulator)) == 1 + RENEWALS.burst


async def test_a_start_while_the_api_is_away(password: Path) -> None:
    """The start does not fail; the host is halted until it is there, and the login that finds it frees it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    stand = Stand(f"http://127.0.0.1:{port}", password)
    try:
        assert await stand.login() == 0
        began_s = stand.host.halt.since_s
        assert began_s is not None
        assert not stand.access.is_ready(NUMBER)
        with pytest.raises(RequestFailed):
            await stand.send(NUMBER)
        simulator = await start_simulator(SimulatorSettings(logins={USER: PASSWORD}, port=port))
        try:
            stand.passes(60.0)
            await stand.token()
            assert not stand.host.halt.is_halted(began_s + 120.0)
            assert await stand.send(NUMBER) is Kind.ACCEPTED
        finally:
            await simulator.stop()
    finally:
        await stand.close()


# -- through a whole pipeline ------------------------------------------------------------------------------------------
@pytest.fixture
def world(kafka: str, tmp_path: Path, password: Path) -> Iterator[World]:
    """A gate, and a sender with two numbers of one login."""
    login = {"profile": "v1", "login_user": USER, "login_password_file": str(password)}
    with World(kafka, tmp_path, numbers={NUMBER: login, OTHER: login}, partitions=2) as running:
        # Requests with a token of a login count for its user: both numbers together.
        limit = {USER: {"rate_per_s": 1000, "burst": 1000}}
        running.api.control(settings={"logins": {USER: PASSWORD}, "senders": limit})
        running.spawn("gate")
        running.spawn("sender")
        running.ready()
        running.grant(people(20))
        yield running


def test_messages_go_on_when_all_tokens_run_out(world: World, tmp_path: Path) -> None:
    """Amid a campaign of two numbers every token is revoked: two logins, each message once and in order."""
    requests = campaign(400, [NUMBER, OTHER], people(20), Ids())
    world.produce(requests)
    world.until_taken(100, timeout_s=60)
    world.api.control(expire_tokens=True)
    world.until_terminal(requests, timeout_s=60)
    verdict = world.judge(requests)
    assert verdict.problems() == []
    assert verdict.types == {"queued": len(requests), "accepted": len(requests)}
    rows = world.api.ledger()
    assert [row["status"] for row in rows if row["to"] == "/v1/users/login"] == [200, 200]
    assert sum(row["status"] == 401 for row in rows) >= 1
    logs = (tmp_path / "sender.log").read_text()
    assert "logged_in" in logs
    assert PASSWORD not in logs
