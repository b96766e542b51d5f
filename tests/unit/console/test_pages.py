"""The console over plain HTTP: who gets in, what a form must prove, what hostile records cannot do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from pipeline.console.access import FAILURES_MAX
from pipeline.console.guard import HEADERS, MAX_ADDRESS_CHARS, MAX_BODY_BYTES
from tests.support.console import NUMBER, PERSON, TOKEN, VIEWER_TOKEN, event, stand, status

PAGES = ("/", "/messages", "/campaigns", "/campaigns/view?name=sale", "/consent?q=15550109999", "/templates",
         "/dead-letters", "/messages/1", "/dead-letters/0/1")  # fmt: skip
LIVE = ("/live", "/campaigns/live", "/campaigns/view/live?name=sale", "/messages/1/live")
SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = '"><img src=x onerror=alert(1)>'


async def test_unauthenticated_no_page_shows_data(tmp_path: Path) -> None:
    """Whoever is not logged in is sent to the login, hears no live event, and can send no form."""
    async with stand(tmp_path) as console:
        console.take(event("accepted", "order-1", campaign="sale", message_id="wamid.1", http_status=200))
        async with console.browser() as browser:
            for page in PAGES:
                answer = await browser.get(page)
                assert (answer.status, urlsplit(answer.headers["Location"]).path) == (303, "/login"), page
                assert "order-1" not in await answer.text()
            for page in LIVE:
                assert (await browser.get(page)).status == 401, page
            for form in (f"/numbers/{NUMBER}", "/campaigns/act", "/consent/revoke", "/reveal", "/dead-letters/0/1"):
                assert (await browser.post(form, {"reason": "x"})).status == 401, form


@pytest.mark.parametrize("cookie", ["", "x", "' OR 1=1 --", "a" * 4000])
async def test_a_made_up_cookie_opens_nothing(tmp_path: Path, cookie: str) -> None:
    """A session is what the console gave out, nothing else."""
    async with stand(tmp_path) as console, console.browser() as browser:
        answer = await browser.get("/messages", headers={"Cookie": f"wapipe_session={cookie}"})
        assert answer.status == 303


async def test_a_wrong_token_opens_nothing_and_is_slowed_down(tmp_path: Path) -> None:
    """A wrong token is refused; after ten failures even the right one has to wait."""
    async with stand(tmp_path) as console, console.browser() as browser:
        for attempt in range(FAILURES_MAX):
            answer = await browser.post("/login", {"name": "eve", "token": f"{TOKEN}{attempt}"})
            assert answer.status == 403
            assert "Set-Cookie" not in answer.headers
        answer = await browser.post("/login", {"name": "eve", "token": TOKEN})
        assert (answer.status, answer.headers["Retry-After"]) == (429, "60")


async def test_the_cookie_is_for_this_site_and_no_script(tmp_path: Path) -> None:
    """HttpOnly and SameSite=Strict always; Secure when a trusted proxy says that the browser came by TLS."""
    async with stand(tmp_path, trusted_proxies=["127.0.0.1"]) as console, console.browser() as browser:
        form = {"name": "ada", "token": TOKEN}
        plain = (await browser.post("/login", form)).headers["Set-Cookie"]
        tls = (await browser.post("/login", form, headers={"X-Forwarded-Proto": "https"})).headers["Set-Cookie"]
        assert "HttpOnly" in plain
        assert "SameSite=Strict" in plain
        assert "Secure" not in plain
        assert "Secure" in tls


async def test_a_name_is_asked_for(tmp_path: Path) -> None:
    """Nobody acts without a name: a token alone does not log in."""
    async with stand(tmp_path) as console, console.browser() as browser:
        answer = await browser.post("/login", {"name": " \x07 ", "token": TOKEN})
        assert answer.status == 403
        assert "say who you are" in await answer.text()


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "/\r\nX: y"])
async def test_a_login_leads_nowhere_else(tmp_path: Path, target: str) -> None:
    """After the login comes a page of ours, whatever the address asks for."""
    async with stand(tmp_path) as console, console.browser() as browser:
        answer = await browser.post("/login", {"name": "ada", "token": TOKEN, "next": target})
        assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_forms_need_their_token_this_site_and_an_operator(tmp_path: Path) -> None:
    """A forged, missing or foreign CSRF token, another site's form and a viewer's are all refused."""
    async with stand(tmp_path) as console, console.logged_in() as ada, console.logged_in(VIEWER_TOKEN) as viewer:
        form = {"act": "pause", "reason": "evening"}
        path = f"/numbers/{NUMBER}"
        csrf = await ada.csrf()
        for forged in ("", "x" * 43, await viewer.csrf(), "ü"):
            assert (await ada.post(path, {**form, "csrf": forged})).status == 403
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await ada.post(path, {**form, "csrf": csrf}, headers=headers)).status == 403
        assert (await viewer.post(path, {**form, "csrf": await viewer.csrf()})).status == 403
        assert "Pause" not in await viewer.text("/")


async def test_an_act_needs_a_reason(tmp_path: Path) -> None:
    """Without a reason nothing is done, and the page says so."""
    async with stand(tmp_path) as console, console.logged_in() as ada:
        answer = await ada.post(f"/numbers/{NUMBER}", {"act": "pause", "reason": "  ", "csrf": await ada.csrf()})
        assert answer.status == 303
        assert "say why" in await ada.text("/")


async def test_people_are_masked_until_an_operator_asks(tmp_path: Path) -> None:
    """A number shows without its middle, in lists, timelines and on the consent page; nothing of it is in the HTML."""
    async with stand(tmp_path) as console, console.logged_in(VIEWER_TOKEN) as viewer:
        console.take(event("accepted", "order-1", campaign="sale", message_id="wamid.1", http_status=200))
        for page in ("/messages", "/campaigns/view?name=sale"):
            assert PERSON not in await viewer.text(page), page
        assert "1555•••9999" in await viewer.text("/messages")


@pytest.mark.parametrize("hostile", [SCRIPT, ATTRIBUTE, "{{ 7*7 }}", "javascript:alert(1)"])
async def test_hostile_texts_stay_texts(tmp_path: Path, hostile: str) -> None:
    """Script in a campaign's name, a request id, a detail, a template, a dead letter or a search is never run."""
    async with stand(tmp_path) as console, console.logged_in() as ada:
        console.take(
            event("rejected", hostile, campaign=hostile, reason="invalid", detail=hostile, metadata={"a": hostile})
        )
        key = f"template:300000000000001/promo/{hostile}".replace("/>", ">").replace("</", "<")
        console.parts.states.templates.put(f"{key}/definition", {
            "status": hostile, "category": "marketing", "at": "2026-11-20T08:00:00.000Z",
            "components": [{"type": "BODY", "text": hostile}], "changed_at": "2026-11-20T08:00:00.000Z",
        })  # fmt: skip
        console.record(
            "dead-letter", hostile.encode(),
            headers=[("errors.code", b"not_json"), ("errors.message", hostile.encode()), ("x-" + hostile, b"1")],
        )  # fmt: skip
        texts = [
            await ada.text(page)
            for page in ("/", "/messages", "/messages/1", "/campaigns", "/templates", "/dead-letters")
        ]
        for path, name in (("/campaigns/view", "name"), ("/messages", "q"), ("/consent", "q"), ("/templates", "q")):
            answer = await ada.get(path, params={name: hostile})
            assert answer.status == 200, path
            texts.append(await answer.text())
        for text in texts:
            assert SCRIPT not in text
            assert "<img" not in text
            assert ">49<" not in text
            assert 'href="javascript' not in text


