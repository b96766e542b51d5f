"""Malformed records of every kind on every topic that gate and sender read: a clear end for each, and nothing stops.

One gate and one sender for the whole file; a process that ended would fail the next wait. Good requests stand behind
the bad ones on the same partitions, so that whatever got stuck on one would be missed.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest

from pipeline.streams.topics import DELAYED, READY
from tests.support.campaign import ENTRANCE, EXPRESS, Ids, Request, campaign, grant, people, request
from tests.support.malformed import (
    Bad,
    bad_consents,
    bad_ready,
    bad_requests,
    bad_states,
    bad_updates,
    bad_windows,
    unreadable,
)
from tests.support.stage import LOOK_EVERY_S
from tests.support.world import NUMBER, Draft, World

LANE = f"{NUMBER}#0"
PEOPLE = people(40)
IDS = Ids("good")
KINDS_MIN = 30
WAIT_S = 60.0


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One gate, one sender, one fast number, people who opted in."""
    numbers = {NUMBER: {"profile": "v1", "rate_per_s": 1000, "burst": 1000}}
    simulator = ("--rate", "1000", "--burst", "1000")
    with World(kafka, tmp_path_factory.mktemp("malformed"), numbers=numbers, partitions=3, simulator=simulator) as one:
        one.spawn("gate")
        one.spawn("sender")
        one.ready()
        one.grant(PEOPLE)
        yield one


def assert_still_works(world: World) -> list[Request]:
    """Good requests to everybody are accepted."""
    world.api.control(reset=True)
    requests = campaign(2 * len(PEOPLE), [NUMBER], PEOPLE, IDS)
    world.produce(requests)
    world.until_terminal(requests, WAIT_S)
    assert world.judge(requests).problems() == []
    return requests


def write_bad(world: World, topic: str, bad: Sequence[Bad], good: Sequence[Draft], **options: Any) -> None:
    """Write bad records, each on the partition of a good one that stands behind it."""
    drafts: list[Draft] = []
    for index, one in enumerate(bad):
        behind = good[index % len(good)] if good else None
        key = behind.key if behind is not None else LANE.encode()
        drafts.append(Draft(key, one.value, (("case", one.case.encode()), *one.headers)))
        if behind is not None and index < len(good):
            drafts.append(behind)
    world.write(topic, [*drafts, *good[len(bad) :]], **options)


def dead_letters(world: World, topic: str, stage: str) -> dict[str, str]:
    """`dead-letter: CODE` by case, of those from one topic."""
    found: dict[str, str] = {}
    for record in world.read("dead-letter"):
        if record.headers["errors.topic"].decode() == world.topic(topic):
            assert record.headers["errors.stage"].decode() == stage
            assert record.headers["errors.message"]
            found[record.headers["case"].decode()] = f"dead-letter: {record.headers['errors.code'].decode()}"
    return found


def refusals(world: World, topic: str) -> dict[str, str]:
    """`TYPE: REASON` by case, of terminal events about requests from one topic."""
    found: dict[str, str] = {}
    for event in world.events():
        if event["source"]["topic"] in (topic, world.topic(topic)) and event["request_id"].startswith("bad-"):
            # What is invalid says what is wrong with it.
            assert event["detail"] or event["reason"] != "invalid", event
            found[event["request_id"].removeprefix("bad-")] = f"{event['type']}: {event['reason']}"
    return found


def consent_refusals(world: World) -> dict[str, str]:
    """`refused: REASON` by case, of what was said about consent updates."""
    events = [record.json() for record in world.read("consent-events")]
    return {
        event["update_id"].removeprefix("bad-"): f"{event['result']}: {event['reason']}"
        for event in events
        if event["update_id"].startswith("bad-")
    }


def consent_of(person: str) -> Draft:
    """A person's sound opt-in."""
    return Draft(person.encode(), orjson.dumps(grant(person, f"good-{person}")))


def until_told(world: World, told: Callable[[], dict[str, str]], expected: dict[str, str]) -> None:
    """Wait until each of these cases has found an end, and compare."""
    give_up_at = time.monotonic() + WAIT_S
    while not expected.keys() <= (found := told()).keys() and time.monotonic() < give_up_at:
        world.check_running()
        time.sleep(LOOK_EVERY_S)
    assert {case: found.get(case) for case in expected} == expected


def expected_of(bad: Sequence[Bad]) -> dict[str, str]:
    """What has to become of each case."""
    expected = {one.case: one.expected for one in bad}
    assert len(expected) == len(bad) >= KINDS_MIN
    return expected


@pytest.mark.parametrize("entrance", [ENTRANCE, EXPRESS])
def test_malformed_requests(world: World, entrance: str) -> None:
    """Each malformed request is rejected with a reason or kept as a dead letter; the good ones behind it are sent."""
    bad = [*unreadable("request"), *bad_requests(NUMBER, PEOPLE[0])]
    requests = campaign(len(bad), [NUMBER], PEOPLE, IDS)
    world.api.control(reset=True)
    write_bad(world, entrance, bad, [Draft(one["to"].encode(), orjson.dumps(one)) for one in requests])
    world.until_terminal(requests, WAIT_S)
    assert world.judge(requests, entrance=entrance).problems() == []
    until_told(world, lambda: dead_letters(world, entrance, "gate") | refusals(world, entrance), expected_of(bad))


