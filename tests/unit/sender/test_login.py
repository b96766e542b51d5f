"""A login in virtual time: when it goes, what it obeys, what it halts, and what it never does too often."""

from __future__ import annotations

import itertools
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import orjson
import pytest
from structlog.testing import capture_logs

from pipeline.config import Login
from pipeline.errors import ConfigError, NotSent
from pipeline.redaction import HIDDEN
from pipeline.sender.login import LOOK_DUE_S_MAX, RENEWALS, LoginTask, login_bucket
from pipeline.sender.outcomes import TOKEN_RETRY_S
from pipeline.sender.scopes import Scope
from pipeline.throttle.bucket import Bucket
from pipeline.throttle.halt import Wait
from pipeline.whatsapp.client import Answer, Client, LastCheck, RequestFailed
from pipeline.whatsapp.profiles import OTHER_ENDPOINTS_LIMIT
from tests.unit.sender.making import Bench, Make

DAY_S = 86_400.0
UNIX_S = 1_795_341_600.0
HOST, USER = "https://waba.example", "admin"
Script = Callable[[], Answer | Exception]


def granted(serial: int = 1) -> Answer:
    """A token of the default life."""
    return Answer(200, {}, orjson.dumps({"users": [{"token": f"HUSH-{serial}"}]}))


def error(status: int, code: int | None = None, **headers: str) -> Answer:
    """An error as v1 writes it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, orjson.dumps({"errors": [{"code": code, "title": "no"}]}))


class Host(Client):
    """An API that answers by a script.

    Attributes:
        logins: When each login was written.
        takes_s: How long an answer takes.
        now: What it answers.
    """

    def __init__(self, world: Bench) -> None:
        self._world = world
        self.logins: list[float] = []
        self.authorisations: list[str] = []
        self.takes_s = 0.1
        self.serial = itertools.count(1)
        self.now: Script = lambda: granted(next(self.serial))

    async def post(self, url: str, headers: dict[str, str], body: bytes, check: LastCheck) -> Answer:
        """Check and write in one step, answer later."""
        assert url == f"{HOST}/v1/users/login"
        answer = self.now()
        if isinstance(answer, RequestFailed) and not answer.written:
            raise answer
        refused = check()
        if refused is not None:
            raise NotSent(refused)
        self.logins.append(self._world.now_s)
        self.authorisations.append(headers["Authorization"])
        done = self._world.loop.create_future()
        self._world.loop.call_later(self.takes_s, done.set_result, None)
        await done
        if isinstance(answer, Exception):
            raise answer
        return answer


class Stand:
    """One host and its logins.

    Attributes:
        tokens: What numbers have got, in this order.
        sister_s: How long another process's halt of the host holds.
    """

    def __init__(self, world: Bench) -> None:
        self.world, self.host, self.scope = world, Host(world), Scope(word="overloaded")
        self.bucket = login_bucket(world.now_s)
        self.tokens: list[str | None] = []
        self.password: str | Exception = "s3cret"
        self.sister_s = 0.0
        self.task = self.user(USER)

    def user(self, name: str) -> LoginTask:
        """A login of this host that begins now."""
        task = LoginTask(
            cast("Client", self.host), Login(HOST, name), ["1"], self._read, host=self.scope, bucket=self.bucket,
            sister_wait_s=lambda: self.sister_s, steady_s=lambda: self.world.now_s,
            unix_s=lambda: UNIX_S + self.world.now_s,
        )  # fmt: skip
        task.on_token = lambda: self.tokens.append(task.token)
        running = self.world.loop.create_task(task.run())
        running.add_done_callback(lambda done: self.world.crashes.append(done.exception() or AssertionError("ended")))
        return task

    def _read(self) -> str:
        if isinstance(self.password, Exception):
            raise self.password
        return self.password

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between the logins."""
        return [later - earlier for earlier, later in itertools.pairwise(self.host.logins)]


@pytest.fixture
def stand(bench: Make) -> Stand:
    """A stand whose clock shows some time after its start."""
    world = bench(profile="v1", follows=False)
    world.pass_by(1000.0)
    return Stand(world)


