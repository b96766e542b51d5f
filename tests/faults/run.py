"""One run: cluster, workers, load, faults; then everything is healed, drained and judged.

    python -m tests.faults --seconds 240 --seed 7 [--schedule NAME] [--folder DIR]

Prints a table and one line of JSON; exits 1 if a promise was broken. The folder keeps `faults.jsonl` and the logs of
every process. Whatever was started is ended by pid, after Ctrl-C and SIGTERM, too.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import orjson

from tests.faults.cluster import LinkedKafka
from tests.faults.fleet import Fleet
from tests.faults.inflict import Inflictor
from tests.faults.load import Load, OptOutWatch, everybody
from tests.faults.proxy import Links
from tests.faults.schedule import NAMED, SESSION_TIMEOUT_S, UNKNOWN_WAIT_S, WORKERS, Schedule, make
from tests.faults.verdict import Findings, count_by_name, find, table
from tests.support.campaign import Request, request
from tests.support.reading import Record

STEP_S: Final = 0.05
READY_TIMEOUT_S: Final = 120.0
SYNC_TIMEOUT_S: Final = 90.0
DRAIN_S: Final = 90.0
"""After the load: for the backlog there is more, see `_drain_s`."""
WATCH_TIMEOUT_S: Final = 60.0
MEMORY_EVERY_S: Final = 10.0
WARM_UP_S: Final = 960.0
"""Senders remember settled ids for `sender.dedupe_window_s` (15 minutes): so long their memory has to grow."""
WARM_UP_SHARE_MAX: Final = 0.6
MEMORY_GROWTH_MAX: Final = 0.10


@dataclass
class Memory:
    """Resident memory of workers over time."""

    samples: dict[str, list[int]] = field(default_factory=dict)
    due_s: float = 0.0

    def look(self, fleet: Fleet) -> None:
        """Note it if it is time."""
        if time.monotonic() >= self.due_s:
            self.due_s = time.monotonic() + MEMORY_EVERY_S
            for name, size_bytes in fleet.rss_bytes().items():
                self.samples.setdefault(name, []).append(size_bytes)

    def growth(self) -> dict[str, float]:
        """By worker: the last third against the first third after the warm-up, as a share."""
        found = {}
        for name, sizes in self.samples.items():
            steady = sizes[int(min(WARM_UP_S / MEMORY_EVERY_S, len(sizes) * WARM_UP_SHARE_MAX)) :]
            third = len(steady) // 3
            if third:
                first, last = statistics.median(steady[:third]), statistics.median(steady[-third:])
                found[name] = round(last / first - 1, 3)
        return found

    def last_mib(self) -> dict[str, int]:
        """By worker: what it had at the end, MiB."""
        return {name: sizes[-1] >> 20 for name, sizes in self.samples.items()}


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    findings: Findings
    problems: list[str]
    figures: dict[str, Any]


def run(schedule: Schedule, folder: Path) -> Outcome:
    """Run a schedule to its end, and judge it. From the main thread only.

    Args:
        folder: Gets logs, settings and data; must be empty or new.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        links = stack.enter_context(Links())
        kafka = stack.enter_context(LinkedKafka(folder / "kafka", links, WORKERS, schedule.brokers))
        fleet = stack.enter_context(Fleet(kafka, links, folder, schedule.numbers, has_webhooks=schedule.has_webhooks))
        recipients = everybody()
        _open(fleet, schedule.workers, recipients)
        watch = stack.enter_context(OptOutWatch(kafka.bootstrap, fleet.topic("consent-updates")))
        inflictor = Inflictor(schedule, kafka, links, fleet, recipients, folder / "faults.jsonl")
        stack.callback(inflictor.close)
        fleet.api.control(reset=True)
        rates = {name: one.rate_per_s * schedule.load for name, one in schedule.numbers.items()}
        backlog = {name: int(one.rate_per_s * schedule.backlog_s) for name, one in schedule.numbers.items()}
        load = stack.enter_context(
            Load(kafka.bootstrap, fleet.prefix, rates, backlog, recipients, schedule.seed, schedule.refresh_ms)
        )
        memory, began_ns = Memory(), time.monotonic_ns()
        inflictor.start()
        give_up_s = time.monotonic() + schedule.seconds
        while time.monotonic() < give_up_s or not inflictor.is_over:
            inflictor.step()
            fleet.supervise()
            memory.look(fleet)
            time.sleep(STEP_S)
        ended_ns = time.monotonic_ns()
        _heal(kafka, fleet, inflictor)
        load.stop()
        requests = [made for made, _ in load.written.requests]
        fleet.until_terminal(requests, _drain_s(schedule))
        undone = _ask_opted_out(fleet, watch, inflictor, load)
        back_s = inflictor.brokers_back_s
        events = fleet.events()  # before the ledger: what is accepted has been sent
        findings = find(
            load.written.requests,
            fleet.api.ledger(),
            events,
            fleet.api.stats(),
            opted_out=watch.acked_ns,
            taken_back=watch.categories,
            refused=inflictor.refused,
            undone=undone,
            zombie_posts=_zombie_posts(fleet, links, inflictor),
            lag_s=links.lag_max_s,
            loaded_ns=(began_ns, ended_ns),
            back_ns=None if back_s is None else int(back_s * 1e9),
        )
        return _outcome(schedule, findings, fleet, inflictor, memory, links)


def _open(fleet: Fleet, workers: Sequence[str], recipients: list[str]) -> None:
    for name in workers:
        fleet.spawn(name.split("-")[0], name)
    fleet.ready(timeout_s=READY_TIMEOUT_S)
    fleet.grant(recipients)


