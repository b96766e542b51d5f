"""Lists of templates read from the simulator over real sockets: pages of each profile, throttles, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.cli.template_listing import Lister, Listing, ListingFailed, Source, open_session
from pipeline.config import NumberSettings
from pipeline.simulator.templates import State
from pipeline.whatsapp import template_listing
from pipeline.whatsapp.template_shape import misfits, shape_of
from tests.support.simulator_client import Api, Start

ACCOUNT, NUMBER, COUNT = "300000000000001", "200000000000001", 7
TOKEN = "t0ken-of-the-number"
TEMPLATES = [
    {"name": f"t_{n}", "language": "de" if n % 2 else "en_US", "body": ["text"] * n, "category": "marketing"}
    for n in range(COUNT)
]
PASSING = {"kind": "429", "for_s": 60, "since": "now", "everywhere": True}


class Reading:
    """Reads lists; waits are noted and not waited for.

    Attributes:
        waits: Seconds that it would have waited.
        told: Progress as it was told.
        before_wait: Called before each wait.
    """

    def __init__(self, api: Api, folder: Path) -> None:
        self.api, self._folder = api, folder
        self.waits: list[float] = []
        self.told: list[tuple[int, int]] = []
        self.before_wait: Callable[[], Any] = lambda: None
        self._stack = AsyncExitStack()

    async def close(self) -> None:
        """Close the connections."""
        await self._stack.aclose()

    async def read(self, profile: str = "cloud", **fields: Any) -> Listing:
        """Read the list of the account through a number of that profile."""
        (self._folder / "token").write_text(TOKEN)
        url = self.api.simulator.url + ("/v24.0" if profile == "cloud" else "")
        own = {"business": "acme", "account": ACCOUNT, "profile": profile, "base_url": url}
        token = {} if "login_user" in fields else {"token_file": self._folder / "token"}
        settings = NumberSettings.model_validate({**own, **token, **fields})
        session = await self._stack.enter_async_context(open_session())

        async def wait(seconds: float) -> None:
            self.waits.append(seconds)
            found = self.before_wait()
            if found is not None:
                await found

        lister = Lister(session, lambda done, total: self.told.append((done, total)), wait)
        return await lister.read(Source(ACCOUNT, NUMBER, settings))


@pytest.fixture
async def reading(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """Start a simulator with seven templates and read from it, three to a page."""
    monkeypatch.setattr(template_listing, "PAGE_TEMPLATES", 3)
    made: list[Reading] = []

    async def make(**settings: Any) -> Reading:
        made.append(Reading(await start(templates=TEMPLATES, **settings), tmp_path))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.mark.parametrize("profile", ["cloud", "360dialog", "v1"])
async def test_every_page_of_every_profile_is_read(reading: Callable[..., Any], profile: str) -> None:
    """Seven templates in three pages, each once, with what a message must give; progress is told page by page."""
    one = await reading(tokens=[TOKEN])
    listing = await one.read(profile)
    assert sorted(listed.name for listed, _ in listing.templates) == [f"t_{n}" for n in range(COUNT)]
    assert (listing.pages, listing.unreadable, [done for done, _ in one.told]) == (3, 0, [3, 6, 7])
    found = {listed.name: listed for listed, _ in listing.templates}
    assert (found["t_1"].language, found["t_2"].language) == ("de", "en_US")
    assert {listed.category for listed in found.values()} == {"MARKETING"}
    given = [{"type": "body", "parameters": [{"type": "text", "text": "x"}] * 2}]
    assert misfits(shape_of(found["t_2"].components or []), given) == []
    assert misfits(shape_of(found["t_3"].components or []), given) != []
    assert one.waits == []


async def test_the_list_says_what_became_of_a_template(reading: Callable[..., Any]) -> None:
    """Status, category and score are those of the moment."""
    one = await reading()
    for change in ({"status": "PAUSED"}, {"quality": "RED"}, {"category": "utility"}):
        assert (await one.api.control({"template": {"name": "t_0", **change}}))[0] == 200
    [listed] = [listed for listed, _ in (await one.read()).templates if listed.name == "t_0"]
    assert (listed.status, listed.quality, listed.category) == ("PAUSED", "RED", "UTILITY")


async def test_a_throttle_is_waited_for_as_long_as_it_asks(reading: Callable[..., Any]) -> None:
    """Retry-After counts; after six tries the command gives up, says so, and ends with 75."""
    one = await reading()
    await one.api.control({"spell": {**PASSING, "retry_after": 7}})
    with pytest.raises(ListingFailed) as failed:
        await one.read()
    assert failed.value.exit_code == 75
    assert one.waits == [7.0] * 5
    assert TOKEN not in str(failed.value)


async def test_what_passes_is_tried_again(reading: Callable[..., Any]) -> None:
    """Two answers 503 without a time to wait, each wait longer than the one before, then the list."""
    one = await reading()
    assert (await one.api.control({"spell": {**PASSING, "kind": "html503"}}))[0] == 200
    one.before_wait = lambda: one.api.control({"clear_spells": True}) if len(one.waits) == 2 else None
    listing = await one.read()
    assert (len(listing.templates), one.waits) == (COUNT, [1.0, 2.0])


async def test_who_is_asked_to_wait_for_long_comes_back_later(reading: Callable[..., Any]) -> None:
    """Nobody sits at a command for an hour: it says how long, and ends with 75."""
    one = await reading()
    await one.api.control({"spell": {**PASSING, "retry_after": 3600}})
    with pytest.raises(ListingFailed, match="asks to wait 3600 s") as failed:
        await one.read()
    assert (failed.value.exit_code, one.waits) == (75, [])


@pytest.mark.parametrize("code", [4, 80007, 80008])
async def test_limits_told_by_code_are_throttles(reading: Callable[..., Any], code: int) -> None:
    """The app's, the account's, and the one of this endpoint, whatever HTTP status they come with."""
    one = await reading()
    await one.api.control({"spell": {**PASSING, "kind": "code", "code": code}})
    one.before_wait = lambda: one.api.control({"clear_spells": True})
    assert len((await one.read()).templates) == COUNT
    assert len(one.waits) == 1


async def test_a_wrong_token_is_told_by_the_number_s_name(reading: Callable[..., Any]) -> None:
    """The message names the setting, and nothing of the token."""
    one = await reading(tokens=["another"])
    with pytest.raises(ListingFailed, match=f"check the token of numbers.{NUMBER}") as failed:
        await one.read()
    assert failed.value.exit_code == 65
    assert TOKEN not in str(failed.value)


async def test_a_missing_token_and_no_answer_are_told(reading: Callable[..., Any]) -> None:
    """What can be set right here is a matter of settings; who does not answer may do so later."""
    one = await reading()
    with pytest.raises(ListingFailed, match="token_env") as failed:
        await one.read(token_file=None, token_env="NO_SUCH_VARIABLE")
    assert failed.value.exit_code == 78
    with pytest.raises(ListingFailed, match="no answer") as failed:
        await one.read(base_url="http://127.0.0.1:9/v24.0")
    assert (failed.value.exit_code, len(one.waits)) == (75, 5)


async def test_an_api_without_a_list_says_what_to_do(reading: Callable[..., Any]) -> None:
    """The On-Premises client has none: another number, or `require_templates = false`."""
    one = await reading()
    await one.api.control({"spell": {**PASSING, "kind": "code", "code": 1006}})
    with pytest.raises(ListingFailed, match="require_templates = false"):
        await one.read("v1")


async def test_a_login_gives_the_token(reading: Callable[..., Any], tmp_path: Path) -> None:
    """A v1 number that logs in reads its list with the token of that login; a wrong password is told."""
    one = await reading(logins={"admin": "hush"})
    password = tmp_path / "password"
    password.write_text("hush")
    login = {"login_user": "admin", "login_password_file": password}
    assert len((await one.read("v1", **login)).templates) == COUNT
    password.write_text("wrong")
    with pytest.raises(ListingFailed, match="check login_user"):
        await one.read("v1", **login)


async def test_its_own_limit_is_kept(reading: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a burst of four, half is taken for spent: the third page waits for its token."""
    monkeypatch.setattr("pipeline.cli.template_listing.endpoint_limit", lambda _profile: (1 / 3600, 4))
    one = await reading()
    one.before_wait = lambda: (_ for _ in ()).throw(TimeoutError)
    with pytest.raises(TimeoutError):
        await one.read()
    assert len(one.waits) == 1
    assert 3500 < one.waits[0] <= 3600