def test_a_token_comes_at_once_and_is_renewed_after_six_days(stand: Stand) -> None:
    """One login at the start, the next one a day before the token's end, and so on."""
    stand.world.run_for(5.9 * DAY_S)
    assert (stand.tokens, len(stand.host.logins)) == (["HUSH-1"], 1)
    stand.world.run_for(0.2 * DAY_S)
    assert stand.tokens == ["HUSH-1", "HUSH-2"]
    assert stand.task.token == "HUSH-2"
    assert stand.gaps_s[0] == pytest.approx(6 * DAY_S, rel=1e-3)


def test_a_renewal_that_fails_keeps_the_token(stand: Stand) -> None:
    """A day is left for logins that fail; the token is good until then."""
    stand.world.run_for(1.0)
    stand.host.now = lambda: error(500)
    stand.world.run_for(6.5 * DAY_S)
    assert stand.task.token == "HUSH-1"
    stand.host.now = lambda: granted(7)
    stand.world.run_for(61.0)
    assert stand.tokens == ["HUSH-1", "HUSH-7"]


def test_requests_that_are_refused_together_lead_to_one_login(stand: Stand) -> None:
    """However many ask while a login is due or under way, one goes."""
    stand.world.run_for(1.0)
    for _ in range(50):
        assert stand.task.renew()
    stand.world.run_for(0.05)
    assert stand.task.renew(), "the login is under way"
    stand.world.run_for(5.0)
    assert len(stand.host.logins) == 2
    assert stand.tokens == ["HUSH-1", "HUSH-2"]


def test_tokens_that_are_refused_again_and_again_make_no_storm(stand: Stand) -> None:
    """For an hour each new token is refused at once: the logins keep to `RENEWALS`, then refusals are told to halt."""
    stand.world.run_for(1.0)
    answers = []
    for _ in range(3600):
        answers.append(stand.task.renew())
        stand.world.run_for(1.0)
    assert len(stand.host.logins) <= 1 + RENEWALS.burst + 3600 * RENEWALS.rate_per_s
    assert len(stand.host.logins) > 100
    assert answers[:3] == [True, True, False]


@pytest.mark.parametrize(
    ("answer", "words"), [(error(401, 1005), "correct login_user"), (error(403, 1024), "new_password")]
)
def test_a_wrong_password_is_told_and_tried_at_a_probes_pace(stand: Stand, answer: Answer, words: str) -> None:
    """An operator reads what to do; for an hour there is a login per 30 s at most; the right password is found anew."""
    stand.host.now = lambda: answer
    with capture_logs() as lines:
        stand.world.run_for(3600.0)
        stand.task.renew()  # nobody makes it faster
        stand.world.run_for(1.0)
    assert min(stand.gaps_s) >= TOKEN_RETRY_S
    assert 100 <= len(stand.host.logins) <= 121
    assert stand.task.token is None
    told = [line for line in lines if line["event"] == "login_refused"]
    assert len(told) == len(stand.host.logins)
    assert {line["log_level"] for line in told} == {"error"}
    assert words in told[0]["remedy"]
    assert not stand.scope.halt.is_halted(stand.world.now_s), "the host is there"
    stand.host.now, stand.password = granted, "new"
    stand.world.run_for(TOKEN_RETRY_S + 1.0)
    assert stand.tokens == ["HUSH-1"]
    assert stand.host.authorisations[-1] != stand.host.authorisations[0]
    assert "s3cret" not in str(lines)


def test_a_password_that_cannot_be_read_waits_for_its_file(stand: Stand) -> None:
    """The file is missing while it is replaced: no login, an error that names it, and on it goes."""
    stand.password = ConfigError("numbers.1.login_password_file: /run/x: cannot be read")
    with capture_logs() as lines:
        stand.world.run_for(100.0)
    assert stand.host.logins == []
    [first, *others] = [line for line in lines if line["event"] == "login_impossible"]
    assert "login_password_file" in first["error"]
    assert len(others) <= 3
    stand.password = "s3cret"
    stand.world.run_for(TOKEN_RETRY_S + 1.0)
    assert stand.tokens == ["HUSH-1"]


