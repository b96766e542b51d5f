"""A throttle stops exactly what it is about: the number, its account, or the API's host; all others keep their rate.

Four numbers on two senders under one steady load, so that halts must also be heard from the other process. Judged by
the simulator's ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.campaign import Ids, Request, people, request
from tests.support.world import World

RATE_PER_S = 12
LOAD_S = 30
SPELL_S = 4.0
HEARD_S = 1.0
"""Other processes obey within this time (contract); what was on its way arrives meanwhile, too."""
PROBES_MAX = 12
KEPT = 0.75
"""Part of its rate that an unconcerned number must show in a spell's few seconds on a busy machine."""
SOCIABLE = 48
"""Messages to one person: three more than the pair limit lets go at once."""

REFUSED, SAME_ACCOUNT, SAME_HOST, STRANGER = (f"20000000000000{n}" for n in range(1, 5))
CROWD = {number: people(150, start=1000 * n) for n, number in enumerate((REFUSED, SAME_ACCOUNT, SAME_HOST, STRANGER))}
FRIEND = people(1, start=9000)[0]


class Spell(NamedTuple):
    """A time in which the first number is refused.

    Attributes:
        stopped: Numbers that may send nothing but probes in it.
        begin: What the simulator is told, at its beginning and at its end.
    """

    at_s: float
    stopped: frozenset[str]
    begin: dict[str, Any]
    end: dict[str, Any]


ACCOUNT_LIMIT = {to: {"code": 80007, "status": 400} for who in (REFUSED, SAME_ACCOUNT) for to in CROWD[who]}
SPELLS = {
    "number": Spell(3.0, frozenset({REFUSED}), {"spell": {"kind": "429", "for_s": SPELL_S, "sender": REFUSED}}, {}),
    "account": Spell(
        12.0, frozenset({REFUSED, SAME_ACCOUNT}), {"force": ACCOUNT_LIMIT}, {"force": dict.fromkeys(ACCOUNT_LIMIT)}
    ),
    "host": Spell(
        21.0, frozenset({REFUSED, SAME_HOST}), {"spell": {"kind": "503", "for_s": SPELL_S, "sender": REFUSED}}, {}
    ),
}


class Seen(NamedTuple):
    """What happened: requests, the simulator's rows, and when each spell began, ns as in the rows."""

    world: World
    requests: list[Request]
    rows: list[dict[str, Any]]
    began_ns: dict[str, int]


def number(world_url: str, account: str) -> dict[str, Any]:
    """A number of that account at that address."""
    return {
        "profile": "cloud", "rate_per_s": RATE_PER_S, "burst": RATE_PER_S, "account": account, "base_url": world_url,
    }  # fmt: skip


class Town(World):
    """Numbers at two names of one address: two hosts for the pipeline."""

    def _write_settings(self) -> None:
        one, two = (self.api.url.replace("127.0.0.1", name) + "/v24.0" for name in ("127.0.0.1", "localhost"))
        self._numbers = {
            REFUSED: number(one, "waba-1"), SAME_ACCOUNT: number(two, "waba-1"),
            SAME_HOST: number(one, "waba-2"), STRANGER: number(two, "waba-2"),
        }  # fmt: skip
        super()._write_settings()


def load(ids: Ids) -> list[Request]:
    """As much for each number as it can send in all that time, in turn; and many to one person."""
    mixed = [
        request(next(ids), number, crowd[i % len(crowd)])
        for i in range(RATE_PER_S * LOAD_S)
        for number, crowd in CROWD.items()
    ]
    friendly = [request(next(ids), STRANGER, FRIEND, priority="urgent") for _ in range(SOCIABLE)]
    return [*friendly, *mixed]


@pytest.fixture(scope="module")
def seen(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One run with all spells."""
    numbers = {name: {"profile": "cloud"} for name in CROWD}
    with Town(kafka, tmp_path_factory.mktemp("scopes"), numbers=numbers) as world:
        for role, name in (("gate", "gate"), ("sender", "sender-1"), ("sender", "sender-2")):
            world.spawn(role, name)
        world.ready()
        world.grant([FRIEND, *(person for crowd in CROWD.values() for person in crowd)])
        requests = load(Ids())
        world.produce(requests)
        world.until_taken(4, 30.0)
        stats = world.api.stats()
        zero = int(stats["started_monotonic_ns"])
        first_s = (zero + int(stats["first_message_ns"])) / 1e9
        began_ns: dict[str, int] = {}
        for name, spell in SPELLS.items():
            time.sleep(max(0.0, first_s + spell.at_s - time.monotonic()))
            began_ns[name] = time.monotonic_ns() - zero
            world.api.control(**spell.begin)
            lift = threading.Timer(SPELL_S, lambda spell=spell: world.api.control(**spell.end))
            lift.start()
            lift.join()
        world.until_terminal(requests, timeout_s=120)
        yield Seen(world, requests, world.api.ledger(), began_ns)


def arrivals(seen: Seen, name: str) -> dict[str, int]:
    """Requests of each number in a spell, from when all must have heard of it."""
    from_ns = seen.began_ns[name] + int(HEARD_S * 1e9)
    to_ns = seen.began_ns[name] + int(SPELL_S * 1e9)
    counts = dict.fromkeys(CROWD, 0)
    for row in seen.rows:
        if from_ns <= row["t_ns"] < to_ns and row["sender"] in counts:
            counts[row["sender"]] += 1
    return counts


@pytest.mark.parametrize("name", SPELLS)
def test_a_throttle_stops_its_scope_and_nobody_else(seen: Seen, name: str) -> None:
    """Within a second only probes come from whom it is about, in either process; all others keep their rate."""
    counts = arrivals(seen, name)
    print(name, counts)
    stopped = {number: count for number, count in counts.items() if number in SPELLS[name].stopped}
    others = {number: count for number, count in counts.items() if number not in SPELLS[name].stopped}
    assert 1 <= sum(stopped.values()) <= PROBES_MAX
    assert all(count >= KEPT * RATE_PER_S * (SPELL_S - HEARD_S) for count in others.values())


def test_everything_is_sent_once_and_in_order_afterwards(seen: Seen) -> None:
    """Nothing is lost, repeated or out of order, whoever was stopped meanwhile."""
    assert seen.world.judge(seen.requests).problems() == []


def test_the_pair_limit_is_kept_and_holds_up_one_person_only(seen: Seen) -> None:
    """The API never says 131056, and messages to others on the same number did not wait for that person's."""
    assert [row for row in seen.rows if row["code"] == 131056] == []
    friend = [row["t_ns"] for row in seen.rows if row["to"].endswith(FRIEND)]
    others = [row["t_ns"] for row in seen.rows if row["sender"] == STRANGER and not row["to"].endswith(FRIEND)]
    assert len(friend) == SOCIABLE
    burst_ns, waited_ns = friend[44] - friend[0], friend[-1] - friend[44]
    assert burst_ns + waited_ns >= (SOCIABLE - 45) * 6e9 - 1e9
    assert sum(friend[44] < at_ns < friend[-1] for at_ns in others) >= KEPT * RATE_PER_S * waited_ns / 1e9
