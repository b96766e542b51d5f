"""Makes faults happen, ends them when their time is over, heals everything, and keeps a log of all that.

Runs in the harness's main thread and never waits: what lasts is ended by a later call of `step`.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final

from tests.faults.cluster import LinkedKafka
from tests.faults.fleet import PARTITIONS, STOP_PAYLOAD, WEBHOOKS_MS, Fleet
from tests.faults.proxy import Links
from tests.faults.rollout import Rollout
from tests.faults.schedule import INGRESSES, Fault, Schedule
from tests.support.stage import ROOT, WAPIPE

ANSWER_DELAY_S: Final = 0.7
KAFKA_BYTES_PER_S: Final = 60_000.0
SLOW_WEBHOOKS_MS: Final = {"sent": 4000.0, "delivered": 4500.0, "failed": 4000.0}
DISORDER_MS: Final = 3000.0
DUPLICATE_RATIO: Final = 0.5
NO_MARKETING: Final = 131050
COMMAND_TIMEOUT_S: Final = 60.0

End = Callable[[], None]


class Inflictor:
    """Follows a schedule.

    Args:
        kafka: The cluster.
        links: The proxy.
        fleet: The workers.
        recipients: Who may opt out.
        log_path: Gets one JSON line for each begin and end of a fault.

    Attributes:
        opted_out: People whose opt-out reaches Kafka whatever happens.
        refused: People for whom the API says 131050: they opt out once a message to them has met that.
        rollout: A rolling restart, if there is one.
    """

    def __init__(
        self, schedule: Schedule, kafka: LinkedKafka, links: Links, fleet: Fleet, recipients: Sequence[str],
        log_path: Path,
    ) -> None:  # fmt: skip
        self._schedule, self._kafka, self._links, self._fleet = schedule, kafka, links, fleet
        self._rng = Random(f"{schedule.seed}/who")
        self._people = list(recipients)
        self._rng.shuffle(self._people)
        self._ahead = list(schedule.faults)
        self._ends: list[tuple[float, int, Fault, End]] = []
        self._serial = itertools.count()
        self._frozen: dict[str, int] = {}
        self._log = log_path.open("w")
        self._began_s = monotonic()
        self.opted_out: list[str] = []
        self.refused: list[str] = []
        self.rollout: Rollout | None = None
        self._commands: list[subprocess.Popen[bytes]] = []
        self._scalings: list[subprocess.Popen[bytes]] = []
        self.done: Counter[str] = Counter()
        self.passed_over: Counter[str] = Counter()
        self.lost_answers = 0
        self.thawed: list[tuple[str, float]] = []
        self.brokers_back_s: float | None = None
        self._is_starting_brokers = False

    def start(self) -> None:
        """The schedule's time begins now."""
        self._began_s = monotonic()

    def step(self) -> None:
        """Begin and end what is due."""
        now_s = monotonic() - self._began_s
        if self._is_starting_brokers and self._kafka.answers():
            self.brokers_back_s, self._is_starting_brokers = monotonic(), False
        if self.rollout is not None:
            self.rollout.step()
        while self._ends and self._ends[0][0] <= now_s:
            _, _, fault, end = heapq.heappop(self._ends)
            end()
            self._note("end", fault)
        while self._ahead and self._ahead[0].at_s <= now_s:
            fault = self._ahead.pop(0)
            end_or_none = self._begin(fault)
            if end_or_none is None:
                self.passed_over[fault.kind] += 1
                self._note("passed_over", fault)
                continue
            self.done[fault.kind] += 1
            self._note("begin", fault)
            heapq.heappush(self._ends, (now_s + fault.for_s, next(self._serial), fault, end_or_none))

    @property
    def is_over(self) -> bool:
        """Whether every fault has come and gone."""
        is_scaled = all(one.poll() is not None for one in self._scalings)
        return not self._ahead and not self._ends and is_scaled and (self.rollout is None or self.rollout.is_over)

    def heal(self) -> None:
        """End everything at once: all processes go on, all links work, all brokers are started."""
        self._ahead.clear()
        for _, _, fault, end in sorted(self._ends):
            end()
            self._note("end", fault)
        self._ends.clear()
        self._fleet.api.control(clear_spells=True)
        self._note("healed", None)

    def close(self) -> None:
        """Wait for commands, and end the log."""
        for command in (*self._commands, *self._scalings):
            command.wait(COMMAND_TIMEOUT_S)
        self._log.close()

    # -- faults ------------------------------------------------------------------------------------------------------
    def _begin(self, fault: Fault) -> End | None:
        """Let a fault begin; returns what ends it, or None if it does not fit now."""
        action: Callable[[Fault], End | None] = getattr(self, f"_{fault.kind}")
        return action(fault)

    def _kill(self, fault: Fault) -> End | None:
        return self._hit(fault, signal.SIGKILL)

    def _term(self, fault: Fault) -> End | None:
        return self._hit(fault, signal.SIGTERM)

    def _hit(self, fault: Fault, sig: int) -> End | None:
        """Signal the target; one that is down stands for any other of its role."""
        name = fault.target
        if not self._fleet.is_running(name):
            others = self._fleet.running(name.split("-")[0])
            if not others:
                return None
            name = self._rng.choice(others)
        if sig == signal.SIGTERM and name in self._frozen:
            return None
        pid = self._fleet.signal(name, sig)
        self._note(f"signal {sig} to {name} ({pid})", fault)
        return _nothing

    def _freeze(self, fault: Fault) -> End | None:
        name = fault.target
        if name in self._frozen or not self._fleet.is_running(name):
            return None
        pid = self._frozen[name] = self._fleet.signal(name, signal.SIGSTOP)

        def thaw() -> None:
            del self._frozen[name]
            if self._fleet.is_running(name) and self._fleet.processes.pid(name) == pid:
                self._fleet.signal(name, signal.SIGCONT)
                self.thawed.append((name, monotonic()))

        return thaw

    def _add(self, fault: Fault) -> End | None:
        name = fault.target
        if self._fleet.is_running(name):
            return None
        self._fleet.spawn(name.split("-")[0], name)
        return lambda: self._fleet.dismiss(name)

    def _broker_kill(self, fault: Fault) -> End | None:
        index = int(fault.target)
        if not self._kafka.is_in_sync():
            return None
        self._kafka.kill(index)
        return lambda: self._kafka.begin(index)

    def _broker_freeze(self, fault: Fault) -> End | None:
        index = int(fault.target)
        if not self._kafka.is_in_sync():
            return None
        self._kafka.freeze(index)
        return lambda: self._kafka.thaw(index)

    def _brokers_away(self, _fault: Fault) -> End | None:
        if not self._kafka.is_in_sync():
            return None
        for index in range(self._kafka.count):
            self._kafka.kill(index)

        def come_back() -> None:
            for index in range(self._kafka.count):
                self._kafka.begin(index)
            self._is_starting_brokers = True

        return come_back

    def _kafka_cut(self, fault: Fault) -> End | None:
        return self._hurt_links(self._kafka.links_of(fault.target), self._links.cut)

    def _kafka_swallow(self, fault: Fault) -> End | None:
        return self._hurt_links(self._kafka.links_of(fault.target), self._links.swallow)

    def _kafka_slow(self, fault: Fault) -> End | None:
        return self._hurt_links(
            self._kafka.links_of(fault.target), lambda name: self._links.slow(name, bytes_per_s=KAFKA_BYTES_PER_S)
        )

    def _api_cut(self, fault: Fault) -> End | None:
        return self._hurt_links([self._fleet.api_link(fault.target)], self._links.cut)

    def _api_swallow(self, fault: Fault) -> End | None:
        return self._hurt_links([self._fleet.api_link(fault.target)], self._links.swallow)

    def _api_slow(self, fault: Fault) -> End | None:
        return self._hurt_links(
            [self._fleet.api_link(fault.target)], lambda name: self._links.slow(name, answer_delay_s=ANSWER_DELAY_S)
        )

    def _hurt_links(self, names: Sequence[str], hurt: Callable[[str], None]) -> End:
        for name in names:
            hurt(name)

        def heal() -> None:
            for name in names:
                self._links.heal(name)

        return heal

    def _lose_answers(self, fault: Fault) -> End | None:
        profile = self._schedule.numbers[fault.target].profile
        self._links.lose_answers("/v1/messages" if profile == "v1" else f"/{fault.target}/messages", fault.amount)
        self.lost_answers += fault.amount
        return _nothing

    def _spell(self, fault: Fault) -> End | None:
        self._fleet.api.control(spell={"kind": fault.target, "for_s": fault.for_s})
        return _nothing

    def _webhooks_slow(self, _fault: Fault) -> End | None:
        return self._webhooks({"webhook_delays_ms": SLOW_WEBHOOKS_MS}, {"webhook_delays_ms": WEBHOOKS_MS})

    def _webhooks_unruly(self, _fault: Fault) -> End | None:
        unruly = {"webhook_disorder_ms": DISORDER_MS, "webhook_duplicate_ratio": DUPLICATE_RATIO}
        return self._webhooks(unruly, {"webhook_disorder_ms": 0.0, "webhook_duplicate_ratio": 0.0})

    def _webhooks(self, changed: dict[str, Any], usual: dict[str, Any]) -> End:
        self._fleet.api.control(settings=changed)
        return lambda: _ignore(self._fleet.api.control(settings=usual))

    def _opt_out(self, fault: Fault) -> End | None:
        return self._say(fault, {"text": "STOP"})

    def _opt_out_payload(self, fault: Fault) -> End | None:
        return self._say(fault, {"text": "No more offers", "button_payload": STOP_PAYLOAD})

    def _say(self, fault: Fault, said: dict[str, str]) -> End | None:
        who = self._next_people(fault)
        for person in who:
            profile = self._schedule.numbers[fault.target].profile
            self._fleet.api.control(inbound={"from": person, "number": fault.target, "profile": profile, **said})
        self.opted_out += who
        return _nothing if who else None

    def _opt_out_preference(self, fault: Fault) -> End | None:
        who = self._next_people(fault)
        for person in who:
            self._fleet.api.control(preference={"from": person, "number": fault.target, "value": "stop"})
        self.opted_out += who
        self.refused += who
        return _nothing if who else None

    def _opt_out_answer(self, fault: Fault) -> End | None:
        return self._refuse(fault, "answer")

    def _opt_out_status(self, fault: Fault) -> End | None:
        return self._refuse(fault, "webhook")

    def _refuse(self, fault: Fault, via: str) -> End | None:
        who = self._next_people(fault)
        self._fleet.api.control(force={person: {"code": NO_MARKETING, "via": via} for person in who})
        self.refused += who
        return (lambda: _ignore(self._fleet.api.control(force=dict.fromkeys(who)))) if who else None

    def _opt_out_command(self, fault: Fault) -> End | None:
        who = self._next_people(fault)
        for person in who:
            command = [*WAPIPE, "--config", str(self._fleet.config), "consent", "revoke", f"+{person}"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._commands.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        self.opted_out += who
        return _nothing if who else None

    def _next_people(self, fault: Fault) -> list[str]:
        who, self._people = self._people[: fault.amount], self._people[fault.amount :]
        return who

    def _gates_away(self, _fault: Fault) -> End | None:
        gates = self._fleet.running("gate")
        for name in gates:
            self._fleet.dismiss(name)

        def come_back() -> None:
            for name in gates:
                self._fleet.spawn("gate", name)

        return come_back

    def _roll(self, _fault: Fault) -> End | None:
        workers = self._schedule.workers
        first, *others = INGRESSES
        self.rollout = Rollout(self._fleet, [*(one for one in workers if one not in others), first, *others])
        return _nothing

    def _scale(self, fault: Fault) -> End | None:
        """Recipients move to so many times the partitions of the beginning; killed, the command is run again."""
        first = self._scaling(fault)

        def again() -> None:
            first.kill()
            first.wait(COMMAND_TIMEOUT_S)
            self._scalings.append(self._scaling(fault))

        return again

    def _scaling(self, fault: Fault) -> subprocess.Popen[bytes]:
        command = [
            *WAPIPE, "--config", str(self._fleet.config), "topics", "scale", "--timeout", "90s",
            "--recipients", str(PARTITIONS * int(fault.target)),
        ]  # fmt: skip
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)

    @property
    def failures(self) -> list[str]:
        """Runs of `topics scale` that did not come to their end."""
        return [f"topics scale: exit code {one.returncode}" for one in self._scalings if one.returncode]

    def _note(self, what: str, fault: Fault | None) -> None:
        line: dict[str, Any] = {"t_s": round(monotonic() - self._began_s, 2), "what": what}
        if fault is not None:
            line.update(kind=fault.kind, target=fault.target, for_s=fault.for_s, amount=fault.amount)
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()


def _nothing() -> None:
    return None


def _ignore(_answer: object) -> None:
    return None