@pytest.mark.parametrize(
    "answer", [error(503, 1016), error(503), RequestFailed(ConnectionRefusedError(), written=False)]
)
def test_an_overloaded_host_is_halted_and_probed_by_the_login(stand: Stand, answer: Answer | Exception) -> None:
    """A 503, or nobody there, halts the host for everybody; the login is its probe, and frees it."""
    stand.host.now = lambda: answer
    stand.world.run_for(0.5)
    assert stand.scope.halt.is_halted(stand.world.now_s)
    assert stand.scope.word == "overloaded"
    stand.world.run_for(60.0)
    assert stand.task.token is None
    assert len(stand.host.logins) <= 40
    stand.host.now = granted
    stand.world.run_for(10.0)
    assert stand.tokens == ["HUSH-1"]
    assert not stand.scope.halt.is_halted(stand.world.now_s)
    assert stand.scope.ended_s > 1000.0


def test_a_login_obeys_the_halt_of_its_host(stand: Stand) -> None:
    """Nothing is posted while a halt waits; when a probe may go, the login is one."""
    stand.scope.halt.refused(stand.world.now_s, 40.0, 0.0)
    stand.world.run_for(39.0)
    assert stand.host.logins == []
    stand.world.run_for(2.0)
    assert stand.tokens == ["HUSH-1"]
    assert not stand.scope.halt.is_halted(stand.world.now_s)


def test_one_probe_at_a_time(stand: Stand) -> None:
    """While a message probes the host, the login waits for its end."""
    stand.scope.halt.refused(stand.world.now_s, None, 0.0)
    stand.world.pass_by(1.0)
    stand.scope.halt.probing(stand.world.now_s)
    stand.world.run_for(5.0)
    assert stand.host.logins == []
    stand.scope.halt.accepted(stand.world.now_s)
    stand.world.run_for(LOOK_DUE_S_MAX + 0.1)
    assert len(stand.host.logins) == 1


def test_the_login_is_the_only_probe_while_it_is_one(stand: Stand) -> None:
    """While it waits for its answer, no message may probe the host, too."""
    stand.scope.halt.refused(stand.world.now_s, None, 0.0)
    stand.host.takes_s = 5.0
    stand.world.run_for(3.0)
    assert len(stand.host.logins) == 1
    assert isinstance(stand.scope.halt.state(stand.world.now_s), Wait)


def test_a_halt_that_comes_on_the_way_stops_the_write(stand: Stand) -> None:
    """A message met a 503 while the login was connecting: the login does not leave, and comes when the halt allows."""

    def halted_meanwhile() -> Answer:
        stand.scope.halt.refused(stand.world.now_s, 10.0, 0.0)
        stand.host.now = granted
        return granted()

    stand.host.now = halted_meanwhile
    stand.world.run_for(9.5)
    assert stand.host.logins == []
    stand.world.run_for(2.0)
    assert stand.tokens == ["HUSH-1"]


@pytest.mark.parametrize("is_over", [False, True], ids=["the spell lasts", "the spell is over"])
def test_an_answer_to_what_was_written_before_says_nothing_about_a_spell(stand: Stand, is_over: bool) -> None:
    """A login that left before a spell neither ends it by its token nor begins it anew by its 503."""
    stand.host.takes_s = 3.0
    stand.host.now = (lambda: error(503)) if is_over else granted
    stand.world.run_for(1.0)
    assert len(stand.host.logins) == 1
    stand.scope.halt.refused(stand.world.now_s, 20.0, 0.0)
    if is_over:
        stand.world.run_for(1.0)
        stand.scope.halt.accepted(stand.world.now_s)
        stand.scope.ended_s = stand.world.now_s
    stand.world.run_for(2.5 if not is_over else 1.2)
    assert stand.scope.halt.is_halted(stand.world.now_s) is not is_over


def test_a_login_obeys_what_other_processes_tell(stand: Stand) -> None:
    """Another process has halted the host: this one's login waits for that, unless it was refused itself."""
    stand.sister_s = 5.0
    stand.world.run_for(20.0)
    assert stand.host.logins == []
    stand.scope.halt.refused(stand.world.now_s, None, 0.0)
    stand.world.run_for(2.0)
    assert stand.tokens == ["HUSH-1"], "it is the probe"


