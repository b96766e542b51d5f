"""Which fault comes when: a pure function of seed and length, or one of the named schedules.

A schedule only combines what the promises cover: at most one broker is away, and the next one not before the first is
back in sync; requests are never held back and delivered later; webhooks come within `unknown_wait_s`. The harness
passes over a fault that does not fit when its time has come, and says so in its log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Kind = Literal[
    "kill", "term", "freeze", "add",
    "broker_kill", "broker_freeze", "brokers_away",
    "kafka_cut", "kafka_swallow", "kafka_slow",
    "api_cut", "api_swallow", "api_slow", "lose_answers",
    "spell", "webhooks_slow", "webhooks_unruly",
    "opt_out", "opt_out_payload", "opt_out_preference", "opt_out_answer", "opt_out_status", "opt_out_command",
    "gates_away", "roll", "scale",
]  # fmt: skip
OPT_OUTS: Final[tuple[Kind, ...]] = (
    "opt_out", "opt_out_payload", "opt_out_preference", "opt_out_answer", "opt_out_status", "opt_out_command",
)  # fmt: skip
"""Every way out: a keyword, a button, WhatsApp's own stop, 131050 in an answer and in a status, an operator."""

V1, CLOUD = "200000000000001", "200000000000002"
GATES, SENDERS = ("gate-1", "gate-2"), ("sender-1", "sender-2", "sender-3")
EXTRA: Final = ("sender-4", "sender-5", "gate-3")
"""Workers that a schedule may add."""
WORKERS: Final = (*GATES, *SENDERS, *EXTRA)
INGRESSES: Final = ("ingress", "ingress-2")
SESSION_TIMEOUT_S: Final = 10
UNKNOWN_WAIT_S: Final = 20
SETTLE_S: Final = 8.0
"""From the start of the load to the first fault."""
BROKER_REST_S: Final = 25.0
"""From a broker's return to the next broker fault: it must be back in sync."""
QUIET_END_S: Final = 5.0
OPT_OUTS_S: Final = 150.0
REFUSED_S: Final = 15.0
"""So long WhatsApp says 131050 for a person who stopped marketing: until one of the campaign's messages has met it."""
SCALE_KILLED_S: Final = (3.0, 9.0)
"""When `topics scale` is killed: gates are stopping, or tables move."""
SCALE_REFRESH_MS: Final = 15_000
STARTUP_S: Final = 12.0
"""A worker takes about so long to start on a busy machine."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        at_s: Seconds from the start of the load.
        kind: What happens.
        target: Worker, broker index, number or kind of a spell; "" where there is nothing to choose.
        for_s: How long it lasts; 0: it is over at once.
        amount: How many people, answers, or how much of something.
    """

    at_s: float
    kind: Kind
    target: str = ""
    for_s: float = 0.0
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Number:
    """A sending number of the run, with its limit as both sides know it."""

    profile: Literal["v1", "cloud"]
    rate_per_s: float
    burst: int


# So slow that three brokers and five workers on two busy cores keep up: what is tried is order and once, not speed.
TWO_NUMBERS: Final = {V1: Number("v1", 20, 40), CLOUD: Number("cloud", 12, 12)}
FULL_V1: Final = {V1: Number("v1", 50, 150)}
FOUR_CLOUD: Final = {number: Number("cloud", 35, 35) for number in (V1, CLOUD, "200000000000003", "200000000000004")}
FOUR_NUMBERS: Final = {number: Number("v1", 50, 150) for number in (V1, CLOUD, "200000000000003", "200000000000004")}


@dataclass(frozen=True)
class Schedule:
    """A run: its faults and what is asked of it.

    Attributes:
        faults: In order of their times.
        seconds: How long the load goes on.
        numbers: The sending numbers.
        load: Requests per second, as a share of all limits together.
        backlog_s: So many seconds' worth of requests are written at once at the beginning.
        has_webhooks: Whether statuses come back.
        utilisation_min: The least use of the limit by each number; None: a figure, no promise.
        repeats_max: Messages that may be sent twice (without webhooks nobody can tell); 0 with webhooks.
        watches_memory: Whether resident memory must stay flat.
        brokers: How many; every record is on all of them.
        refresh_ms: How often the load looks for new partitions; librdkafka's default.
        workers: Who runs from the beginning, beside the first ingress.
    """

    name: str
    seed: int
    seconds: float
    faults: tuple[Fault, ...]
    numbers: dict[str, Number]
    load: float = 0.9
    backlog_s: float = 4.0
    has_webhooks: bool = True
    utilisation_min: float | None = None
    repeats_max: int = 0
    watches_memory: bool = False
    brokers: int = 3
    refresh_ms: int = 300_000
    workers: tuple[str, ...] = (*GATES, *SENDERS)


