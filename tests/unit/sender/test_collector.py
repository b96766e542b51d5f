"""The cycle collector stands still while a history is read, and leaves nothing out afterwards."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline.sender import takeover
from pipeline.sender.collector import Collector
from tests.support.sender_values import record
from tests.unit.sender.making import Make


@pytest.fixture(autouse=True)
def _collecting_again() -> Iterator[None]:
    yield
    gc.enable()


def test_nothing_is_collected_until_the_last_history_is_read() -> None:
    """Two lanes are taken over at once: the collector begins again when both are read, however that ends."""
    collector = Collector()
    with collector.paused():
        with suppress(TimeoutError), collector.paused():
            assert not gc.isenabled()
            raise TimeoutError
        assert not gc.isenabled()
    assert gc.isenabled()


class Cycle:
    """Garbage that only the collector finds, as a lane is that was given up."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_garbage_by_then_is_found_later() -> None:
    """A lane that was given up right before a take-over is freed, with all its messages."""
    lane = weakref.ref(Cycle())
    with Collector().paused():
        pass
    gc.collect()
    assert lane() is None


@pytest.mark.parametrize("long", [1, 3])
def test_a_long_history_is_read_without_collections(bench: Make, monkeypatch: pytest.MonkeyPatch, long: int) -> None:
    """They would take as long as the reading; a short history is not worth it."""
    monkeypatch.setattr(takeover, "LONG_HISTORY_RECORDS", long)
    world = bench()
    world.ledger(record("opened", 1), record("attempt", 1))
    collects: list[bool] = []
    world.reader.hooks["read"] = [lambda: collects.append(gc.isenabled())] * 2
    world.opened()
    assert collects == [long > 2, True], "what came meanwhile is short"
    assert gc.isenabled()
