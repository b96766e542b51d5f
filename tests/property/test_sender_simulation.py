"""The real code of the sender in worlds of virtual time: whatever breaks, every promise holds.

A failure names its seed; `python -m tests.support.sender_world SEED` prints what happened.
"""

from __future__ import annotations

import pytest

from tests.support.sender_plan import draw
from tests.support.sender_world import World

CHUNK = 20
CHUNKS = 10
FOUND = {
    "reading_on_without_kafka_crashed": 60018,
    "event_of_a_late_answer_was_dropped": 60067,
    "pair_limit_crashed_the_process": 30014,
    "sent_again_without_a_look_at_the_statuses": 30276,
    "slow_copy_undid_a_later_wait": 631,
    "earlier_answer_told_a_second_event": 1043,
}
"""Seeds whose runs broke a promise until what the name says was mended."""


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_promises_hold_whatever_breaks(chunk: int) -> None:
    """Lost, sent twice, out of order, over the limit, after an opt-out, stuck: none of it, in any of these worlds."""
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        assert World(draw(seed)).run() == [], f"seed {seed}"


@pytest.mark.parametrize("seed", FOUND.values(), ids=FOUND)
def test_what_broke_once_holds(seed: int) -> None:
    """A world in which the sender once failed stays clean."""
    assert World(draw(seed)).run() == [], f"seed {seed}"
