"""A part of the planned fleet under a campaign, with codes amid it, a sender and a broker that fail. Pure and seeded.

Ten thousand numbers differ in nothing and meet only before gates and ingress processes; each of these has a queue of
its own (partitions and connections are not shared). So a few numbers, with as many gates and ingress processes as their
part of the fleet, at the same load each, have the same queues; only a broker's failure touches all numbers at once,
and it does so here, too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final, Literal

from pipeline.sizing.costs import Costs
from pipeline.sizing.demand import DAY_S, STATUSES, Demand
from pipeline.sizing.fleet import Fleet
from pipeline.sizing.queues import Action, Lane, Server, Timeline

RESERVE_S: Final = 0.1
"""Part of a second of tokens that bulk leaves to codes."""
IN_FLIGHT_S: Final = 2.0
LATENCY_SIGMA: Final = 0.5
"""Spread of the API's latency, lognormal: the 99th is 3.2 times the median."""
STATUS_AFTER_S: Final = (0.1, 1.0, 15.0)
"""Mean delays of sent, delivered, read."""
START_S: Final = 5.0
"""Codes alone, for so long."""
CAMPAIGN_S: Final = 10.0
"""Then a campaign of so many seconds' messages at the limit."""
CODES_PART: Final = 0.02
"""Codes come at this part of the limit at least: enough of them to tell a percentile."""
AFTER_S: Final = 30.0
"""How long codes go on to come after the campaign's messages would have gone."""
MESSAGES_MAX: Final = 1_000_000

