"""Spells of 429 and 503, end to end: the number or host halts at once, nothing is lost, and no attempt is spent.

One pipeline for all; each test resets the simulator. `max_in_flight` bounds what can be on its way when a spell begins,
so that the bound on requests during it holds on a slow machine, too: those, and one probe per half second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.streams.topics import DELAYED
from tests.support.campaign import Ids, Request, campaign, people
from tests.support.judge import Verdict
from tests.support.world import NUMBER, World

PEOPLE = people(100)
COUNT = 600
SPELL_AFTER_S, SPELL_S = 2.0, 5.0
IN_FLIGHT_MAX = 16
PROBES_MAX = math.ceil(SPELL_S / 0.5) + 1  # one per half second at most
ON_THE_WAY_S = 2.0  # an attempt that is older than 0.5 s is not written any more
IDS = Ids()


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One gate, two senders, one number; an attempt that were spent would be the last but one."""
    numbers = {NUMBER: {"profile": "v1", "max_in_flight": IN_FLIGHT_MAX}}
    folder = tmp_path_factory.mktemp("throttle")
    with World(kafka, folder, numbers=numbers, settings="[sender]\nmax_attempts = 2\n") as running:
        running.spawn("gate")
        for name in ("sender-1", "sender-2"):
            running.spawn("sender", name)
        running.ready()
        running.grant(PEOPLE)
        yield running


def run_with_spell(world: World, **spell: Any) -> tuple[list[Request], Verdict, list[dict[str, Any]]]:
    """A campaign that a spell meets in its middle; the verdict, and the ledger's rows that the spell hit."""
    requests = campaign(COUNT, [NUMBER], PEOPLE, IDS)
    world.api.control(reset=True, spell={"in_s": SPELL_AFTER_S, "for_s": SPELL_S, "since": "first_message", **spell})
    world.produce(requests)
    world.until_terminal(requests, timeout_s=120)
    verdict = world.judge(requests)
    hit = [row for row in world.api.ledger() if row["fault"]]
    print(f"requests that the spell hit: {len(hit)}")
    return requests, verdict, hit


def spent_attempts(world: World, requests: list[Request]) -> int:
    """The highest number of attempts that any durable copy of these requests counts as spent."""
    ids = {request["request_id"] for request in requests}
    copies = [record.json() for name in DELAYED for record in world.read(name)]
    mine: list[int] = [copy["spent"] for copy in copies if copy["request"]["request_id"] in ids]
    assert mine, "a refused message leaves a durable copy"
    return max(mine)


def later_than(hit: list[dict[str, Any]], delay_s: float) -> int:
    """How many requests the spell hit more than so long after the first."""
    return sum(row["t_ns"] - hit[0]["t_ns"] > delay_s * 1e9 for row in hit)


def assert_survived(world: World, requests: list[Request], verdict: Verdict, reason: str) -> None:
    """Everything was accepted in the end, once and in order; the refused ones waited durably, attempts unspent."""
    assert verdict.problems() == []
    assert verdict.types["accepted"] == COUNT
    assert set(verdict.types) == {"queued", "deferred", "accepted"}
    assert verdict.reasons[f"deferred: {reason}"] >= 1
    assert set(verdict.reasons) <= {f"deferred: {reason}", "deferred: behind_deferred"}
    assert spent_attempts(world, requests) == 0


def test_spell_of_429_without_retry_after(world: World) -> None:
    """During a spell of 429 only what was on its way and the probes reach the API; then everything is accepted."""
    requests, verdict, hit = run_with_spell(world, kind="429")
    assert_survived(world, requests, verdict, "throttled")
    assert 1 <= len(hit) <= IN_FLIGHT_MAX + PROBES_MAX
    assert verdict.refused[429] == len(hit) + verdict.limit_refusals


def test_spell_of_429_with_retry_after(world: World) -> None:
    """With Retry-After nothing is probed before it is over, so that little more than what was on its way arrives."""
    requests, verdict, hit = run_with_spell(world, kind="429", retry_after="auto")
    assert_survived(world, requests, verdict, "throttled")
    assert verdict.refused[429] == len(hit) + verdict.limit_refusals
    assert 1 <= len(hit) <= IN_FLIGHT_MAX
    assert later_than(hit, ON_THE_WAY_S) == 0


def test_spell_of_503(world: World) -> None:
    """A spell of 503 halts the host the same way, with a date in Retry-After as with seconds."""
    requests, verdict, hit = run_with_spell(world, kind="503", retry_after="auto", retry_after_as="date")
    assert_survived(world, requests, verdict, "overloaded")
    assert verdict.refused[503] == len(hit)
    assert 1 <= len(hit) <= IN_FLIGHT_MAX
    assert later_than(hit, ON_THE_WAY_S) == 0
