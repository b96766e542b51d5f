"""Every page of the console in a real browser, beside a running demo: what it shows, what it does, how it looks.

`make browser` draws README's pictures here. One demo for all tests of the file; each acts on things of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from tests.support.demo import Demo, demo, until
from tests.support.visitor import VIEWS, Visitor, visitor

MESSAGES: Final = 1_000
PICTURES: Final = Path(__file__).parent / "pictures"
SHOWN: Final = frozenset({("overview", "light"), ("campaign", "dark"), ("overview", "phone"), ("message", "phone")})
"""What README shows, by page and view."""
HOSTILE: Final = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
NUMBER, OTHER = "200000000000001", "200000000000002"
REVOKED, HELD = "15550109991", "15550109992"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo whose campaign is over, and two people who allow everything."""
    with demo(tmp_path_factory.mktemp("demo"), MESSAGES) as made:
        for person in (REVOKED, HELD):
            granted = made.wapipe(
                "consent", "grant", person, "--category", "utility", "--category", "marketing", "--method", "checkbox",
                "--source", "https://shop.example/checkout", "--text", "Send me order updates", "--wait", "60s",
            )  # fmt: skip
            assert granted.returncode == 0, granted.stderr
        yield made


@pytest.fixture
def ada(running: Demo, chromium: Browser) -> Iterator[Visitor]:
    """An operator at the console."""
    with visitor(chromium, running.url, running.token) as made:
        yield made
        made.check()


def _pages(running: Demo, ada: Visitor) -> dict[str, str]:
    """Every page, with something to show, by name."""
    ada.go(f"/messages?q={running.accepted()[0]}")
    message = ada.page.locator("tbody a").first.get_attribute("href")
    ada.go("/dead-letters")
    letter = ada.page.locator("tbody a").first.get_attribute("href")
    assert message is not None
    assert letter is not None
    return {
        "overview": "/", "messages": "/messages", "message": message, "campaigns": "/campaigns",
        "campaign": f"/campaigns/view?name={running.campaign}", "consent": f"/consent?q={REVOKED}",
        "templates": "/templates", "dead-letters": "/dead-letters", "dead-letter": letter,
    }  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_sound_and_accessible(running: Demo, chromium: Browser, view: str) -> None:
    """In light, dark and on a phone: no script error, nothing serious by axe-core, nothing too wide. Draws it."""
    with visitor(chromium, running.url, running.token, view) as ada:
        PICTURES.mkdir(exist_ok=True)
        for name, path in _pages(running, ada).items():
            ada.go(path)
            ada.check()
            if (name, view) in SHOWN:
                ada.page.screenshot(path=PICTURES / f"{name}-{view}.png")


def test_every_page_can_be_used_by_keyboard(running: Demo, ada: Visitor) -> None:
    """Tab comes to everything on every page, and shows where it is."""
    for path in _pages(running, ada).values():
        ada.go(path)
        ada.check_keyboard()


def test_a_message_is_found_and_its_way_is_told(running: Demo, ada: Visitor) -> None:
    """A request id that the API's ledger has leads to one message, and its timeline goes from queued to read."""
    name = running.accepted()[-1]
    ada.go("/messages")
    ada.search(name)
    ada.press(ada.page.locator("tbody a").first)
    ada.page.wait_for_selector("text=the API took it as")
    told = ada.page.locator(".timeline b").all_inner_texts()
    assert told[0] == "queued"
    assert told[-4:] == ["accepted", "sent", "delivered", "read"]


def test_the_funnel_equals_the_ledger(running: Demo, ada: Visitor) -> None:
    """What the campaign's page counts is what the API's ledger holds."""
    taken = len(running.accepted())
    ada.go(f"/campaigns/view?name={running.campaign}")
    assert {name: ada.figure(name) for name in ("Accepted", "Delivered", "Read", "Open")} == {
        "Accepted": taken, "Delivered": taken, "Read": taken, "Open": 0,
    }  # fmt: skip


def test_what_is_paused_stays_until_it_is_resumed(running: Demo, ada: Visitor) -> None:
    """Paused at the page, a message does not reach the API's ledger, and its page says why; resumed, it does."""
    ada.go("/")
    card = ada.page.locator(".card", has_text=NUMBER)
    ada.act("Pause", "wrong link", card)
    ada.page.wait_for_selector(f"text={NUMBER} is paused")
    until(lambda: running.is_held(NUMBER), "a sender has heard of it")
    running.send(NUMBER, HELD, "held-1")
    ada.until_shown("/messages?q=held-1", "queued")
    ada.press(ada.page.locator("tbody a").first)
    ada.page.wait_for_selector("text=paused since")
    assert running.taken("held-1") == 0
    ada.go("/")
    ada.act("Resume", "corrected", card)
    until(lambda: running.taken("held-1") == 1, "it goes")
    ada.go("/")
    done = ada.page.locator("main table").inner_text()
    assert "wrong link" in done
    assert "corrected" in done


