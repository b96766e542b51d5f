"""People of the read model: every id of a person finds all of them; who counts for a tier; nobody is named unasked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.clock import rfc3339, unix_ms
from pipeline.console import funnels, people, query
from pipeline.console.pruning import forget_tiers
from pipeline.console.schema import open_writer
from pipeline.console.store import Store
from pipeline.records.tier import COUNTED_MS
from tests.support.console import NUMBER, PERSON, VIEWER_TOKEN, Offsets, event, stand

USER, OLD = "US.134912", "15550107777"
AT = "2026-11-20T08:00:00.000Z"
ALIASES = {
    USER: {"recipient": PERSON, "kind": "user_id", "ids": [], "at": AT},
    OLD: {"recipient": PERSON, "kind": "number", "ids": [], "at": AT},
    PERSON: {"recipient": PERSON, "kind": "self", "ids": [USER, OLD], "at": AT},
}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A read model of one person who is known by a number, a user id and an older number, with a message to each."""
    with closing(open_writer(tmp_path / "db")) as made:
        offsets, now_ms = Offsets(), unix_ms()
        told = [event("accepted", f"r-{to}", to=to, campaign="sale", http_status=200, at_ms=now_ms - 9_000)
                for to in (PERSON, USER, OLD)]  # fmt: skip
        stop = {"event_id": "e", "action": "revoke", "result": "applied", "evidence": {"actor": "user"}}
        Store(made).apply(
            [
                *(offsets.record("recipient-aliases", value, key=key.encode()) for key, value in ALIASES.items()),
                *(offsets.record("outbound-events", one) for one in told),
                offsets.record("inbound-events", {"event_id": "i", "type": "message", "recipient": PERSON}),
                offsets.record("consent", {"entries": []}, key=PERSON.encode()),
                offsets.record("consent-events", stop, key=PERSON.encode(), at_ms=now_ms),
                offsets.record("consent-events", {**stop, "event_id": "f"}, key=OLD.encode(), at_ms=now_ms),
            ],
            {},
        )
        yield made


@pytest.mark.parametrize("text", [PERSON, USER, OLD, "+1 555 010 9999"])
def test_each_id_finds_the_whole_person(db: sqlite3.Connection, text: str) -> None:
    """By number, user id or an older number: all messages to any of them, and what the person wrote."""
    hits = query.search(db, text)
    assert hits.by == "recipient"
    assert hits.person is not None
    assert hits.person.ids >= {PERSON, USER, OLD}
    assert {message.recipient for message in hits.messages} == {PERSON, USER, OLD}
    assert len(people.heard(db, hits.person)) == 1


def test_consent_is_found_under_a_user_id(db: sqlite3.Connection) -> None:
    """A user id leads to the number that consent stands under; a number that was given up keeps its own."""
    by_user, by_old = people.find(db, USER), people.find(db, OLD)
    assert by_user is not None
    assert by_old is not None
    assert by_user.key == PERSON
    assert (by_old.key, PERSON in by_old.numbers) == (OLD, True)
    held, history = people.consent(db, by_user)
    assert held == {"entries": []}
    assert len(history) == 1
    assert people.consent(db, by_old)[0] is None


def test_an_alias_that_is_gone_leads_nowhere(db: sqlite3.Connection) -> None:
    """A tombstone takes an id away; a record that is no alias changes nothing."""
    offsets = Offsets()
    gone = [offsets.record("recipient-aliases", None, key=key.encode()) for key in (USER, PERSON)]
    Store(db).apply([*gone, offsets.record("recipient-aliases", b"[]", key=b"US.1")], {})
    found = people.find(db, USER)
    assert found is not None
    assert found.ids == {USER}


def test_an_opt_out_under_any_id_counts_once(db: sqlite3.Connection) -> None:
    """What the gate copies to a person's other numbers is one opt-out, for the campaign of their last message."""
    found = funnels.campaign(db, "sale")
    assert found is not None
    assert found.opt_outs == 1


def test_who_counts_for_a_tier_is_counted_once_and_for_a_day(db: sqlite3.Connection) -> None:
    """Any number of records of a person is one person of the portfolio, from the newest of them on."""
    offsets, now_ms = Offsets(), unix_ms()
    times = {"1": (now_ms, now_ms - COUNTED_MS), "2": (now_ms - COUNTED_MS + 60_000,), "3": (now_ms - COUNTED_MS,)}
    Store(db).apply(
        [
            offsets.record("tier-recipients", {"portfolios": {"p1": rfc3339(at)}}, key=name.encode())
            for name, each in times.items()
            for at in each
        ],
        {},
    )
    assert people.tiers_used(db, now_ms) == {"p1": 2}
    forget_tiers(db, now_ms)
    assert db.execute("SELECT count(*) FROM tier_people").fetchone() == (2,)


async def test_no_page_names_whom_it_was_not_asked_for(tmp_path: Path) -> None:
    """A viewer who looks at a message, or finds somebody by user id, does not find the number in any link or form."""
    async with stand(tmp_path) as console, console.logged_in(VIEWER_TOKEN) as viewer:
        console.take(event("accepted", "order-1", message_id="wamid.1", http_status=200))
        console.record("recipient-aliases", ALIASES[USER], key=USER.encode())
        headers = [("errors.code", b"contract"), ("wapipe-person", f"1 {PERSON}".encode())]
        console.record("dead-letter", PERSON.encode(), headers=headers)
        pages = ("/messages", "/messages/1", "/messages?of=1", "/consent?of=1", f"/messages?q={USER}",
                 f"/consent?q={USER}", "/dead-letters", "/dead-letters/0/3")  # fmt: skip
        for page in pages:
            text = await viewer.text(page)
            assert PERSON not in text, page
        assert "1555•••9999" in await viewer.text("/consent?of=1")
        assert NUMBER in await viewer.text(f"/messages?q={USER}")