async def test_a_list_that_changes_under_the_hand_is_read_anew(reading: Callable[..., Any]) -> None:
    """By offset, an entry that moves up would never be seen: another total means to start over."""
    one = await reading()
    lists = iter([TEMPLATES, TEMPLATES[1:], TEMPLATES[1:], TEMPLATES[1:], TEMPLATES[1:]])
    templates = one.api.simulator.referee.conduct.templates
    settings = {template.name: (template, State()) for template, _ in templates.rows()}
    templates.rows = lambda: [settings[row["name"]] for row in next(lists, TEMPLATES[1:])]
    listing = await one.read("360dialog")
    assert sorted(listed.name for listed, _ in listing.templates) == [f"t_{n}" for n in range(1, COUNT)]


async def test_the_simulator_refuses_what_the_api_refuses(start: Start) -> None:
    """Unknown fields, cursors and limits are errors, not empty pages."""
    api = await start(templates=TEMPLATES)
    for query in ("fields=nonsense", "limit=0", "limit=x", "after=nonsense"):
        status, raw = await api.call("GET", f"/v24.0/{ACCOUNT}/message_templates?{query}")
        assert (status, orjson.loads(raw)["error"]["code"]) == (400, 100)
    assert (await api.call("GET", "/v1/configs/templates?limit=x"))[0] == 400
    assert (await api.call("GET", f"/v24.0/{ACCOUNT}/message_templates", {}))[0] == 401
    status, raw = await api.call("GET", f"/v24.0/{ACCOUNT}/message_templates?fields=name&limit=1")
    [row] = orjson.loads(raw)["data"]
    assert (status, set(row)) == (200, {"id", "name"})
