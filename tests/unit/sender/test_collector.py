"""The cycle collector stands still while a history is read, and does not go through it afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline.sender import takeover
from pipeline.sender.collector import Collector
from tests.support.sender_values import record
from tests.unit.sender.making import Make


@pytest.fixture(autouse=True)
def _collecting_again() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_is_collected_until_the_last_history_is_read() -> None:
    """Two lanes are taken over at once: the collector begins again when both are read, however that ends."""
    collector = Collector()
    with collector.paused():
        with suppress(TimeoutError), collector.paused():
            assert not gc.isenabled()
            raise TimeoutError
        assert not gc.isenabled()
        assert gc.get_freeze_count() == 0
        history = [{"n": number} for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(history), "no later collection looks at it"


@pytest.mark.parametrize("long", [1, 3])
def test_a_long_history_is_read_without_collections(bench: Make, monkeypatch: pytest.MonkeyPatch, long: int) -> None:
    """They would take as long as the reading; a short history is not worth leaving what exists out of them."""
    monkeypatch.setattr(takeover, "LONG_HISTORY_RECORDS", long)
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1))
    collects: list[bool] = []
    world.reader.hooks["read"] = [lambda: collects.append(gc.isenabled())] * 2
    world.opened()
    assert collects == [long > 2, True], "what came meanwhile is short"
    assert (gc.get_freeze_count() > 0) == (long <= 2)
