"""What happens in one run of the simulated sender, drawn from a seed: requests, faults, the API's moods, Kafka's."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.config import Settings

NUMBER = "200000000000001"
BASE_URL = "https://api.invalid"
PEOPLE = tuple(f"1555011{n:04d}" for n in range(40))
PRIORITY_OF = {"urgent": "authentication", "normal": "utility", "bulk": "marketing"}

FaultKind = Literal["crash", "freeze", "handover", "stop"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request of upstream, admitted by the gate at a time."""

    at_s: float
    request_id: str
    recipient: str
    priority: str
    ttl_s: float = 900.0
    valid_s: float = 900.0
    due_in_s: float | None = None
    via_gate: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that befalls the owner of the lanes, at its `point`-th step since it got them, not before a time."""

    kind: FaultKind
    point: int
    length_s: float = 0.0
    not_before_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run.

    Attributes:
        gate_repeats: (request index, delay): the gate writes a request's record again.
        upstream_repeats: (request index, delay, body changes): another record with the same id.
        opt_outs: (time, recipient).
        spells: (begin, end, kind) of the API's refusals.
        fates: Weights of what the API does with a request, see `sender_api.FATES`.
        statuses: Whether status webhooks come at once, late, or never.
        skews_s: Host clocks, in the order in which processes start.
    """

    seed: int
    profile: str = "cloud"
    shards: int = 1
    rate: float = 20.0
    burst: float = 20.0
    policy: str = "resend"
    dedupe_window_s: float = 900.0
    requests: tuple[Request, ...] = ()
    gate_repeats: tuple[tuple[int, float], ...] = ()
    upstream_repeats: tuple[tuple[int, float, bool], ...] = ()
    opt_outs: tuple[tuple[float, str], ...] = ()
    poison: tuple[float, ...] = ()
    faults: tuple[Fault, ...] = ()
    spells: tuple[tuple[float, float, str], ...] = ()
    fates: tuple[int, ...] = (100,)
    pair_burst: int | None = None
    unknown_wait_s: float = 30.0
    statuses: Literal["prompt", "late", "never"] = "prompt"
    append_failure: float = 0.0
    read_failure: float = 0.0
    slow_kafka: float = 0.02
    outages: tuple[tuple[float, float], ...] = ()
    stalls: tuple[tuple[float, float], ...] = ()
    slow_ready_s: float = 0.05
    skews_s: tuple[float, ...] = field(default=(0.0,))
    generations_begin_anew: bool = False
    ready_window: int = 2000

    def without(self, **changes: Any) -> Plan:
        """The same run but for some fields."""
        return replace(self, **changes)


def settings_of(plan: Plan) -> Settings:
    """The settings of the simulated processes."""
    number = {
        "business": "acme", "profile": plan.profile, "base_url": BASE_URL, "token_env": "TOKEN",
        "rate_per_s": plan.rate, "burst": plan.burst, "partitions": list(range(plan.shards)),
    }  # fmt: skip
    values: dict[str, Any] = {
        "numbers": {NUMBER: number},
        "policy": {"require_templates": False},
        "sender": {
            "on_unknown": dict.fromkeys(("authentication", "utility", "marketing", "service"), plan.policy),
            "dedupe_window_s": plan.dedupe_window_s,
            "unknown_wait_s": plan.unknown_wait_s,
        },
    }
    return Settings(**values)


def draw(seed: int) -> Plan:
    """A run from its seed: half of them anything, the others bent on one kind of trouble."""
    r = random.Random(seed)
    plan = _anything(seed, r)
    bend = r.choice([None, None, None, None, _one_chain, _crowd, _long_spell, _zombies])
    return plan if bend is None else bend(r, plan)


def _one_chain(r: random.Random, plan: Plan) -> Plan:
    """One person, answers lost, Kafka slow and failing: order hangs on what is on which topic."""
    requests = tuple(replace(q, recipient=PEOPLE[0], priority="normal") for q in plan.requests[:8])
    faults = tuple(Fault("crash", r.randint(2, 25)) for _ in range(r.choice([1, 2, 3])))
    return replace(
        plan, requests=requests, faults=faults, fates=(30, 60, 5, 0, 5), append_failure=0.2, slow_kafka=0.3,
        slow_ready_s=3.0, gate_repeats=(), upstream_repeats=(), shards=1,
    )  # fmt: skip


def _crowd(r: random.Random, plan: Plan) -> Plan:
    """Small windows, and records that end without ever having been a job."""
    return replace(
        plan, ready_window=r.choice([4, 6]), poison=(r.uniform(0.0, 3.0),) * r.choice([0, 5, 12]),
        gate_repeats=tuple((i, r.uniform(3.0, 6.0)) for i in range(len(plan.requests))),
    )  # fmt: skip


def _long_spell(r: random.Random, plan: Plan) -> Plan:
    """Refusals for longer than the ledger is remembered, and owners that change in it."""
    begin_s = r.uniform(0.0, 3.0)
    faults = tuple(replace(f, not_before_s=r.uniform(40.0, 200.0)) for f in plan.faults)
    return replace(
        plan, spells=((begin_s, begin_s + r.choice([100.0, 180.0]), r.choice(["429", "503"])),), faults=faults,
        dedupe_window_s=60.0, fates=(60, 30, 10),
    )  # fmt: skip


