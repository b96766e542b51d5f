"""The console in a real browser: `make browser`, where chromium is installed. Its pictures are README's."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

from pipeline.clock import unix_ms
from tests.support.console import NUMBER, PERSON, TOKEN, Stand, event, stand, status

CHROMIUM: Final = shutil.which("chromium")
PICTURES: Final = Path(__file__).parent / "pictures"
PAGES: Final = ("/", "/messages", "/messages/1", "/campaigns", "/campaigns/view?name=spring-sale",
                f"/consent?q={PERSON}", "/templates", "/dead-letters")  # fmt: skip
VIEWS: Final[dict[str, dict[str, Any]]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
SHOWN: Final = {"light": "/messages/1", "dark": "/campaigns/view?name=spring-sale", "phone": "/"}
"""What README shows, by view."""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A headless browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


def _fill(console: Stand) -> None:
    now_ms = unix_ms()
    for index in range(120):
        name, at_ms, to = f"spring-{index:05d}", now_ms - 1_200_000 + index * 9_000, f"1555{1_000_000 + index}"
        told: dict[str, Any] = {"campaign": "spring-sale", "to": to}
        if index % 11 == 5:
            console.take(event("rejected", name, at_ms=at_ms, reason="no_consent", **told))
            continue
        took = {"message_id": f"wamid.{index}", "http_status": 200, "attempt": 1, "queue_ms": 820, "api_ms": 41}
        console.take(
            event("queued", name, at_ms=at_ms, **told), event("accepted", name, at_ms=at_ms + 900, **told, **took)
        )
        words = ("sent", "delivered", "read")[: 1 + (index % 7 != 0) + (index % 3 != 0)]
        moments = zip(words, (1_500, 4_500, 64_500), strict=False)
        console.take(
            *(status(word, f"wamid.{index}", name, at_ms=at_ms + after_ms) for word, after_ms in moments),
            topic="inbound-events",
        )
    headers = [("errors.topic", b"outbound-requests"), ("errors.stage", b"gate"), ("errors.code", b"not_json")]
    for part in range(2):
        console.record("dead-letter", b'{"to": 12,', headers=headers, at_ms=now_ms - part)
    console.parts.states.known[f"number:{NUMBER}/webhook"] = {"verified": True}
    console.parts.states.known["account:300000000000001/templates"] = {"templates": 0}


async def _log_in(page: Page, url: str) -> None:
    await page.goto(url)
    await page.fill("input[name=name]", "ada")
    await page.fill("input[name=token]", TOKEN)
    await page.press("input[name=token]", "Enter")
    await page.wait_for_url(f"{url}/")


async def _check(page: Page) -> None:
    found = await Axe().run(page)
    serious = [one for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == [], page.url
    width = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0, f"{page.url} is {width} px too wide"


@pytest.mark.parametrize("view", VIEWS)
async def test_pages_are_sound_and_accessible(tmp_path: Path, chromium: Browser, view: str) -> None:
    """In light, dark and on a phone: no page has a script error, scrolls sideways, or a serious issue by axe-core."""
    async with stand(tmp_path) as console:
        _fill(console)
        page = await chromium.new_page(**VIEWS[view])
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        await _log_in(page, console.url)
        for path in PAGES:
            await page.goto(console.url + path)
            await _check(page)
        await page.click("tbody a")
        await page.wait_for_selector("pre")
        await _check(page)
        assert problems == []
        await page.goto(console.url + SHOWN[view])
        PICTURES.mkdir(exist_ok=True)
        await page.screenshot(path=PICTURES / f"console-{view}.png")


async def test_live_parts_are_swapped_and_what_is_in_use_is_not(tmp_path: Path, chromium: Browser) -> None:
    """A new event shows by itself; a form that is open stays open."""
    async with stand(tmp_path) as console:
        page = await chromium.new_page()
        await _log_in(page, console.url)
        await page.click("text=Pause")
        await page.fill("details[open] input[name=reason]", "evening")
        console.record("dead-letter", b"x", headers=[("errors.code", b"not_json")])
        await page.wait_for_selector('#totals a:has-text("1")', timeout=10_000)
        assert await page.input_value("details[open] input[name=reason]") == "evening"