Failure = Literal["nothing", "a sender", "a broker"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    Attributes:
        numbers: Of the demand's, how many are simulated.
        campaign: Messages that are written at once for each of them.
        fails: What dies in the middle of the campaign.
    """

    numbers: int
    campaign: int
    fails: Failure = "nothing"
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Stage:
    """Queues of one kind.

    Attributes:
        servers: How many were simulated.
        load: Busy part of the campaign's time, mean of all; of lanes: used part of rate·t + burst.
        wait_mean_s, wait_p99_s: Before service, of codes and campaign together.
        queue_max: Longest queue before one of them.
    """

    name: str
    servers: int
    load: float
    wait_mean_s: float
    wait_p99_s: float
    queue_max: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        drain_s: From the campaign's writing to its last answer.
        ideal_s: Backlog less burst, by rate: no fleet does it faster.
        code_p50_s, code_p99_s, code_max_s: Of codes, from Kafka to the answer.
        silence_s: Longest time between two answers to the first number, which the sender that dies works for.
    """

    fails: Failure
    messages: int
    stages: tuple[Stage, ...]
    drain_s: float
    ideal_s: float
    code_p50_s: float
    code_p99_s: float
    code_max_s: float
    silence_s: float


def scenarios(demand: Demand, numbers: int, seed: int) -> list[Scenario]:
    """A campaign with nothing, a sender, a broker failing, on so many of the numbers.

    Raises:
        ValueError: it would take too long.
    """
    simulated = min(numbers, demand.numbers)
    each = max(1, round(demand.rate_per_s * CAMPAIGN_S))
    if each * simulated > MESSAGES_MAX:
        raise ValueError(f"{each * simulated:,} messages; at most {MESSAGES_MAX:,} can be simulated: fewer numbers")
    failures: tuple[Failure, ...] = ("nothing", "a sender", "a broker")
    return [Scenario(simulated, each, fails, seed) for fails in failures]


class Simulation:
    """One run; make it, `run` it once."""

    def __init__(self, demand: Demand, fleet: Fleet, costs: Costs, scenario: Scenario) -> None:
        self._demand, self._costs, self._scenario = demand, costs, scenario
        self._random = random.Random(scenario.seed)  # noqa: S311 - reproducible on purpose
        self._time = Timeline()
        part = scenario.numbers / demand.numbers
        peak = scenario.numbers * demand.rate_per_s
        self._gates = self._servers(fleet.gate.processes * part, fleet.gate.load, peak)
        self._doors = self._servers(fleet.ingress.processes * part, fleet.ingress.load, peak * STATUSES)
        self._senders = self._servers(fleet.sender.processes * part, fleet.sender.load, peak)
        self._lanes = [self._lane(fleet, n) for n in range(scenario.numbers * fleet.lanes_per_number)]
        self._shards = fleet.lanes_per_number
        self._left = scenario.campaign * scenario.numbers
        self._drained_s = START_S
        self._busy_s: dict[str, float] = {}
        self._codes: list[float] = []
        self._answers_s: list[float] = []
        self._messages = 0

    def run(self) -> Outcome:
        """Let everything happen."""
        self._time.at(START_S, self._start_campaign)
        for number in range(self._scenario.numbers):
            self._next_code(number)
        middle_s = START_S + self._ideal_s / 2
        if self._scenario.fails == "a sender":
            self._time.at(middle_s, partial(self._senders[0].fail, self._takeover_s))
        elif self._scenario.fails == "a broker":
            self._time.at(middle_s, self._broker_fails)
        self._time.run()
        return self._outcome()

    @property
    def _ideal_s(self) -> float:
        return max(0.0, self._scenario.campaign / self._demand.rate_per_s - 1)  # a burst of a second's messages

    @property
    def _takeover_s(self) -> float:
        return self._costs.assumed("session_timeout_s") + self._costs.figure("takeover_s")

    # -- what there is -----------------------------------------------------------------------------------------------
    def _servers(self, count: float, load: float, arrivals_per_s: float) -> list[Server]:
        """At least one, each with the load that the fleet's have."""
        whole = max(1, round(count))
        return [Server(self._time, load * whole / arrivals_per_s) for _ in range(whole)]

    def _lane(self, fleet: Fleet, index: int) -> Lane:
        rate = self._demand.rate_per_s / fleet.lanes_per_number
        server = self._senders[index % len(self._senders)]

        def send(message: Action, is_urgent: bool) -> None:
            server.add(partial(self._time.after, self._latency_s(), message), is_urgent=is_urgent)

        in_flight = max(16, math.ceil(rate * IN_FLIGHT_S))
        return Lane(self._time, rate, burst=rate, reserve=rate * RESERVE_S, in_flight_max=in_flight, send=send)

    def _latency_s(self) -> float:
        return self._demand.latency_ms / 1000 * self._random.lognormvariate(0, LATENCY_SIGMA)

    # -- what happens ------------------------------------------------------------------------------------------------
    def _start_campaign(self) -> None:
        self._busy_s = self._busy()
        for _ in range(self._scenario.campaign):
            for number in range(self._scenario.numbers):
                self._enter(number, is_urgent=False)

    def _next_code(self, number: int) -> None:
        per_day = self._demand.messages_per_day * self._demand.urgent_share / self._demand.numbers
        delay_s = self._random.expovariate(max(per_day / DAY_S, self._demand.rate_per_s * CODES_PART))
        if self._time.now_s + delay_s <= START_S + self._ideal_s + AFTER_S:
            self._time.after(delay_s, partial(self._code, number))

    def _code(self, number: int) -> None:
        self._enter(number, is_urgent=True)
        self._next_code(number)

    def _enter(self, number: int, *, is_urgent: bool) -> None:
        self._messages += 1
        lane = self._lanes[number * self._shards + self._random.randrange(self._shards)]
        message = partial(self._answered, lane, number, self._time.now_s, is_urgent)
        gate = self._random.choice(self._gates)
        gate.add(partial(lane.add, message, is_urgent=is_urgent), is_urgent=is_urgent)

    def _answered(self, lane: Lane, number: int, came_s: float, is_urgent: bool) -> None:
        now_s = self._time.now_s
        lane.answered()
        if number == 0:
            self._answers_s.append(now_s)
        if is_urgent:
            self._codes.append(now_s - came_s)
        else:
            self._left -= 1
            if not self._left:
                self._drained_s = now_s
                self._busy_s = {name: busy - self._busy_s[name] for name, busy in self._busy().items()}
        for mean_s in STATUS_AFTER_S:
            door = self._random.choice(self._doors)
            self._time.after(self._random.expovariate(1 / mean_s), partial(door.add, _nothing))

    def _broker_fails(self) -> None:
        # Every process writes to partitions that this broker led: all wait for their new leaders.
        for server in (*self._gates, *self._senders, *self._doors):
            server.fail(self._costs.assumed("broker_failover_s"))

    # -- what came of it ---------------------------------------------------------------------------------------------
    @property
    def _stages(self) -> dict[str, list[Server]]:
        return {"gate": self._gates, "sender": self._senders, "ingress": self._doors}

    def _busy(self) -> dict[str, float]:
        return {name: sum(one.busy_s for one in servers) / len(servers) for name, servers in self._stages.items()}

    def _outcome(self) -> Outcome:
        scenario, codes = self._scenario, sorted(self._codes)
        drain_s = self._drained_s - START_S
        loads = {name: busy / drain_s for name, busy in self._busy_s.items()}
        loads["lane"] = scenario.campaign / self._demand.rate_per_s / (drain_s + 1)
        kinds: dict[str, Sequence[Server | Lane]] = {"gate": self._gates, "lane": self._lanes, **self._stages}
        return Outcome(
            scenario.fails,
            self._messages,
            tuple(_stage(name, queues, loads[name]) for name, queues in kinds.items()),
            drain_s,
            self._ideal_s,
            _percentile(codes, 0.5),
            _percentile(codes, 0.99),
            _percentile(codes, 1.0),
            max((b - a for a, b in pairwise(self._answers_s)), default=0.0),
        )


def _stage(name: str, queues: Sequence[Server | Lane], load: float) -> Stage:
    waits = sorted(wait for one in queues for wait in one.waits_s)
    mean = sum(waits) / len(waits) if waits else 0.0
    return Stage(name, len(queues), load, mean, _percentile(waits, 0.99), max(one.queue_max for one in queues))


def _nothing() -> None:
    """A webhook is done when it is written."""


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