def test_a_throttled_login_waits_as_asked_and_halts_nobody(stand: Stand) -> None:
    """The limit of logins is theirs alone: messages go on."""
    stand.host.now = lambda: error(429, 1015, Retry_After="20")
    with capture_logs() as lines:
        stand.world.run_for(19.0)
    assert len(stand.host.logins) == 1
    assert not stand.scope.halt.is_halted(stand.world.now_s)
    assert [line["event"] for line in lines] == ["login_failed"]
    stand.host.now = granted
    stand.world.run_for(5.0)
    assert stand.tokens == ["HUSH-1"]


def test_a_login_without_an_answer_is_made_again(stand: Stand) -> None:
    """A lost answer leaves the host open, if it was no probe, and the next login gives a token."""
    stand.host.now = lambda: RequestFailed(TimeoutError("no answer"), written=True)
    stand.world.run_for(0.3)
    assert not stand.scope.halt.is_halted(stand.world.now_s)
    stand.host.now = granted
    stand.world.run_for(2.0)
    assert stand.tokens == ["HUSH-1"]


def test_a_probe_without_an_answer_lets_another_go(stand: Stand) -> None:
    """A login that was the host's probe and got no answer does not hold the host's probes up."""
    stand.scope.halt.refused(stand.world.now_s, None, 0.0)
    stand.host.now = lambda: RequestFailed(TimeoutError("no answer"), written=True)
    stand.world.run_for(2.0)
    assert len(stand.host.logins) > 1
    assert stand.scope.halt.is_halted(stand.world.now_s)


def test_logins_of_one_host_share_a_bucket_that_starts_empty(stand: Stand) -> None:
    """A hundred users at once stay within the limit of such calls, whatever the process before this one has spent."""
    for number in range(99):
        stand.user(f"user-{number}")
    rate_per_s, _ = OTHER_ENDPOINTS_LIMIT
    began_s = stand.world.now_s
    stand.world.run_for(2.0)
    assert len(stand.host.logins) <= 2.0 * rate_per_s
    assert min(stand.host.logins) >= began_s + 1 / rate_per_s - 1e-6
    stand.world.run_for(8.0)
    assert len(stand.tokens) == 100


def test_the_bucket_has_the_limit_of_other_endpoints() -> None:
    """20 per second, 60 at once, as every v1 endpoint but messages has (360dialog, "Before sending a message")."""
    bucket: Bucket = login_bucket(5.0)
    assert (bucket.limit.rate_per_s, bucket.limit.burst, bucket.tokens(5.0)) == (20.0, 60.0, 0.0)


def test_no_log_line_holds_a_secret(stand: Stand) -> None:
    """Neither password nor token is in any line, whatever the API answers."""
    answers: list[Any] = [
        granted(), Answer(200, {}, b'{"token":"HUSH"}'), Answer(500, {}, b"password: s3cret-4711"), error(401, 1005),
    ]  # fmt: skip
    with capture_logs() as lines:
        for answer in answers:
            stand.host.now = partial(next, itertools.repeat(answer))
            stand.task.renew()
            stand.world.run_for(120.0)
    assert {line["event"] for line in lines} == {"logged_in", "login_failed", "login_refused"}
    assert not [line for line in lines if "HUSH" in str(line) or "s3cret" in str(line)]


def test_what_a_host_says_back_is_hidden(stand: Stand) -> None:
    """A refusal that quotes the login's header is logged without it."""
    stand.password = "a password"
    basic = b64encode(f"{USER}:{stand.password}".encode()).decode()
    body = {"errors": [{"code": 1005, "title": f"cannot read {basic}"}]}
    stand.host.now = lambda: Answer(401, {}, orjson.dumps(body))
    with capture_logs() as lines:
        stand.world.run_for(5.0)
    [line] = [line for line in lines if line["event"] == "login_refused"]
    assert line["detail"] == f"cannot read {HIDDEN}"