def test_malformed_consent_updates(world: World) -> None:
    """Each malformed update is refused with a reason or kept as a dead letter; the good ones behind it count."""
    bad = [*unreadable("consent-update"), *bad_updates("15559990000")]
    newcomers = people(len(bad), start=5000)
    world.api.control(reset=True)
    write_bad(world, "consent-updates", bad, [consent_of(person) for person in newcomers])
    requests = campaign(len(newcomers), [NUMBER], newcomers, IDS)
    world.produce([*requests, request("bad-nobody-opted-in", NUMBER, "15559990000")])
    world.until_terminal(requests, WAIT_S)
    assert world.judge(requests).problems() == []
    topic = "consent-updates"
    until_told(world, lambda: dead_letters(world, topic, "gate") | consent_refusals(world), expected_of(bad))
    world.until(
        lambda: "nobody-opted-in" in refusals(world, ENTRANCE), "whom bad updates grant nothing is told", WAIT_S
    )
    assert refusals(world, ENTRANCE)["nobody-opted-in"] == "rejected: no_consent"


def test_null_keys_and_foreign_partitions(world: World) -> None:
    """A request or update without a key, or on a partition of somebody else, is repaired and not refused."""
    newcomers = people(6, start=6000)
    updates = [consent_of(person).value for person in newcomers]
    requests = campaign(12, [NUMBER], newcomers, IDS)
    world.api.control(reset=True)
    world.write("consent-updates", [Draft(None, update) for update in updates[:3]])
    world.write("consent-updates", [Draft(b"x", update) for update in updates[3:]], partition=1)
    wanted = {person.encode() for person in newcomers}
    world.until(lambda: wanted <= {record.key for record in world.read("consent")}, "updates are merged", WAIT_S)
    world.write(ENTRANCE, [Draft(None, orjson.dumps(one)) for one in requests[:6]], partition=0)
    world.until_terminal(requests[:6], WAIT_S)
    world.write(ENTRANCE, [Draft(b"x", orjson.dumps(one)) for one in requests[6:]], partition=2)
    world.until_terminal(requests, WAIT_S)
    assert world.judge(requests).problems() == []


@pytest.fixture(scope="module")
def sound(world: World) -> dict[str, Any]:
    """A ready record that the gate wrote."""
    requests = assert_still_works(world)
    ready = [record.json() for record in world.read("ready-normal")]
    found: dict[str, Any] = next(one for one in ready if one["request"]["request_id"] == requests[0]["request_id"])
    return found


@pytest.mark.parametrize("topic", [*READY, *DELAYED])
def test_malformed_lane_records(world: World, sound: dict[str, Any], topic: str) -> None:
    """Each malformed record on a lane topic becomes a dead letter; none of them is sent, and its lane goes on."""
    # A ready record may be larger than a request: what is big there is only no sound one.
    bad = [*unreadable("ready", big="contract"), *bad_ready(sound)]
    write_bad(world, topic, bad, [], partition=0)
    assert_still_works(world)
    until_told(world, lambda: dead_letters(world, topic, "sender"), expected_of(bad))


def test_garbage_on_account_state(world: World) -> None:
    """Whatever stands on `account-state`, senders take what they can read and go on."""
    states = bad_states(NUMBER)
    assert len(states) >= KINDS_MIN
    keys = (f"number:{NUMBER}/halt/7", f"number:{NUMBER}/webhook", f"lane:{LANE}/mark", "\x00", "number", "")
    world.write("account-state", [Draft(key.encode(), state) for key in keys for state in states])
    # Only the last value of a key holds: here each has a key of its own.
    world.write("account-state", [Draft(f"number:{NUMBER}/halt/{8 + i}".encode(), v) for i, v in enumerate(states)])
    assert_still_works(world)


def test_garbage_in_the_tables(world: World) -> None:
    """Whose stored consent or window cannot be read gets nothing, until a new opt-in; everybody else is served."""
    consents, windows = bad_consents(), bad_windows(NUMBER)
    assert min(len(consents), len(windows)) >= KINDS_MIN
    victims, talkers = people(len(consents), start=7000), people(len(windows), start=8000)
    world.api.control(reset=True)
    world.write("consent", [Draft(v.encode(), value) for v, value in zip(victims, consents, strict=True)])
    world.write("service-windows", [Draft(t.encode(), value) for t, value in zip(talkers, windows, strict=True)])
    text = {"type": "text", "text": {"body": "x"}}
    refused = [
        *(request(f"bad-consent-{i}", NUMBER, victim) for i, victim in enumerate(victims)),
        *(
            request(f"bad-window-{i}", NUMBER, talker, category="service", message=text)
            for i, talker in enumerate(talkers)
        ),
    ]
    world.produce(refused)
    world.until_terminal(refused, WAIT_S)
    found = refusals(world, ENTRANCE)
    assert {found.get(f"consent-{i}") for i in range(len(victims))} == {"rejected: no_consent"}
    assert {found.get(f"window-{i}") for i in range(len(talkers))} == {"rejected: window_closed"}
    world.grant(victims)
    again = campaign(len(victims), [NUMBER], victims, IDS)
    world.produce(again)
    world.until_terminal(again, WAIT_S)
    assert world.judge(again).problems() == []
    assert_still_works(world)


def test_restart_upon_all_that(world: World) -> None:
    """A new gate and a new sender meet all of it again while they restore and replay, and work."""
    for name in ("gate", "sender"):
        world.kill(name, signal.SIGTERM)
        world.spawn(name)
    world.ready()
    assert_still_works(world)