async def test_every_answer_forbids_foreign_code(tmp_path: Path) -> None:
    """Pages, files, redirects and refusals alike: no inline script or style, no frame, no guessing of types."""
    async with stand(tmp_path) as console, console.logged_in() as ada:
        for page in ("/", "/console.js", "/login", "/nowhere", "/messages/999"):
            answer = await ada.get(page)
            assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS), page
        assert "unsafe" not in HEADERS["Content-Security-Policy"]
        text = await ada.text("/")
        assert " style=" not in text
        assert text.count("<script") == 1
        assert " onclick" not in text


@pytest.mark.parametrize("path", [
    "/console.css/../web.py", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/../access.py",
    "/console.js%00.html", "/templates/base.html",
])  # fmt: skip
async def test_no_path_leads_to_other_files(tmp_path: Path, path: str) -> None:
    """Two files are served, by name; no way round that is a file."""
    async with stand(tmp_path) as console, console.logged_in() as ada:
        cookie = next(iter(ada.session.cookie_jar)).value
        # as it is: a client would tidy the path up first
        reader, writer = await asyncio.open_connection("127.0.0.1", int(console.url.rpartition(":")[2]))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: wapipe_session={cookie}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer


async def test_a_browser_that_asks_for_an_icon_gets_no_error(tmp_path: Path) -> None:
    """Browsers ask for an icon by themselves, before anybody is logged in: there is none, and that is no error."""
    async with stand(tmp_path) as console, console.browser() as browser:
        answer = await browser.get("/favicon.ico")
        assert answer.status == 204


