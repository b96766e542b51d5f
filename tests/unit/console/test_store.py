"""The read model: any order and any repetition of records lead to the same rows; restarts lose and repeat nothing."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import unix_ms
from pipeline.console import funnels, query
from pipeline.console.pruning import DAY_MS, bytes_used, prune
from pipeline.console.schema import open_reader, open_writer
from pipeline.console.store import Store
from pipeline.console.taken import Taken
from tests.support.console import NUMBER, PERSON, Offsets, event, status


def _campaign() -> list[Taken]:
    """Ten messages of a campaign: six accepted (five delivered, three read), two rejected, one failed, one open."""
    offsets, records = Offsets(), []

    def put(topic: str, value: dict[str, Any]) -> None:
        records.append(offsets.record(topic, value))

    for index in range(10):
        name, message_id = f"r-{index}", f"wamid.{index}"
        if index in (6, 7):
            put("outbound-events", event("rejected", name, campaign="sale", reason="no_consent"))
            continue
        put("outbound-events", event("queued", name, campaign="sale"))
        if index < 6:
            put("outbound-events", event("accepted", name, campaign="sale", message_id=message_id, http_status=200))
            by_name = name if index % 2 else None  # v1 names no request
            put("inbound-events", status("sent", message_id, by_name))
        if index < 5:
            put("inbound-events", status("delivered", message_id, name if index % 2 else None))
        if index < 3:
            put("inbound-events", status("read", message_id, name if index % 2 else None))
        if index == 8:
            put("outbound-events", event("failed", name, campaign="sale", reason="api_rejected", http_status=400))
    return records


FUNNEL = {
    "all": 10, "queued": 8, "accepted": 6, "delivered": 5, "read": 3, "ended": 9, "rejected": 2, "failed": 1,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_any_order_and_repetition_give_the_same_funnel(tmp_path: Path, seed: int) -> None:
    """Records in any order, some of them twice, in batches of any size: the funnel counts each message once."""
    dice = random.Random(seed)
    records = _campaign()
    records += dice.sample(records, 8)
    dice.shuffle(records)
    with closing(open_writer(tmp_path / "db")) as db:
        store = Store(db)
        while records:
            size = dice.randint(1, 9)
            store.apply(records[:size], {})
            del records[:size]
            if dice.random() < 0.3:
                store.forget()
        funnel = funnels.campaign(db, "sale")
        assert funnel is not None
        assert funnel.counts == FUNNEL
        assert funnel.reasons == {"no_consent": 2, "api_rejected": 1}
        assert funnel.open == 1
        assert db.execute("SELECT count(*) FROM messages").fetchone() == (10,)
        course = funnels.course(db, "sale")
        assert course is not None
        assert {stage: sum(counts) for stage, counts in course.counts.items()} == {
            stage: FUNNEL[stage] for stage in ("queued", "accepted", "delivered", "read")
        }


def test_each_key_finds_its_message(tmp_path: Path) -> None:
    """By request id, the API's id, the person in any form, campaign, or the beginning of an id; and nothing else."""
    with closing(open_writer(tmp_path / "db")) as db:
        Store(db).apply(_campaign(), {})
        for text, by, count in (
            ("r-3", "request id", 1), ("wamid.2", "message id", 1), (PERSON, "recipient", 10),
            ("+1 555 010-9999", "recipient", 10), ("sale", "campaign", 10), ("r-", "beginning of request ids", 10),
            ("nobody", None, 0), ("%", None, 0), ("", None, 0),
        ):  # fmt: skip
            hits = query.search(db, text)
            assert (hits.by, len(hits.messages)) == (by, count), text


def test_a_batch_counts_with_its_positions_or_not_at_all(tmp_path: Path) -> None:
    """What a crash cuts short is read again: rows and positions come by one commit."""
    offsets = Offsets()
    good = offsets.record("outbound-events", event("queued", "r-1"))
    with closing(open_writer(tmp_path / "db")) as db:
        store = Store(db)
        store.apply([good], {("outbound-events", 0): 2})
        broken = offsets.record("consent", b"{}", key=b"1")._replace(value={})  # type: ignore[arg-type]  # SQLite refuses it
        with pytest.raises(sqlite3.Error):
            store.apply(
                [offsets.record("outbound-events", event("queued", "r-2")), broken], {("outbound-events", 0): 4}
            )
    with closing(open_writer(tmp_path / "db")) as db:
        store = Store(db)
        assert store.positions() == {("outbound-events", 0): 2}
        assert query.search(db, "r-2").messages == []
        store.apply([good], {("outbound-events", 0): 2})
        assert db.execute("SELECT count(*) FROM events").fetchone() == (1,)


def test_what_is_too_old_or_too_much_goes_first(tmp_path: Path) -> None:
    """Days and bytes are kept: the oldest messages and their events are deleted, the newer ones stay."""
    offsets, now_ms = Offsets(), unix_ms()
    old = [offsets.record("outbound-events", event("queued", f"old-{i}", at_ms=now_ms - 9 * DAY_MS)) for i in range(50)]
    new = [offsets.record("outbound-events", event("queued", f"new-{i}", at_ms=now_ms)) for i in range(50)]
    with closing(open_writer(tmp_path / "db")) as db:
        store = Store(db)
        store.apply(old, {})
        while prune(db, before_ms=now_ms - DAY_MS, max_bytes=1 << 40):
            pass
        store.forget()
        store.apply(new, {})
        assert query.search(db, "old-1").messages == []
        assert len(query.search(db, "new-").messages) == 50
        prune(db, before_ms=0, max_bytes=bytes_used(db) - 1)
        assert query.search(db, "new-").messages == []


def test_opt_outs_count_for_the_last_campaign_before_them(tmp_path: Path) -> None:
    """An opt-out belongs to the campaign whose message the person got last, within three days."""
    offsets, now_ms = Offsets(), unix_ms()
    records = []
    for name, at_ms in (("first", now_ms - 2000), ("second", now_ms - 1000)):
        told = event("accepted", name, campaign=name, message_id=f"wamid.{name}", http_status=200, at_ms=at_ms)
        records.append(offsets.record("outbound-events", told))
    stop = {"event_id": "e", "action": "revoke", "result": "applied", "evidence": {"actor": "user"}}
    records.append(offsets.record("consent-events", stop, key=PERSON.encode(), at_ms=now_ms))
    with closing(open_writer(tmp_path / "db")) as db:
        Store(db).apply(records, {})
        found = [funnels.campaign(db, name) for name in ("first", "second")]
        assert [funnel.opt_outs for funnel in found if funnel is not None] == [0, 1]


def test_readers_cannot_write(tmp_path: Path) -> None:
    """A connection of a page can only read, whatever is asked of it."""
    open_writer(tmp_path / "db").close()
    with closing(open_reader(tmp_path / "db")) as db, pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM messages")


def test_records_of_others_are_passed_over(tmp_path: Path) -> None:
    """What is no JSON, no event, or lacks every id changes nothing and stops nothing."""
    offsets = Offsets()
    values = [b"\xff", b"[]", b"{}", b'{"type":"queued","request_id":7}', None]
    with closing(open_writer(tmp_path / "db")) as db:
        store = Store(db)
        topics = ("outbound-events", "inbound-events", "audit-events", "consent-events")
        store.apply([offsets.record(topic, value) for topic in topics for value in values], {})
        store.apply([offsets.record("outbound-events", event("queued", "r-1"))], {})
        assert [message.number for message in query.search(db, "r-1").messages] == [NUMBER]
