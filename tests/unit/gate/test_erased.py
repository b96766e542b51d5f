"""Markers of erased persons: gone once nothing older can arrive any more, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from rocksdict import Options, Rdict

from pipeline.gate import erased
from pipeline.gate.erased import ErasedSweep, is_spent
from pipeline.gate.item import Item
from tests.unit.gate.making import ADA, NOW_MS, Tables, body, item, update

DAY_MS = 86_400_000
RETENTION_MS = 14 * DAY_MS
OLD, YOUNG = "2026-11-01T00:00:00.000Z", "2026-11-20T00:00:00.000Z"


def consent(person: str, erased_at: str | None, *entries: dict[str, Any]) -> bytes:
    """A value of the table."""
    return orjson.dumps({"recipient": person, "entries": list(entries), "erased_at": erased_at, "updated_at": OLD})


ENTRY = {
    "business": "acme", "category": "utility", "purpose": "*", "status": "granted", "at": YOUNG, "expires_at": None,
    "update_id": "u", "method": "checkbox", "source": "x",
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, False),
        ({"entries": [], "erased_at": OLD}, True),
        ({"entries": [], "erased_at": YOUNG}, False),
        ({"entries": [], "erased_at": None}, False),
        ({"entries": [ENTRY], "erased_at": OLD}, False),
    ],
)
def test_only_an_old_marker_with_nothing_beside_it_is_spent(value: dict[str, Any] | None, expected: bool) -> None:
    """A person who said yes again keeps their record, and a young marker goes on refusing."""
    assert is_spent(value, NOW_MS, RETENTION_MS) is expected


class Worker:
    """Notes which keys it is to look at."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bytes | None]] = []

    async def merge_again(self, items: list[Item]) -> None:
        """As the gate's worker."""
        self.seen += [(one.tp[1], one.key) for one in items]


async def test_every_partition_is_walked_through_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real store, larger than a piece: each spent marker is found once, whatever else lies between."""
    monkeypatch.setattr(erased, "PIECE_KEYS", 3)
    monkeypatch.setattr(erased, "PIECE_S", 0)
    stores = {number: Rdict(str(tmp_path / str(number)), Options(raw_mode=True)) for number in (0, 1)}
    for number, store in stores.items():
        store[b"__faust\0offset__"] = b"7"
        for index in range(10):
            person = f"155500000{number}{index}"
            store[person.encode()] = consent(
                person, OLD if index % 3 == 0 else None, *([] if index % 3 == 0 else [ENTRY])
            )

    def entries(partition: int, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from stores[partition].items(from_key=after)

    worker = Worker()
    sweep = ErasedSweep("consent", RETENTION_MS, entries, worker, _no_task)
    sweep.assigned([0, 1])
    await sweep.walk(NOW_MS)
    assert worker.seen == [(p, f"155500000{p}{index}".encode()) for p in (0, 1) for index in (0, 3, 6, 9)]
    for store in stores.values():
        store.close()


def _no_task(_work: Coroutine[Any, Any, None], _name: str) -> asyncio.Task[None]:
    raise AssertionError("walked through by hand")


def _swept(tables: Tables, now_ms: int) -> list[Any]:
    home = item("update", update()).tp[1]
    looked_at = Item("remerge", "consent", ("t-consent", home), -1, now_ms, ADA.encode(), None, None, 0.0)
    return tables.updates.apply(looked_at)


def test_a_spent_marker_becomes_a_tombstone() -> None:
    """The gate looks again, writes the tombstone, and knows nothing of the person from then on."""
    tables = Tables()
    erase = update(action="erase", business="*", categories=[], at=OLD, evidence=None)
    outs = tables.updates.apply(item("update", erase))
    assert body(outs[0])["erased_at"] == OLD
    [out] = _swept(tables, NOW_MS)
    assert (out.topic, out.key, out.value) == ("consent", ADA.encode(), None)
    assert _swept(tables, NOW_MS) == [], "it is gone already"


def test_who_said_yes_since_keeps_their_record() -> None:
    """A grant that came between the walk and the look keeps the marker and the grant."""
    tables = Tables()
    tables.updates.apply(item("update", update(action="erase", business="*", categories=[], at=OLD, evidence=None)))
    tables.grant()
    assert _swept(tables, NOW_MS) == []
    assert _swept(tables, NOW_MS + 400 * DAY_MS) == []


def test_a_young_marker_stays() -> None:
    """Within the retention of updates an older grant may still be read: it has to be refused."""
    tables = Tables()
    tables.updates.apply(item("update", update(action="erase", business="*", categories=[], at=YOUNG, evidence=None)))
    assert _swept(tables, NOW_MS) == []