def _zombies(r: random.Random, plan: Plan) -> Plan:
    """Owners that sleep for longer than the group waits, while their answers come; no status tells of them."""
    faults = tuple(Fault("freeze", r.randint(1, 30), r.choice([10.5, 12.0, 20.0])) for _ in range(r.choice([1, 2, 3])))
    return replace(plan, faults=faults, statuses=r.choice(["never", "late"]), unknown_wait_s=r.choice([5.0, 30.0]))


def _anything(seed: int, r: random.Random) -> Plan:
    count = r.choice([2, 4, 6, 10, 16, 24, 40])
    people = PEOPLE[: r.choice([1, 2, 3, 8])]
    requests = _requests(r, count, people)
    rate, burst = r.choice([(20.0, 20.0), (5.0, 6.0), (50.0, 150.0), (2.0, 4.0)])
    return Plan(
        seed=seed,
        profile=r.choice(["cloud", "cloud", "v1"]),
        shards=r.choice([1, 1, 1, 2]) if burst >= 6 else 1,
        rate=rate,
        burst=burst,
        policy=r.choice(["resend", "resend", "dead-letter"]),
        dedupe_window_s=r.choice([60.0, 900.0]),
        requests=requests,
        gate_repeats=tuple((r.randrange(count), r.uniform(0.01, 25)) for _ in range(r.choice([0, 0, 1, 2]))),
        upstream_repeats=tuple(
            (r.randrange(count), r.uniform(0.01, 40), r.random() < 0.3) for _ in range(r.choice([0, 0, 1]))
        ),
        opt_outs=tuple((r.uniform(0.0, 30.0), r.choice(people)) for _ in range(r.choice([0, 0, 0, 1, 3]))),
        poison=tuple(r.uniform(0.0, 20.0) for _ in range(r.choice([0, 0, 0, 2]))),
        faults=_faults(r, count),
        spells=tuple(_spell(r) for _ in range(r.choice([0, 0, 1, 1, 2]))),
        fates=r.choice(
            [
                (100,),
                (60, 8, 6, 6, 6, 4, 4, 4, 3, 1, 1),
                (80, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2),
                (30, 40, 10, 0, 0, 5, 5, 5),
            ]
        ),
        pair_burst=r.choice([None, None, 2]),
        unknown_wait_s=r.choice([30.0, 30.0, 6.0]),
        statuses=r.choice(["prompt", "prompt", "prompt", "late", "never"]),
        append_failure=r.choice([0.0, 0.0, 0.01, 0.05]),
        read_failure=r.choice([0.0, 0.0, 0.1]),
        slow_kafka=r.choice([0.0, 0.02, 0.2]),
        outages=((b := r.uniform(0.5, 30.0), b + r.choice([2.0, 8.0, 20.0])),) if r.random() < 0.15 else (),
        stalls=((b := r.uniform(0.5, 30.0), b + r.choice([2.0, 8.0])),) if r.random() < 0.1 else (),
        slow_ready_s=r.choice([0.05, 0.05, 3.0]),
        skews_s=tuple(
            r.choice([0.0, 0.0, 0.0, r.uniform(-3.0, 3.0), r.uniform(-3.0, 3.0), r.uniform(-300.0, 300.0)])
            for _ in range(8)
        ),
        generations_begin_anew=r.random() < 0.1,
        ready_window=r.choice([2000, 2000, 2000, 4, 8]),
    )


def _requests(r: random.Random, count: int, people: tuple[str, ...]) -> tuple[Request, ...]:
    spread_s = r.choice([0.0, 1.0, 20.0])
    priorities = r.choice([("normal",), ("urgent", "normal", "bulk"), ("normal", "bulk")])
    made = [
        Request(
            r.uniform(0.0, spread_s), f"r{i}", r.choice(people), r.choice(priorities),
            ttl_s=r.choice([900.0, 900.0, 900.0, 25.0]), valid_s=r.choice([900.0, 900.0, 900.0, 15.0]),
            due_in_s=r.choice([None] * 9 + [r.choice([4.0, 20.0])]), via_gate=r.random() < 0.3,
        )
        for i in range(count)
    ]  # fmt: skip
    return tuple(sorted(made, key=lambda request: request.at_s))


def _faults(r: random.Random, count: int) -> tuple[Fault, ...]:
    kinds: list[FaultKind] = ["crash", "crash", "freeze", "handover", "stop"]
    return tuple(
        Fault(r.choice(kinds), r.randint(1, r.choice([6, 30, 20 + 10 * count])), r.choice([4.0, 9.0, 12.0, 14.0, 25.0]))
        for _ in range(r.choice([0, 1, 1, 2, 2, 3, 4]))
    )


def _spell(r: random.Random) -> tuple[float, float, str]:
    begin_s = r.uniform(0.0, 20.0)
    return begin_s, begin_s + r.choice([0.3, 2.0, 12.0, 40.0]), r.choice(["429", "503"])
