"""Somebody at a console's pages in a real browser: logs in, works by keyboard, and checks each page on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Locator, Page

VIEWS: Final[dict[str, dict[str, Any]]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light", "device_scale_factor": 2},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark", "device_scale_factor": 2},
    "phone": {
        "viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2, "is_mobile": True,
        "has_touch": True,
    },
}  # fmt: skip
ADA: Final = "ada"
SHOW_TIMEOUT_MS: Final = 60_000
MAX_TABS: Final = 200
SERIOUS: Final = frozenset({"serious", "critical"})
_FOCUSABLE: Final = (
    "[...document.querySelectorAll('a[href],button,summary,input:not([type=hidden]),select,[tabindex=\"0\"]')]"
    ".filter(one => one.checkVisibility() && !one.disabled)"
)
_NAME: Final = "one => one.outerHTML.slice(0, 160)"
"""Live parts are swapped meanwhile: what stands where another stood is the same to whoever uses it."""
_RING: Final = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"


class Visitor:
    """A page of a console; what goes wrong in it is kept.

    Attributes:
        page: As Playwright knows it.
        problems: Errors of scripts, and what the browser's console calls one.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self._url = page, url
        self.problems: list[str] = []
        page.set_default_timeout(SHOW_TIMEOUT_MS)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        page.on("dialog", self._meet)

    def _meet(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def log_in(self, token: str) -> None:
        """By keyboard alone, as the fields come."""
        self.page.goto(self._url)
        self.page.wait_for_selector("input[name=name]:focus")
        self.page.keyboard.type(ADA)
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(token)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"{self._url}/")

    def go(self, path: str) -> None:
        """Open a page."""
        self.page.goto(self._url + path)

    def press(self, where: Locator) -> None:
        """Go to something by keyboard and press it."""
        where.focus()
        self.page.keyboard.press("Enter")

    def act(self, label: str, reason: str, within: Locator | None = None) -> None:
        """Open an act's form, say why, and send it; by keyboard."""
        form = (
            (within or self.page.locator("main"))
            .locator("details.act")
            .filter(has=self.page.locator("summary", has_text=label))
        )
        self.press(form.locator("summary"))
        form.locator("input[name=reason]").focus()
        self.page.keyboard.type(reason)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def search(self, text: str) -> None:
        """Write into the search field of a page and press Enter."""
        self.page.locator("main form[role=search] input").focus()
        self.page.keyboard.type(text)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def until_shown(self, path: str, text: str) -> None:
        """Open a page again and again until it says something."""
        for _ in range(SHOW_TIMEOUT_MS // 500):
            self.go(path)
            if text in self.page.locator("main").inner_text():
                return
            self.page.wait_for_timeout(500)
        raise AssertionError(f"{path} does not say {text!r}: {self.page.locator('main').inner_text()[:2000]}")

    def figure(self, name: str) -> int:
        """A number on the page under its name."""
        shown = self.page.locator("main dl > div").filter(has=self.page.get_by_text(name, exact=True)).first
        return int(shown.locator("dd .num, dd").first.inner_text().split()[0].replace(",", ""))

    # -- what each page has to be ------------------------------------------------------------------------------------
    def check(self) -> None:
        """See that a page has no error, no serious finding of axe-core, and does not scroll sideways."""
        assert self.problems == [], self.page.url
        found = Axe().run(self.page).response["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS]
        assert serious == [], self.page.url
        width = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{self.page.url} is {width} px too wide"

    def check_keyboard(self) -> None:
        """See that Tab comes to all that can be pressed or written into, each with a ring around it."""
        wanted = set(self.page.evaluate(f"{_FOCUSABLE}.map({_NAME})"))
        self.page.evaluate("document.activeElement.blur()")
        met: set[str] = set()
        rounds = 0
        for _ in range(MAX_TABS):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("document.activeElement === document.body"):
                rounds += 1
                if rounds == 2:  # the first one began where the page had put the focus
                    break
                continue
            stop = self.page.evaluate(f"({_NAME})(document.activeElement)")
            assert self.page.evaluate(_RING), f"{self.page.url}: no ring at {stop}"
            met.add(stop)
        assert wanted <= met, f"{self.page.url}: {wanted - met} cannot be reached by Tab"


@contextmanager
def visitor(browser: Browser, url: str, token: str, view: str = "light") -> Iterator[Visitor]:
    """Somebody who is logged in as an operator."""
    context = browser.new_context(**VIEWS[view])
    try:
        made = Visitor(context.new_page(), url)
        made.log_in(token)
        yield made
    finally:
        context.close()
