"""Gates that are killed, frozen, and come and go: what goes in comes out once all the same."""

from __future__ import annotations

import time
from collections import defaultdict

from pipeline.clock import rfc3339, unix_ms
from tests.support.broker import wait_until
from tests.support.gate_stand import (
    ADA,
    LIMIT_S,
    Stand,
    request,
    update,
)


def people_of(count: int) -> list[str]:
    """Recipients of a campaign."""
    return [f"155503{i:05d}" for i in range(count)]


def grants(stand: Stand, people: int) -> None:
    """Two of three people allow utility messages."""
    for person in people_of(people * 2 // 3):
        stand.write("consent-updates", update(f"g-{person}", person), person)
    stand.flush()


def campaign(stand: Stand, people: int, rounds: range) -> set[str]:
    """Requests to all people in turn; returns the request ids."""
    ids = set()
    for number in rounds:
        for person in people_of(people):
            ids.add(f"{person}-{number:04d}")
            stand.write("outbound-requests", request(f"{person}-{number:04d}", person), person)
    stand.flush()
    return ids


def check_campaign(stand: Stand, ids: set[str], people: int) -> None:
    """Each request has exactly one distinct outcome, the right one, and lanes keep the order of each person."""
    by_id: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for event in stand.events():
        by_id[event["request_id"]].add((event["event_id"], event["reason"] or event["type"]))
    assert set(by_id) == ids
    assert {len(found) for found in by_id.values()} == {1}
    expected = {name: "queued" if int(name[6:11]) < people * 2 // 3 else "no_consent" for name in ids}
    assert {name: next(iter(found))[1] for name, found in by_id.items()} == expected
    seen: dict[str, int] = {}
    firsts: dict[str, list[int]] = defaultdict(list)
    for read in stand.read("ready-normal"):
        name = read.body["request"]["request_id"]
        if name not in seen:
            firsts[read.body["request"]["to"]].append(read.body["source"]["offset"])
        seen[name] = seen.get(name, 0) + 1
    assert set(seen) == {name for name, told in expected.items() if told == "queued"}
    for offsets in firsts.values():
        assert offsets == sorted(offsets)
    print(f"ready records {sum(seen.values())} for {len(seen)} requests: {sum(seen.values()) - len(seen)} repeated")


def test_killed_gate_loses_nothing(stand: Stand) -> None:
    """SIGKILL three times in the middle of a campaign: every request has one outcome, in order per person."""
    people = 90
    grants(stand, people)
    ids: set[str] = set()
    gate = stand.start()
    for part in range(3):
        seen = len(ids)
        ids |= campaign(stand, people, range(part * 50, part * 50 + 50))
        stand.wait_events(seen + (len(ids) - seen) // 10, "progress")
        gate.kill()
        gate.wait(LIMIT_S)
        gate = stand.start()
    ids |= campaign(stand, people, range(999, 1000))
    stand.wait_events(len(ids), "an outcome for every request")
    assert stand.stop(gate) == 0
    check_campaign(stand, ids, people)


def test_gates_come_and_go_without_repeating_anything(stand: Stand) -> None:
    """A second gate joins, the first leaves by SIGTERM, while requests come: one outcome each, written once."""
    people = 60
    grants(stand, people)
    ids = campaign(stand, people, range(5))
    first = stand.start("a")
    stand.wait_events(len(ids), "the first gate's part")
    second = stand.start("b")
    log = stand.folder / "b.log"
    left = 10  # rounds after the second gate joined, and again after the first has left
    for number in range(100, 1000):
        ids |= campaign(stand, people, range(number, number + 1))
        left -= b"tables_restored" in log.read_bytes()
        if left == 0:
            break
        time.sleep(0.05)  # about a thousand requests a second
    assert left == 0
    assert stand.stop(first) == 0
    ids |= campaign(stand, people, range(1000, 1010))
    stand.wait_events(len(ids), "an outcome for every request")
    assert stand.stop(second) == 0
    check_campaign(stand, ids, people)
    assert len(stand.events()) == len(ids)


def test_frozen_predecessor_does_not_bring_a_consent_back(stand: Stand) -> None:
    """An old consent written over a newer one by a gate that woke up late is repaired at the next assignment."""
    stand.write("consent-updates", update("g"), ADA)
    stand.write("consent-updates", update("stop", action="revoke", at=rfc3339(unix_ms())), ADA)
    stand.flush()
    gate = stand.start()
    wait_until(lambda: len(stand.read("consent-events")) == 2, "both updates to be merged", LIMIT_S)
    assert stand.stop(gate) == 0
    granted = stand.read("consent")[0]
    assert granted.body["entries"][0]["status"] == "granted"
    stand.write("consent", granted.value, ADA)
    stand.flush()
    gate = stand.start()
    wait_until(lambda: len(stand.read("consent")) == 4, "the repaired consent", LIMIT_S)
    assert stand.read("consent")[-1].body["entries"][0]["status"] == "revoked"
    stand.write("outbound-requests", request("r"), ADA)
    stand.flush()
    assert stand.wait_events(1, "the request's end")[0]["reason"] == "consent_withdrawn"
    assert len(stand.read("consent-events")) == 2
    assert stand.stop(gate) == 0
