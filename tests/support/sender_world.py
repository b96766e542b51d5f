"""A world in virtual time around the real code of the sender: brokers, a group, an API, faults, and what must hold.

    python -m tests.support.sender_world SEED [COUNT]     # run seeds; with one seed, print its trace

A run is reproducible from its plan; nothing sleeps.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
from collections.abc import Callable
from typing import Any

import structlog

from pipeline.clock import rfc3339
from pipeline.records.outbound import outbound_event
from pipeline.records.ready import ready_record
from pipeline.records.returning import Returning, read_returning
from pipeline.sender import scheduling
from pipeline.streams.partition import shard_of
from pipeline.streams.topics import DELAYED, READY
from tests.support.sender_api import Post, SimApi
from tests.support.sender_checks import Checks
from tests.support.sender_kafka import TP, SimKafka
from tests.support.sender_loop import Clock, ProcessLoop
from tests.support.sender_plan import NUMBER, PRIORITY_OF, Fault, Plan, Request, draw, settings_of
from tests.support.sender_process import FETCH_RECORDS, SESSION_S, SimProcess

HORIZON_S = 1500.0
COMMIT_EVERY_S = 1.0
STEPS_MAX = 2_000_000
RESTART_S = 1.0
CONSENT = {
    "update_id": "u", "status": "granted", "at": rfc3339(1_795_000_000_000), "method": "checkbox", "source": "x",
}  # fmt: skip


class World:
    """One run.

    Args:
        plan: What happens.
        trace: Called with a line for each thing that happens, or None.
    """

    def __init__(self, plan: Plan, trace: Callable[[str], None] | None = None) -> None:
        self.plan, self._trace = plan, trace
        self.chance, self._memory = random.Random(plan.seed), random.Random(f"{plan.seed}/kept")
        self.clock = Clock()
        self.settings = settings_of(plan)
        self.violations: list[str] = []
        self.kafka = SimKafka(self)
        self.api = SimApi(self)
        self.checks = Checks(self)
        self.owner: SimProcess | None = None
        self.group_generation = 0
        self.settled_accepted_ms: dict[str, int] = {}
        self._processes: list[SimProcess] = []
        self._faults = list(plan.faults)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = itertools.count()
        self._inputs_left = 0
        self._restarts = 0
        self._zombies = 0
        self._over = False

    @property
    def now_s(self) -> float:
        """Seconds since the world began."""
        return self.clock.now_s

    # -- what the fakes call -----------------------------------------------------------------------------------------
    def at(self, when_s: float, call: Callable[..., None], *args: Any) -> None:
        """Have something happen then."""
        heapq.heappush(self._heap, (max(when_s, self.now_s), next(self._serial), call, args))

    def latency_s(self) -> float:
        """How long a record takes to the log."""
        if self.chance.random() >= self.plan.slow_kafka:
            return self.chance.uniform(0.001, 0.01)
        return self.chance.choice([0.1, 0.3, 0.6, 3.0])

    def say(self, *words: Any) -> None:
        """Trace."""
        if self._trace is not None:
            self._trace(f"{self.now_s:9.3f}  " + " ".join(map(str, words)))

    def violate(self, what: str, detail: str) -> None:
        """Something happened that must not."""
        self.violations.append(f"{what}: {detail}")
        self.say("!!", what, detail)

    def crashed(self, process: SimProcess, reason: BaseException) -> None:
        """A process ended itself."""
        self.violate("crash", f"P{process.generation}: {reason!r}")
        self._end_of(process, RESTART_S)

    def posted(self, process: SimProcess, post: Post) -> None:
        """A request was written."""
        self.say(f"P{process.generation} POST {post.request_id}:{post.attempt}")
        self.checks.posted(process, post)

    def point(self, process: SimProcess) -> None:
        """A step of a process after which a fault may come."""
        process.steps += 1
        if process is self.owner and self._faults and self._comes(self._faults[0], process):
            fault = self._faults.pop(0)
            process.steps = -1_000_000
            self.say(f"** P{process.generation} {fault.kind} {fault.length_s}")
            self.at(self.now_s + self.chance.choice([0.0, 0.0, 0.002]), getattr(self, f"_{fault.kind}"), process, fault)

    def _comes(self, fault: Fault, process: SimProcess) -> bool:
        return process.steps >= fault.point and self.now_s >= fault.not_before_s and not process.is_told

    # -- the group ---------------------------------------------------------------------------------------------------
    def _assign(self) -> None:
        if self.owner is not None:
            return
        anew = self.plan.generations_begin_anew and self.group_generation > 1
        self.group_generation = 1 if anew else self.group_generation + 1
        skews_s = self.plan.skews_s
        process = SimProcess(self, len(self._processes) + 1, skews_s[len(self._processes) % len(skews_s)])
        self._remember(process)
        self._processes.append(process)
        self.owner = process
        self.say(f"== P{process.generation} gets the lanes, group generation {self.group_generation}")
        process.loop.call_soon(process.assigned)
        for topic in (*READY, *DELAYED):
            for partition in self.settings.lanes():
                tp = (topic, partition)
                process.positions[tp] = self.kafka.committed.get(tp, 0)
                process.stream.windows.expect(tp, process.positions[tp])
                lag_s = self.chance.uniform(0.0, self.plan.slow_ready_s if topic in READY else 0.2)
                self.at(self.now_s + lag_s, self._fetch, process, tp)
        self.at(self.now_s + 1.0, self._beat, process)
        self.at(self.now_s + COMMIT_EVERY_S, self._commit_again, process)

    def _remember(self, process: SimProcess) -> None:
        """Now and then the lanes go to one that had them before, and kept what their ledgers said."""
        before = next((old for old in reversed(self._processes) if old.ctx.kept), None)
        if before is not None and self._memory.random() < 0.7:
            process.ctx.kept.update(before.ctx.kept)
            before.ctx.kept.clear()

    def _beat(self, process: SimProcess) -> None:
        if process.loop.dead or process.is_told:
            return
        if process.loop.frozen_until_s > self.now_s:
            self.at(process.loop.frozen_until_s + self.chance.uniform(0.0, 1.0), self._beat, process)
            return
        if process is self.owner:
            process.last_beat_s = self.now_s
            process.stream.lease.renew(self.now_s)
            self.at(self.now_s + 1.0, self._beat, process)
            return
        process.is_told = True
        self.say(f"== P{process.generation} learns that it lost the lanes")
        process.loop.call_soon(lambda: process.loop.create_task(process.expelled()))

    def _expire(self, process: SimProcess) -> None:
        left_s = process.last_beat_s + SESSION_S - self.now_s
        if process is not self.owner:
            return
        if left_s > 1e-6:
            if process.loop.dead or process.loop.frozen_until_s > self.now_s:
                self.at(self.now_s + left_s, self._expire, process)
            return
        self.owner = None
        self._assign()

    def _end_of(self, process: SimProcess, assign_after_s: float | None) -> None:
        self.kafka.cut(process, None)
        self.at(self.now_s, process.loop.kill)
        process.loop.frozen_until_s = float("inf")
        if process is self.owner:
            if assign_after_s is None:
                self.at(process.last_beat_s + SESSION_S, self._expire, process)
            elif self._restarts < 5:
                self._restarts += 1
                self.owner = None
                self.at(self.now_s + assign_after_s, self._assign)
        if process in self._zombie_list():
            self._zombies -= 1

    def _zombie_list(self) -> list[SimProcess]:
        return [p for p in self._processes if p is not self.owner and not p.loop.dead and p.is_told]

    def _crash(self, process: SimProcess, _fault: Any) -> None:
        if process is self.owner:
            self._end_of(process, None)

    def _freeze(self, process: SimProcess, fault: Any) -> None:
        if process is not self.owner:
            return
        thaw_s = self.now_s + fault.length_s
        process.loop.frozen_until_s = thaw_s
        process.steps = 0
        self.kafka.cut(process, thaw_s)
        self.at(process.last_beat_s + SESSION_S, self._expire, process)

    def _handover(self, process: SimProcess, _fault: Any) -> None:
        process.loop.call_soon(lambda: process.loop.create_task(process.give_up(leaves=False)))

    def _stop(self, process: SimProcess, _fault: Any) -> None:
        process.loop.call_soon(lambda: process.loop.create_task(process.give_up(leaves=True)))

    def given_up(self, process: SimProcess, *, leaves: bool) -> None:
        """A process has handed its lanes over."""
        self.say(f"== P{process.generation} has handed over")
        process.is_told = True
        if process is self.owner:
            self.owner = None
            self.at(self.now_s + self.chance.uniform(0.0, 0.5), self._assign)
        end_s = self.now_s + (self.chance.choice([0.1, 2.0]) if leaves else 15.0)
        self.at(end_s, process.loop.kill)

    def woke(self, process: SimProcess) -> None:
        """A process that was expelled has given its work up; it goes on for a while."""
        self.at(self.now_s + 15.0, process.loop.kill)

    # -- fetching and committing -------------------------------------------------------------------------------------
    def fetch_soon(self, process: SimProcess, tp: TP) -> None:
        """There may be something to fetch."""
        self.at(self.now_s + self.chance.uniform(0.002, 0.05), self._fetch, process, tp)

    def _fetch(self, process: SimProcess, tp: TP) -> None:
        if process.loop.dead or not process.fetches or process.is_told:
            return
        frozen_until_s = process.loop.frozen_until_s
        if frozen_until_s > self.now_s or self.kafka.is_away():
            if frozen_until_s < float("inf"):
                self.at(max(frozen_until_s, self.now_s + 0.5), self._fetch, process, tp)
            return
        position, log = process.positions[tp], self.kafka.log(*tp)
        if tp in process.stream.paused or position >= len(log):
            return
        batch = log[position : position + FETCH_RECORDS]
        process.positions[tp] = position + len(batch)
        process.loop.call_soon(process.deliver, batch)
        self.fetch_soon(process, tp)

    def _commit_again(self, process: SimProcess) -> None:
        if process.loop.dead or process.is_told:
            return
        if process.loop.frozen_until_s <= self.now_s:
            self.commit(process)
        self.at(self.now_s + COMMIT_EVERY_S, self._commit_again, process)
        if process is self.owner and self._is_drained(process):
            self._over = True

    def commit(self, process: SimProcess) -> None:
        """Commit what is finished; refused if the group has gone on without the process."""
        windows = process.stream.windows
        for tp in windows.partitions():
            position, before = windows.position(tp), self.kafka.committed.get(tp, 0)
            if position is None or position <= process.stream.stored.get(tp, 0):
                continue
            if process is not self.owner or self.kafka.is_away():
                continue
            self.kafka.committed[tp] = position
            process.stream.stored[tp] = position
            self.checks.commits(tp, before, position)

    def _is_drained(self, process: SimProcess) -> bool:
        if self._inputs_left or any(not p.loop.dead for p in self._processes if p is not process):
            return False
        lanes, committed, logs = process.ctx.lanes.values(), self.kafka.committed, self.kafka.logs
        return (
            all(lane.is_open and not lane.tasks for lane in lanes)
            and all(committed.get(tp, 0) == len(log) for tp, log in logs.items() if tp[0] in LANES)
        )  # fmt: skip

    # -- inputs ------------------------------------------------------------------------------------------------------
    def _input(self, when_s: float, call: Callable[..., None], *args: Any) -> None:
        self._inputs_left += 1

        def happen() -> None:
            self._inputs_left -= 1
            call(*args)

        self.at(when_s, happen)

    def _begin(self) -> None:
        plan = self.plan
        self.kafka.watchers.append(self._appended)
        self.kafka.watchers.append(self.checks.appended)
        verified = {
            "kind": "number",
            "id": NUMBER,
            "aspect": "webhook",
            "verified": True,
            "at": rfc3339(0),
            "by": "sim",
        }
        self.kafka.write("account-state", verified, f"number:{NUMBER}/webhook")
        for index, request in enumerate(plan.requests):
            self._input(request.at_s, self._admit, request, index, False)
        for index, delay_s in plan.gate_repeats:
            request = plan.requests[index]
            self._input(request.at_s + delay_s, self._admit, request, index, False)
        for serial, (index, delay_s, changes) in enumerate(plan.upstream_repeats):
            request = plan.requests[index]
            self._input(request.at_s + delay_s, self._admit, request, 1000 + serial, changes)
        for when_s, recipient in plan.opt_outs:
            self._input(when_s, self._opt_out, recipient)
        for when_s in plan.poison:
            self._input(when_s, lambda: self.kafka.append(("ready-normal", 0), b"x", b"{}") and None)
        self.at(0.0, self._assign)

    def _admit(self, request: Request, source: int, changes: bool, returning: Returning | None = None) -> None:
        """What the gate writes; a repeated source record keeps its broker time."""
        lane_shard = shard_of(request.recipient, self.plan.shards)
        text = request.request_id + ("x" if changes else "")
        first_ms = self.checks.source_ms.setdefault(source, self.kafka.broker_ms())
        value = ready_record(
            {
                "request_id": request.request_id, "from": NUMBER, "to": request.recipient,
                "category": PRIORITY_OF[request.priority], "priority": request.priority,
                "message": {"type": "text", "text": {"body": text[: len(request.request_id)]}}, "metadata": {"x": text},
            },
            {"topic": "outbound-requests", "partition": 0, "offset": source, "timestamp_ms": first_ms},
            business="acme", lane=f"{NUMBER}#{lane_shard}", priority=request.priority, judged_ms=first_ms,
            expires_ms=first_ms + int(request.ttl_s * 1000), valid_until_ms=first_ms + int(request.valid_s * 1000),
            valid_cause="consent_expired" if request.valid_s < request.ttl_s else "expired",
            consent=CONSENT,
        )  # fmt: skip
        if request.valid_s > request.ttl_s:
            value["valid_until"] = value["expires_at"]
        topic = f"ready-{request.priority}"
        if request.due_in_s is not None and returning is None:
            due_ms = self.kafka.broker_ms() + int(request.due_in_s * 1000)
            value.update(due_at=rfc3339(due_ms), reason="scheduled", via_gate=request.via_gate)
            topic = "delayed-retry"
        if returning is not None:
            value.update(attempt=returning.attempt, spent=returning.spent, unknown=returning.unknown)
        self.kafka.write(topic, value, f"{NUMBER}#{lane_shard}", lane_shard)

    def _opt_out(self, recipient: str) -> None:
        update = {
            "update_id": f"o{self.now_s}", "recipient": recipient, "business": "*", "action": "revoke",
            "categories": ["*"], "at": rfc3339(self.kafka.broker_ms()),
            "evidence": {"method": "keyword", "actor": "user"},
        }  # fmt: skip
        self.say("opt-out", recipient)
        self.kafka.write("consent-updates", update, recipient)

    def _appended(self, stored: Any) -> None:
        topic = stored.where[0]
        if topic in LANES:
            if self.owner is not None:
                self.fetch_soon(self.owner, stored.where)
            for process in self._zombie_list():
                self.fetch_soon(process, stored.where)
        elif topic == "outbound-requests":
            self._input(self.now_s + 0.1, self._judge_again, stored)

    def _judge_again(self, stored: Any) -> None:
        """The gate takes back what waited an hour."""
        returning = read_returning(stored.pairs)
        assert returning.source is not None
        index = returning.source["offset"]
        request = self.plan.requests[index % 1000 if index < 1000 else self.plan.upstream_repeats[index - 1000][0]]
        if self.kafka.broker_ms() >= returning.source["timestamp_ms"] + int(request.ttl_s * 1000):
            event = outbound_event(
                "expired", stored.json(), returning.source, at_ms=self.kafka.broker_ms(), stage="gate", reason="expired"
            )
            self.kafka.write("outbound-events", event)
        else:
            self._admit(request, index, False, returning)

    # -- run ---------------------------------------------------------------------------------------------------------
    def run(self) -> list[str]:
        """Let it happen.

        Returns:
            What must not have happened, empty if nothing.
        """
        saved = structlog.get_config()
        names = vars(scheduling)
        windows = {name: names[name] for name in ("READY_WINDOW_HIGH", "READY_WINDOW_LOW")}
        names.update(READY_WINDOW_HIGH=self.plan.ready_window, READY_WINDOW_LOW=self.plan.ready_window // 2)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False)
        try:
            self._begin()
            self._loop()
            self.checks.at_the_end()
        finally:
            for process in self._processes:
                process.loop.kill()
            structlog.configure(**saved)
            names.update(windows)
        return self.violations

    def _loop(self) -> None:
        steps = 0
        while not self._over:
            steps += 1
            next_s, loop = self._heap[0][0] if self._heap else float("inf"), None
            for process in self._processes:
                due_s = process.loop.next_s()
                if due_s < next_s or (due_s == next_s and due_s <= self.now_s):
                    next_s, loop = due_s, process.loop
            if next_s > HORIZON_S or steps > STEPS_MAX:
                self.violate("hang", f"at {self.now_s:.1f} s after {steps} steps: {self.checks.what_waits()}")
                return
            self.clock.now_s = max(self.now_s, next_s)
            if loop is not None:
                loop.step()
                self._look_for_errors(loop)
            else:
                _, _, call, args = heapq.heappop(self._heap)
                call(*args)

    def _look_for_errors(self, loop: ProcessLoop) -> None:
        for context in loop.errors:
            self.violate("unhandled", f"{context.get('message')}: {context.get('exception')!r}")
        loop.errors.clear()


LANES = frozenset((*READY, *DELAYED))


def run(plan: Plan) -> list[str]:
    """Run a plan; returns what must not have happened."""
    return World(plan).run()


def main(args: list[str]) -> None:
    """Run seeds from the command line."""
    first, count = int(args[0]), int(args[1]) if len(args) > 1 else 1
    trace = print if count == 1 else None
    bad = 0
    for seed in range(first, first + count):
        for violation in World(draw(seed), trace).run():
            bad += 1
            sys.stdout.write(f"{seed}: {violation[:300]}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{count} runs, {bad} violations\n")


if __name__ == "__main__":
    main(sys.argv[1:])
