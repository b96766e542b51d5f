"""Merging again belongs to one assignment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pipeline.gate.erased import ErasedSweep
from pipeline.gate.item import Item
from pipeline.gate.remerge import Remerge
from tests.unit.gate.making import settings


class Nobody:
    """Merges nothing."""

    async def merge_again(self, items: list[Item]) -> None:
        """Must not be asked to."""
        raise AssertionError(items)


def begun(names: list[str], work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Note a task, and let it do nothing."""
    work.close()
    names.append(name)
    return asyncio.get_running_loop().create_task(asyncio.sleep(0))


async def test_a_recovery_that_ends_after_the_partitions_went_begins_nothing() -> None:
    """What belongs to another gate by then must not be merged upon a table that is not kept any more."""
    names: list[str] = []
    remerge = Remerge(settings(), Nobody(), lambda _ends, _begins: {}, lambda work, name: begun(names, work, name))
    sweep = ErasedSweep("consent", 1, lambda _p, _key: iter(()), Nobody(), lambda work, name: begun(names, work, name))
    for one in (remerge, sweep):
        one.assigned([0, 1])
        await one.stop()
        one.recovered()
    assert names == []
    for one in (remerge, sweep):
        one.assigned([1])
        one.recovered()
        await one.stop()
    assert names == ["gate-remerge", "gate-erased"]
