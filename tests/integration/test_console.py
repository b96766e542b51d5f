"""The console beside a running pipeline: what it shows is the API's ledger, what it does has effect and is audited.

One pipeline for all tests of the file; each has people, a campaign and requests of its own.
"""

from __future__ import annotations

import re
import signal
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.support.campaign import Ids, Request, campaign, people
from tests.support.console_page import HTTP_TIMEOUT_S, Page
from tests.support.world import NUMBER, Draft, World

COUNT, STRANGERS = 40, 4
RATE, BURST = 20, 5
TIMEOUT_S: Final = 60.0
ADA, TOKEN = "ada", "token-of-this-test"
_FIGURE = re.compile(r"<dt>([A-Z][a-z]+)</dt><dd>(?:<progress[^>]*></progress><span class=\"num\">)?([0-9,]+)<")


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Gate, sender, ingress and console at work, and a number slow enough to be met on the way."""
    folder: Path = tmp_path_factory.mktemp("console")
    (folder / "console-token").write_text(TOKEN)
    settings = f'[console]\nport = 0\noperator_token_file = "{folder / "console-token"}"\n'
    numbers = {NUMBER: {"profile": "v1", "rate_per_s": RATE, "burst": BURST}}
    with World(kafka, folder, numbers=numbers, settings=settings, webhooks=True, partitions=3) as made:
        for role in ("gate", "sender", "console"):
            made.spawn(role)
        made.ready()
        made.grant(people(COUNT))
        yield made


@pytest.fixture
def page(world: World) -> Page:
    """The console's pages."""
    return open_console(world)


def open_console(world: World) -> Page:
    """Log in at the console that runs."""
    heard = world.heard("console")
    assert heard is not None
    return Page(heard["url"], ADA, TOKEN)


def funnel(page: Page, name: str) -> dict[str, int]:
    """The figures of a campaign; empty before any event of it was read."""
    if f">{name}<" not in page.get("/campaigns"):
        return {}
    found = _FIGURE.findall(page.get(f"/campaigns/view?name={name}"))
    return {figure: int(count.replace(",", "")) for figure, count in found}


def posted(world: World, requests: Sequence[Request]) -> int:
    """How many of these requests the API has taken, by its ledger."""
    asked = {request["request_id"] for request in requests}
    return sum(row["accepted"] and row["text"] in asked for row in world.api.messages())


def audited(world: World, target: str) -> list[tuple[str, str, str, str]]:
    """(action, actor, via, reason) of what was done to something, by `audit-events`."""
    events = [record.json() for record in world.read("audit-events")]
    return [(one["action"], one["actor"], one["via"], one["reason"]) for one in events if one["target"] == target]


def is_held(world: World, number: str) -> bool:
    """Whether the sender says that an operator holds a number."""
    heard = world.heard("sender")
    assert heard is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{heard['port']}/metrics", timeout=HTTP_TIMEOUT_S) as answer:
        line = f'wapipe_number_stopped{{number="{number}",reason="operator"}} 1.0'
        return line in answer.read().decode().splitlines()


def test_the_funnel_equals_the_ledger_also_after_a_kill(world: World, page: Page) -> None:
    """A campaign's funnel is the API's ledger and its statuses, no event twice, though the console was killed in it."""
    granted = people(COUNT)
    sale = campaign(COUNT + STRANGERS, [NUMBER], [*granted, *people(STRANGERS, COUNT)], Ids("sale"), campaign="sale")
    world.produce(sale)
    world.until(lambda: funnel(page, "sale").get("Queued", 0) > 0, "it is heard of", TIMEOUT_S)
    world.kill("console", signal.SIGKILL)
    world.until_terminal(sale, TIMEOUT_S)
    taken = posted(world, sale)
    assert taken == COUNT
    world.spawn("console")
    world.ready("console")
    page = open_console(world)
    wanted = {
        "Messages": len(sale), "Open": 0, "Rejected": STRANGERS, "Queued": taken, "Accepted": taken, "Delivered": taken,
        "Read": taken,
    }  # fmt: skip
    world.until(lambda: wanted.items() <= funnel(page, "sale").items(), f"the funnel is {wanted}", TIMEOUT_S)


def test_what_is_paused_stays_until_it_is_resumed(world: World, page: Page) -> None:
    """After a pause a queued message does not reach the API's ledger; after the resume it does; both are audited."""
    page.post(f"/numbers/{NUMBER}", {"act": "pause", "reason": "evening"})
    world.until(lambda: is_held(world, NUMBER), "the sender has heard of it", TIMEOUT_S)
    held = campaign(1, [NUMBER], people(1), Ids("held"))
    world.produce(held)
    world.until(lambda: "normal <b>1</b>" in page.get("/"), "it waits in its lane", TIMEOUT_S)
    assert ">paused<" in page.get("/")
    assert posted(world, held) == 0
    page.post(f"/numbers/{NUMBER}", {"act": "resume", "reason": "morning"})
    world.until(lambda: posted(world, held) == 1, "it goes", TIMEOUT_S)
    done = [("pause", ADA, "console", "evening"), ("resume", ADA, "console", "morning")]
    assert audited(world, f"number:{NUMBER}") == done


def test_a_revoke_ends_what_goes_to_a_person(world: World, page: Page) -> None:
    """After a revoke at the page the next message is rejected, and its way tells why; the revoke is audited."""
    [person] = people(1, 1)
    form = {"q": person, "business": "acme", "category": "*", "reason": "they called"}
    assert "nothing of that goes to them" in page.post("/consent/revoke", form)
    world.until(lambda: ">revoked<" in page.get(f"/consent?q={person}"), "it is merged", TIMEOUT_S)
    late = campaign(1, [NUMBER], [person], Ids("late"))
    world.produce(late)
    world.until_terminal(late, TIMEOUT_S)
    [told] = [event for event in world.events_of(late[0]["request_id"]) if event["terminal"]]
    assert (told["type"], told["reason"]) == ("rejected", "consent_withdrawn")
    assert posted(world, late) == 0
    found = f"/messages?q={late[0]['request_id']}"
    world.until(lambda: "consent_withdrawn" in page.get(found), "the page says so", TIMEOUT_S)
    assert audited(world, f"recipient:{person}") == [("revoke", ADA, "console", "they called")]


def test_a_dead_letter_is_replayed_once(world: World, page: Page) -> None:
    """A replay at the page writes the bytes to where they came from, once; a second one is refused; it is audited."""
    world.write("outbound-requests", [Draft(b"1", b"not json")])
    world.until(lambda: "/dead-letters/" in page.get("/dead-letters?code=not_json"), "it is listed", TIMEOUT_S)
    found = re.search(r'href="(/dead-letters/(\d+)/(\d+))"', page.get("/dead-letters?code=not_json"))
    assert found is not None
    path, place, replay_of = found[1], f"{found[2]}:{found[3]}", f"dead-letter[{found[2]}]@{found[3]}"
    form = {"act": "replay", "reason": "once more"}
    assert f"{place} is replayed" in page.post(path, form)
    assert "nothing was done" in page.post(path, form)
    world.until(lambda: world.count("dead-letter") == 2, "it went again, and came back", TIMEOUT_S)
    [back] = [record for record in world.read("dead-letter") if "wapipe-replay-of" in record.headers]
    assert (back.headers["wapipe-replay-of"], back.key, back.value) == (replay_of.encode(), b"1", b"not json")
    assert audited(world, f"dead-letter:{place}") == [("replay", ADA, "console", "once more")]