def test_a_dead_letter_is_replayed(running: Demo, ada: Visitor) -> None:
    """The page says what a replay would do; done, the same bytes come again, and a second one is not offered."""
    ada.go("/dead-letters")
    before = ada.page.locator("tbody tr").count()
    ada.page.locator("select[name=code]").select_option("not_json")
    with ada.page.expect_navigation():
        ada.page.locator("button", has_text="Filter").press("Enter")
    ada.press(ada.page.locator("tbody a").first)
    ada.page.wait_for_selector("text=A replay would write it to")
    shown = ada.page.locator("pre").first.inner_text()
    letter = ada.page.locator("h1").inner_text()
    ada.act("Replay", "the gate can read it now")
    ada.page.wait_for_selector(f"text={letter} is replayed")
    ada.page.wait_for_selector("text=A replay would do nothing")
    until(lambda: _count(ada) == before + 1, "it was judged again, and is back")
    ada.press(ada.page.locator("tbody a").first)
    ada.page.wait_for_selector("text=wapipe-replay-of")
    assert ada.page.locator("pre").first.inner_text() == shown


def _count(ada: Visitor) -> int:
    ada.go("/dead-letters")
    return ada.page.locator("tbody tr").count()


def test_a_revoke_ends_what_goes_to_a_person(running: Demo, ada: Visitor) -> None:
    """After a revoke at the page the next message is rejected, the API gets nothing, and its page says why."""
    ada.go("/consent")
    ada.search(REVOKED)
    assert "granted" in ada.page.locator("tbody").first.inner_text()
    ada.act("Revoke", "they called")
    ada.until_shown(f"/consent?q={REVOKED}", "revoked")
    running.send(NUMBER, REVOKED, "revoked-1")
    ada.until_shown("/messages?q=revoked-1", "consent_withdrawn")
    ada.press(ada.page.locator("tbody a").first)
    ada.page.wait_for_selector("text=the person opted out")
    assert running.taken("revoked-1") == 0


def test_a_number_is_shown_whole_to_who_asks(ada: Visitor) -> None:
    """People are masked; who asks with a reason sees the number, and that they asked is on the page."""
    ada.go(f"/consent?q={HELD}")
    assert HELD not in ada.page.locator("main h2").first.inner_text()
    ada.act("Show number", "they called")
    ada.go(f"/consent?q={HELD}")
    assert ada.page.locator("main h2").first.inner_text() == HELD
    assert "reveal" in ada.page.locator("main table").last.inner_text()


def test_templates_show_what_was_approved(ada: Visitor) -> None:
    """Each template of the account with status, category and text; a filter leaves those that fit."""
    ada.go("/templates")
    assert "APPROVED" in ada.page.locator("main").inner_text()
    ada.search("order")
    assert ada.page.locator(".card h2").all_inner_texts() == ["order_shipped en_US"]


def test_live_parts_are_swapped_and_what_is_in_use_is_not(running: Demo, ada: Visitor) -> None:
    """A new dead letter shows by itself; a form that is open stays open, with what was written into it."""
    ada.go("/")
    before = ada.page.locator("#totals a").inner_text()
    ada.press(ada.page.locator(".card", has_text=OTHER).locator("summary", has_text="Pause"))
    ada.page.locator("details[open] input[name=reason]").fill("evening")
    running.write("outbound-requests", b"1", b"no JSON")
    shown = ada.page.locator("#totals a")
    until(lambda: shown.inner_text() != before, "the new one is counted")
    assert ada.page.locator("details[open] input[name=reason]").input_value() == "evening"


def test_script_in_what_others_write_is_not_run(running: Demo, ada: Visitor) -> None:
    """A request whose id and campaign are markup is shown as it is written, on each page that names it."""
    running.wapipe(
        "send", "--from", NUMBER, "--to", HELD, "--category", "utility", "--template", "order_shipped", "--lang",
        "en_US", "--param", HOSTILE, "--request-id", HOSTILE, "--campaign", HOSTILE,
    )  # fmt: skip
    ada.until_shown("/messages", HOSTILE)
    for path in ("/campaigns", f"/campaigns/view?name={quote(HOSTILE)}", f"/messages?q={quote(HOSTILE)}"):
        ada.until_shown(path, HOSTILE)
    ada.press(ada.page.locator("tbody a").first)
    ada.page.wait_for_selector(".timeline")
    assert ada.page.locator("main img").count() == 0
