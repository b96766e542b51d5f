"""A sender process in virtual time, for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sender.making import Bench, Make


@pytest.fixture
def bench() -> Iterator[Make]:
    """Makes processes, and ends them."""
    made: list[Bench] = []

    def make(**fields: Any) -> Bench:
        made.append(Bench(**fields))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert not one.crashes