def _kill(rng: Random, at_s: float) -> list[Fault]:
    return [Fault(at_s, rng.choice(("kill", "kill", "term")), rng.choice((*GATES, *SENDERS)))]


def _freeze(rng: Random, at_s: float) -> list[Fault]:
    return [Fault(at_s, "freeze", rng.choice((*GATES, *SENDERS)), round(rng.uniform(1.2, 2.0) * SESSION_TIMEOUT_S, 1))]


def _join(rng: Random, at_s: float) -> list[Fault]:
    return [Fault(at_s, "add", rng.choice(EXTRA), round(rng.uniform(10, 20) + STARTUP_S, 1))]


def _broker(rng: Random, at_s: float) -> list[Fault]:
    kind: Kind = rng.choice(("broker_kill", "broker_kill", "broker_freeze"))
    return [Fault(at_s, kind, str(rng.randrange(3)), round(rng.uniform(3, 12), 1))]


def _kafka_link(rng: Random, at_s: float) -> list[Fault]:
    kind: Kind = rng.choice(("kafka_cut", "kafka_swallow", "kafka_slow"))
    return [Fault(at_s, kind, rng.choice((*GATES, *SENDERS)), round(rng.uniform(2, 10), 1))]


def _api_link(rng: Random, at_s: float) -> list[Fault]:
    kind: Kind = rng.choice(("api_cut", "api_swallow", "api_slow"))
    return [Fault(at_s, kind, rng.choice(SENDERS), round(rng.uniform(2, 6), 1))]


def _lost(rng: Random, at_s: float) -> list[Fault]:
    return [Fault(at_s, "lose_answers", number, amount=rng.randint(1, 3)) for number in TWO_NUMBERS]


def _spell(rng: Random, at_s: float) -> list[Fault]:
    return [Fault(at_s, "spell", rng.choice(("429", "503")), round(rng.uniform(2, 6), 1))]


def _webhooks(rng: Random, at_s: float) -> list[Fault]:
    kind: Kind = rng.choice(("webhooks_slow", "webhooks_unruly"))
    return [Fault(at_s, kind, "", round(rng.uniform(6, 15), 1))]


def _opt_out(rng: Random, at_s: float) -> list[Fault]:
    return [Fault(at_s, "opt_out", rng.choice(tuple(TWO_NUMBERS)), amount=rng.randint(2, 5))]


_MIX: Final[tuple[tuple[Callable[[Random, float], list[Fault]], int], ...]] = (
    (_kill, 6), (_freeze, 3), (_join, 2), (_broker, 3), (_kafka_link, 3), (_api_link, 3), (_lost, 3), (_spell, 2),
    (_webhooks, 3), (_opt_out, 5),
)  # fmt: skip


def mixed(seconds: float, seed: int) -> Schedule:
    """Faults of all kinds at random times, one every five seconds or so."""
    rng = Random(f"{seed}/mixed")
    makers, weights = [maker for maker, _ in _MIX], [weight for _, weight in _MIX]
    faults: list[Fault] = []
    at_s, broker_free_s = SETTLE_S, 0.0
    while at_s < seconds - QUIET_END_S:
        made = rng.choices(makers, weights)[0](rng, round(at_s, 2))
        if made[0].kind.startswith("broker"):
            if at_s < broker_free_s:
                continue
            broker_free_s = at_s + made[0].for_s + BROKER_REST_S
        faults += made
        at_s += rng.uniform(2.0, 7.0)
    return Schedule("mixed", seed, seconds, tuple(faults), TWO_NUMBERS)


def short(seconds: float, seed: int) -> Schedule:
    """One fault of every sort, in random order, evenly spread; people opt out twice."""
    rng = Random(f"{seed}/short")
    makers = [*(maker for maker, _ in _MIX), _kill, _opt_out]
    rng.shuffle(makers)
    every_s = (seconds - SETTLE_S - QUIET_END_S) / len(makers)
    faults = [made for i, maker in enumerate(makers) for made in maker(rng, round(SETTLE_S + i * every_s, 2))]
    return _named("short", seed, seconds, faults)