def _heal(kafka: LinkedKafka, fleet: Fleet, inflictor: Inflictor) -> None:
    inflictor.heal()
    give_up_s = time.monotonic() + SYNC_TIMEOUT_S
    while not kafka.is_in_sync() and time.monotonic() < give_up_s:
        fleet.supervise()
        time.sleep(STEP_S)


def _drain_s(schedule: Schedule) -> float:
    """The backlog may be as long as the load was, if nothing was sent meanwhile; unknowns have their own time."""
    return DRAIN_S + 2 * UNKNOWN_WAIT_S + schedule.backlog_s + 0.5 * schedule.seconds


def _ask_opted_out(fleet: Fleet, watch: OptOutWatch, inflictor: Inflictor, load: Load) -> list[str]:
    """Write one more request to everybody who opted out; returns those whose opt-out did not last.

    Raises:
        AssertionError: an opt-out never reached Kafka.
    """
    asked_for = inflictor.opted_out
    fleet.until(lambda: all(person in watch.acked_ns for person in asked_for), "opt-outs are on Kafka", WATCH_TIMEOUT_S)
    number = next(iter(fleet.settings.numbers))
    last: list[Request] = [request(f"last-{person}", number, person, category="marketing") for person in asked_for]
    for one in last:
        load.put(one)
    load.stop()
    fleet.until_terminal(last, WATCH_TIMEOUT_S)
    sent = {row["to"].removeprefix("+") for row in fleet.api.ledger() if row["text"].startswith("last-")}
    consents = _newest(fleet.read("consent"))
    return [person for person in asked_for if person in sent or not _is_revoked(consents.get(person))]


def _newest(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    return {(record.key or b"").decode(): orjson.loads(record.value) for record in records if record.value}


def _is_revoked(consent: dict[str, Any] | None) -> bool:
    """Whether the newest entry of any category is a revoke; on a tie a revoke wins."""
    entries = [] if consent is None else consent["entries"]
    newest = max((entry["at"] for entry in entries), default="")
    return any(entry["at"] == newest and entry["status"] == "revoked" for entry in entries)


def _zombie_posts(fleet: Fleet, links: Links, inflictor: Inflictor) -> int:
    """Requests of thawed senders before they had a lane again (or ended and started anew)."""
    found = 0
    for name, thawed_s in inflictor.thawed:
        if not name.startswith("sender"):
            continue
        opened_s = _opened_after(fleet, name, thawed_s)
        sent = links.sent_ns(fleet.api_link(name))
        found += sum(thawed_s * 1e9 < t_ns < opened_s * 1e9 for t_ns in sent)
    return found


def _opened_after(fleet: Fleet, name: str, thawed_s: float) -> float:
    """When the worker opened a lane next, by its logs, on the monotonic clock; infinite if it never did."""
    offset_s = time.time() - time.monotonic()
    times = [
        _stamp_s(line) - offset_s
        for path in fleet.logs_of(name)
        for line in path.read_bytes().splitlines()
        if b'"lane_opened"' in line
    ]
    return min((t for t in times if t > thawed_s), default=float("inf"))


def _stamp_s(line: bytes) -> float:
    return datetime.fromisoformat(orjson.loads(line)["ts"]).timestamp()


def _outcome(
    schedule: Schedule, findings: Findings, fleet: Fleet, inflictor: Inflictor, memory: Memory, links: Links
) -> Outcome:
    problems = findings.problems(repeats_max=schedule.repeats_max, utilisation_min=schedule.utilisation_min)
    problems += inflictor.failures
    rollout = inflictor.rollout
    if rollout is not None:
        problems += rollout.problems()
    growth = memory.growth()
    if schedule.watches_memory:
        problems += [f"memory of {name} +{share:.0%}" for name, share in growth.items() if share > MEMORY_GROWTH_MAX]
    figures = {
        "schedule": schedule.name, "seed": schedule.seed, "load_s": schedule.seconds,
        "session_timeout_s": SESSION_TIMEOUT_S, "problems": problems,
        "faults": dict(inflictor.done), "passed_over": dict(inflictor.passed_over),
        "answers_lost": inflictor.lost_answers - links.answers_to_lose(), "opted_out": len(inflictor.opted_out),
        "exits": count_by_name(f"{one.name} {one.code}" for one in fleet.exits),
        "rolled": rollout.figures() if rollout is not None else [],
        "memory_growth": growth, "memory_mib": memory.last_mib(),
        "proxy_lag_s": round(links.lag_max_s, 3), **findings.figures(),
    }  # fmt: skip
    return Outcome(findings, problems, figures)


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; 0: all promises were kept, 1: some were not."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--schedule", choices=sorted(NAMED), default="mixed")
    parser.add_argument("--seconds", type=float, help="how long the load goes on; default: as the schedule has it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="gets logs and data; default: a new one")
    parser.add_argument("--show", action="store_true", help="print the schedule and do nothing")
    given = parser.parse_args(arguments)
    schedule = make(given.schedule, given.seed, given.seconds)
    if given.show:
        for fault in schedule.faults:
            print(fault)
        return 0
    signal.signal(signal.SIGTERM, _interrupted)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="wapipe-faults-"))
    print(f"{schedule.name}, seed {schedule.seed}, {schedule.seconds:.0f} s, {len(schedule.faults)} faults: {folder}")
    outcome = run(schedule, folder)
    print(table(outcome.findings))
    print(json.dumps(outcome.figures))
    for problem in outcome.problems:
        print(f"BROKEN: {problem}", file=sys.stderr)
    return 1 if outcome.problems else 0


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
