"""The main job end to end: real Kafka, gates and senders as processes, judged by the simulator's ledger and the topics.

Limits in time (utilisation, the first 140) are figures of the benchmark; here they are printed, not asserted.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.streams.topics import DELAYED, READY
from tests.support.campaign import EXPRESS, Ids, campaign, people
from tests.support.judge import Verdict
from tests.support.reading import assignments
from tests.support.world import NUMBER, World

SEVEN = [str(int(NUMBER) + i) for i in range(7)]


def assert_no_refusal_but_by_lag(verdict: Verdict) -> None:
    """A simulator that is late itself sees requests bunched; `problems` has judged already that nothing else refused.

    What it refused was deferred, with the followers behind it; nothing else is.
    """
    assert verdict.refused == {} or verdict.excess > 0
    assert verdict.refused or "deferred" not in verdict.types


def ended(verdict: Verdict) -> dict[str, int]:
    """Events by type, but for deferrals."""
    return {kind: count for kind, count in verdict.types.items() if kind != "deferred"}


def test_a_sender_on_a_new_cluster_is_ready_at_once(kafka: str, tmp_path: Path) -> None:
    """Readiness waits until what is known of the account was read, not until somebody writes the first of it."""
    with World(kafka, tmp_path) as world:
        world.spawn("sender")
        world.ready()
        aspects = {record.json().get("aspect") for record in world.read("account-state")}
        # What it writes by itself at its start: which lanes there are, and what its look at the number saw.
        assert aspects <= {"lanes", "preflight"}, "it was ready only after its own first mark"


def test_one_number_two_gates_two_senders(kafka: str, tmp_path: Path) -> None:
    """Every request ends in one terminal event, in order, once, within the limit; without consent nothing is sent."""
    recipients = people(300)
    strangers = frozenset(recipients[:20])
    with World(kafka, tmp_path) as world:
        for name in ("gate-1", "gate-2"):
            world.spawn("gate", name)
        for name in ("sender-1", "sender-2"):
            world.spawn("sender", name)
        world.ready()
        world.grant(recipients[20:])
        requests = campaign(1200, [NUMBER], recipients, Ids())
        world.produce(requests)
        world.until_terminal(requests, timeout_s=150)
        verdict = world.judge(requests, not_allowed=strangers)
    refused = sum(request["to"] in strangers for request in requests)
    assert verdict.problems() == []
    assert_no_refusal_but_by_lag(verdict)
    assert ended(verdict) == {"queued": 1200 - refused, "accepted": 1200 - refused, "rejected": refused}
    assert verdict.reasons == {"rejected: no_consent": refused}


def test_seven_numbers_on_five_senders(kafka: str, tmp_path: Path) -> None:
    """Lane topics stay together whatever the number of members, and each number keeps its own limit and order."""
    recipients = people(210)
    numbers = {number: {"profile": "v1"} for number in SEVEN}
    with World(kafka, tmp_path, numbers=numbers) as world:
        world.spawn("gate")
        senders = [f"sender-{i}" for i in range(1, 6)]
        for name in senders:
            world.spawn("sender", name)
        world.ready()
        world.grant(recipients)
        ids = Ids()
        requests = campaign(2100, SEVEN, recipients, ids)
        codes = campaign(70, SEVEN, recipients[:70], ids, category="authentication")
        world.produce(requests)
        world.produce(codes, EXPRESS)
        world.until_terminal([*requests, *codes], timeout_s=120)
        members = assignments(kafka, world.group("sender"))
        # Entrances and priorities are chains of their own: the place of the codes among the others says nothing.
        verdict = world.judge([*requests, *codes])
    assert verdict.problems() == []
    assert_no_refusal_but_by_lag(verdict)
    assert ended(verdict) == {"queued": 2170, "accepted": 2170}
    lanes = {world.topic(name) for name in (*READY, *DELAYED)}
    held = [frozenset(found) for member in members for found in member.values()]
    assert len(members) == 5
    assert all(set(member) == lanes for member in members), members
    assert all(len({frozenset(found) for found in member.values()}) == 1 for member in members), members
    assert sorted(n for found in {*held} for n in found) == list(range(7))