def gate_overtakes(seconds: float, seed: int) -> Schedule:
    """A gate's link to Kafka is dead for about as long as it waits for Kafka; earlier requests must not be overtaken.

    Regression: its producer gave the older of two requests to one person up, and stored the younger one.
    """
    rng = Random(f"{seed}/gate-overtakes")
    every_s, long_s = 15.0, SESSION_TIMEOUT_S - 1.0
    count = int((seconds - SETTLE_S) / every_s)
    faults = [
        Fault(round(SETTLE_S + i * every_s, 2), "kafka_swallow", GATES[i % 2], round(long_s + rng.uniform(-1, 1), 2))
        for i in range(count)
    ]
    return _named("gate-overtakes", seed, seconds, faults)


def kills30(seconds: float, seed: int) -> Schedule:
    """30 SIGKILLs of senders and gates at random times; a few people opt out meanwhile."""
    rng = Random(f"{seed}/kills30")
    room_s = seconds - SETTLE_S - QUIET_END_S
    times = sorted(SETTLE_S + rng.random() * room_s for _ in range(30))
    kills = [Fault(round(at_s, 2), "kill", rng.choice((*GATES, *SENDERS))) for at_s in times]
    outs = [Fault(round(SETTLE_S + i * room_s / 8, 2), "opt_out", V1, amount=3) for i in range(8)]
    return _named("kills30", seed, seconds, [*kills, *outs])


def lost_answers(seconds: float, seed: int) -> Schedule:
    """20 answers of each number are lost after the API took the message, one at a time."""
    rng = Random(f"{seed}/lost-answers")
    room_s = seconds - SETTLE_S - QUIET_END_S
    faults = [
        Fault(round(SETTLE_S + rng.random() * room_s, 2), "lose_answers", number, amount=1)
        for number in TWO_NUMBERS
        for _ in range(20)
    ]
    return _named("lost-answers", seed, seconds, faults)


def freeze(seconds: float, seed: int) -> Schedule:
    """Ten times SIGSTOP for three session timeouts, senders and gates in turn; people opt out meanwhile."""
    rng = Random(f"{seed}/freeze")
    long_s, every_s = 3.0 * SESSION_TIMEOUT_S, (seconds - SETTLE_S) / 10
    faults = []
    for number in range(10):
        at_s = round(SETTLE_S + number * every_s + rng.uniform(0, max(0.0, every_s - long_s - 2)), 2)
        faults.append(Fault(at_s, "freeze", rng.choice((SENDERS, GATES)[number % 2]), long_s))
        faults.append(Fault(round(at_s + rng.uniform(1, long_s), 2), "opt_out", V1, amount=4))
    return _named("freeze", seed, seconds, faults)


def rebalances(seconds: float, seed: int) -> Schedule:
    """20 rebalances: a worker joins or leaves every few seconds, while there is work all the time."""
    every_s = (seconds - SETTLE_S) / 20
    faults = []
    for number in range(10):
        name = EXTRA[number % 2]
        faults.append(Fault(round(SETTLE_S + 2 * number * every_s, 2), "add", name, round(every_s, 2)))
    return Schedule("rebalances", seed, seconds, tuple(faults), FULL_V1, 0.0, seconds, utilisation_min=0.93)


def rolling(seconds: float, seed: int) -> Schedule:
    """Two of each role are restarted one by one, while both numbers have work for their full rate all the time."""
    workers = (*GATES, *SENDERS[:2], INGRESSES[1])
    roll = Fault(SETTLE_S, "roll")
    return Schedule(
        "rolling", seed, seconds, (roll,), TWO_NUMBERS, load=1.0, backlog_s=30.0, utilisation_min=0.97, brokers=1,
        workers=workers,
    )  # fmt: skip


def brokers_away(seconds: float, seed: int) -> Schedule:
    """All brokers are killed and stay away for 60 s."""
    return _named("brokers-away", seed, seconds, [Fault(20.0, "brokers_away", "", 60.0)])


def soak(seconds: float, seed: int) -> Schedule:
    """Four numbers at their full rate, nothing breaks. One broker: three of them leave two cores nothing for that."""
    return Schedule("soak", seed, seconds, (), FOUR_NUMBERS, load=1.0, watches_memory=True, brokers=1)


