"""The console beside a running pipeline: what it shows is what the API's ledger says."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from tests.support.campaign import Ids, campaign, people
from tests.support.world import NUMBER, World

COUNT = 60
TIMEOUT_S = 60.0
TOKEN = "token-of-this-test"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
_FIGURE = re.compile(r"<dt>([A-Z][a-z]+)</dt><dd>(?:<progress[^>]*></progress><span class=\"num\">)?([0-9,]+)<")


class Page:
    """A browser without script: cookies, links and forms."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> str:
        """A page."""
        return str(self._open.open(self.url + path, timeout=20).read().decode())

    def post(self, path: str, form: dict[str, Any], at: str = "/messages") -> str:
        """Send a form of the page `at`; the page that comes after it."""
        found = _CSRF.search(self.get(at))
        form = {**form, "csrf": found[1] if found else ""}
        return str(self._open.open(self.url + path, urllib.parse.urlencode(form).encode(), timeout=20).read().decode())


def test_the_funnel_equals_the_ledger(kafka: str, tmp_path: Path) -> None:
    """The funnel of a campaign equals the API's ledger and the statuses that it sent."""
    (tmp_path / "console-token").write_text(TOKEN)
    settings = f'[console]\nport = 0\noperator_token_file = "{tmp_path / "console-token"}"\n'
    crowd, ids = people(COUNT), Ids("c")
    with World(kafka, tmp_path, settings=settings, webhooks=True, partitions=3) as world:
        for role in ("gate", "sender", "console"):
            world.spawn(role)
        world.ready()
        heard = world.heard("console")
        assert heard is not None
        page = Page(heard["url"])
        assert "Log in" in page.get("/")
        page.post("/login", {"name": "ada", "token": TOKEN}, at="/login")
        world.grant(crowd)
        sale = campaign(COUNT, [NUMBER], crowd, ids, campaign="sale")
        world.produce(sale)
        world.until_terminal(sale, TIMEOUT_S)

        def funnel() -> dict[str, int]:
            found = _FIGURE.findall(page.get("/campaigns/view?name=sale"))
            return {name: int(count.replace(",", "")) for name, count in found}

        wanted = {"Queued": COUNT, "Accepted": COUNT, "Delivered": COUNT, "Read": COUNT}
        assert world.api.stats()["accepted"] == COUNT
        world.until(lambda: wanted.items() <= funnel().items(), "the funnel equals the ledger", TIMEOUT_S)