async def test_limits_on_bodies_and_addresses(tmp_path: Path) -> None:
    """What is larger than any form or search of ours is refused before it is looked at."""
    async with stand(tmp_path) as console, console.logged_in() as ada:
        large = {"csrf": await ada.csrf(), "reason": "x" * MAX_BODY_BYTES}
        assert (await ada.post("/campaigns/act", large)).status == 413
        assert (await ada.get("/messages", params={"q": "x" * MAX_ADDRESS_CHARS})).status == 414
        assert (await ada.get("/messages", params={"q": "x" * 300})).status == 400


async def test_a_proxy_is_believed_by_address_only(tmp_path: Path) -> None:
    """The proxy's header logs in from its address with the role of user or group; from elsewhere it says nothing."""
    named = {"X-Forwarded-User": "ada@acme.example", "X-Groups": "dev, wa-operators"}
    ways = {
        "operator_token_file": None, "viewer_token_file": None, "proxy_user_header": "X-Forwarded-User",
        "proxy_groups_header": "X-Groups", "operators": ["wa-operators"], "viewers": ["ben@acme.example"],
    }  # fmt: skip
    (tmp_path / "near").mkdir()
    (tmp_path / "far").mkdir()
    async with stand(tmp_path / "near", trusted_proxies=["127.0.0.0/8"], **ways) as console:
        async with console.browser(headers=named) as browser:
            assert "Pause" in await browser.text("/")
        async with console.browser(headers={"X-Forwarded-User": "ben@acme.example"}) as browser:
            assert "Pause" not in await browser.text("/")
        async with console.browser(headers={"X-Forwarded-User": "eve@acme.example"}) as browser:
            assert (await browser.get("/")).status == 401
    async with (
        stand(tmp_path / "far", trusted_proxies=["10.0.0.0/8"], **ways) as console,
        console.browser(headers=named) as browser,
    ):
        assert (await browser.get("/")).status == 401


async def test_a_timeline_tells_it_in_words(tmp_path: Path) -> None:
    """A message's page says what happened, why, and what to do; statuses of WhatsApp among it."""
    async with stand(tmp_path) as console, console.logged_in() as ada:
        console.take(
            event("queued", "order-1", at_ms=1_000_000),
            event("deferred", "order-1", reason="throttled", http_status=429),
            event("accepted", "order-1", message_id="wamid.1", http_status=200, attempt=2, api_ms=80),
        )  # fmt: skip
        console.take(status("delivered", "wamid.1", "order-1"), topic="inbound-events")
        text = await ada.text("/messages/1")
        for words in ("the API refuses the number for now", "the API took it as wamid.1", "delivered", "HTTP 429"):
            assert words in text


async def test_live_parts_come_as_events(tmp_path: Path) -> None:
    """An open page hears of what has changed, as HTML by element, without being loaded again."""
    async with stand(tmp_path) as console, console.logged_in() as ada:
        console.take(event("queued", "order-1", campaign="sale"))
        async with ada.session.get(f"{console.url}/campaigns/live") as answer:
            assert answer.content_type == "text/event-stream"
            first = await _data(answer)
            assert "sale" in first
            console.take(event("accepted", "order-1", campaign="sale", message_id="wamid.1", http_status=200))
            assert await _data(answer) != first


async def _data(answer: aiohttp.ClientResponse) -> str:
    while True:
        line = await answer.content.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            return line.decode()


async def test_requests_and_logins_are_counted(tmp_path: Path) -> None:
    """What was answered is counted by status, a try to log in by what came of it: guessing shows."""
    async with stand(tmp_path) as console, console.logged_in() as ada:
        await ada.post("/login", {"name": "eve", "token": "guess"})
        await ada.get("/nowhere")
        value = console.parts.metrics.registry.get_sample_value
        assert value("wapipe_console_logins_total", {"result": "ok"}) == 1
        assert value("wapipe_console_logins_total", {"result": "refused"}) == 1
        assert value("wapipe_console_requests_total", {"status": "404"}) == 1