def opt_outs(seconds: float, seed: int) -> Schedule:
    """Somebody opts out every second, by every way, in a campaign of 20,000 messages with three gates.

    Most of it is judged in the first seconds: what is taken back later has to be obeyed at send time. Senders and gates
    are killed, senders come and go, and for a quarter of the time there is no gate at all (60 s of the usual length).
    """
    rng = Random(f"{seed}/opt-outs")
    room_s, long_s = seconds - SETTLE_S - QUIET_END_S, round(60 * seconds / OPT_OUTS_S, 1)
    faults = [Fault(0.1, "add", "gate-3", seconds), Fault(round(SETTLE_S + room_s / 3, 2), "gates_away", "", long_s)]
    for number in range(int(room_s)):
        at_s, kind = round(SETTLE_S + number + rng.random(), 2), rng.choice(OPT_OUTS)
        lasts_s = REFUSED_S if kind in ("opt_out_answer", "opt_out_status") else 0.0
        faults.append(Fault(at_s, kind, rng.choice(tuple(FOUR_CLOUD)), lasts_s, amount=1))
    for number in range(int(room_s / 15)):
        at_s = round(SETTLE_S + 15 * number + rng.uniform(0, 10), 2)
        faults.append(Fault(at_s, "kill", rng.choice((*SENDERS, *SENDERS, *GATES))))
    joins = (round(SETTLE_S + 40 * number + 5, 2) for number in range(int(room_s / 40)))
    faults += [Fault(at_s, "add", "sender-4", STARTUP_S + 10) for at_s in joins]
    ordered = tuple(sorted(faults, key=lambda fault: fault.at_s))
    backlog_s = round(0.55 * seconds, 1)
    return Schedule("opt-outs", seed, seconds, ordered, FOUR_CLOUD, 0.55, backlog_s, brokers=1)


def scale(seconds: float, seed: int) -> Schedule:
    """Recipients move to twice as many partitions; the command is killed on its way, and run again.

    Gates and senders are killed meanwhile, somebody opts out every two seconds, and the load begins to use the new
    partitions some time after they were added.
    """
    rng = Random(f"{seed}/scale")
    killed_s = round(rng.uniform(*SCALE_KILLED_S), 2)
    faults = [Fault(SETTLE_S, "scale", "2", killed_s)]
    # Gates stop, wait, or start at these moments, by what the machine makes of it.
    for after_s, names in ((rng.uniform(1, 4), GATES), (killed_s + rng.uniform(2, 30), (*GATES, *SENDERS))):
        faults.append(Fault(round(SETTLE_S + after_s, 2), "kill", rng.choice(names)))
    ways: tuple[Kind, ...] = ("opt_out", "opt_out_command")
    faults += [
        Fault(round(SETTLE_S + 2 * n + rng.random(), 2), rng.choice(ways), rng.choice(tuple(TWO_NUMBERS)), amount=1)
        for n in range(int((seconds - SETTLE_S - QUIET_END_S) / 2))
    ]
    ordered = tuple(sorted(faults, key=lambda fault: fault.at_s))
    return Schedule("scale", seed, seconds, ordered, TWO_NUMBERS, brokers=1, refresh_ms=SCALE_REFRESH_MS)


def _named(name: str, seed: int, seconds: float, faults: list[Fault]) -> Schedule:
    return Schedule(name, seed, seconds, tuple(sorted(faults, key=lambda fault: fault.at_s)), TWO_NUMBERS)


NAMED: Final[dict[str, tuple[Callable[[float, int], Schedule], float]]] = {
    "mixed": (mixed, 240.0),
    "short": (short, 70.0),
    "gate-overtakes": (gate_overtakes, 100.0),
    "kills30": (kills30, 360.0),
    "lost-answers": (lost_answers, 120.0),
    "freeze": (freeze, 280.0),
    "rebalances": (rebalances, 300.0),
    "rolling": (rolling, 300.0),
    "brokers-away": (brokers_away, 150.0),
    "opt-outs": (opt_outs, OPT_OUTS_S),
    "scale": (scale, 120.0),
    "soak": (soak, 1800.0),
}
"""By name: how it is made, and its usual length in seconds."""


def make(name: str, seed: int, seconds: float | None = None) -> Schedule:
    """The schedule of that name; the same seed and length give the same one.

    Raises:
        KeyError: there is none of that name.
    """
    maker, usual_s = NAMED[name]
    return maker(usual_s if seconds is None else seconds, seed)
