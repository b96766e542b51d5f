"""What must hold in every run of the simulated sender."""

from __future__ import annotations

from typing import Any

import orjson

from pipeline.records.codec import header_of, stable_id
from pipeline.records.returning import SOURCE_HEADER
from pipeline.streams.topics import DELAYED, READY
from tests.support.sender_api import Post
from tests.support.sender_kafka import TP, Stored
from tests.support.sender_plan import NUMBER, PRIORITY_OF

LANES = frozenset((*READY, *DELAYED))
OPT_OUT_GRACE_MS = 1_000
STALE_GRACE_MS = 6_000


class Checks:
    """Watches a world.

    Attributes:
        source_ms: Broker time of each request's source record.
    """

    def __init__(self, world: Any) -> None:
        self._world = world
        self.source_ms: dict[int, int] = {}
        self._terminal: dict[str, list[dict[str, Any]]] = {}
        self._duplicates: set[tuple[str, int]] = set()
        self._places: dict[tuple[str, int], set[tuple[TP, int]]] = {}
        self._returned: set[tuple[str, int]] = set()
        self._attempts: set[tuple[str, int]] = set()
        self._first_accepted: dict[str, float] = {}
        self._ledger_generation: dict[int, int] = {}

    # -- as it happens -----------------------------------------------------------------------------------------------
    def appended(self, stored: Stored) -> None:
        """A record is on a log."""
        topic = stored.where[0]
        if topic in ("account-state", "inbound-events"):
            return
        value = stored.json()
        if topic == "outbound-requests":
            source = orjson.loads(header_of(stored.pairs, SOURCE_HEADER) or b"{}")
            self._returned.add((value["request_id"], source["offset"]))
        elif topic == "outbound-events":
            self._world.say("   event", value["request_id"], value["type"], value["reason"], value["message_id"])
            if value["terminal"]:
                self._terminal.setdefault(value["request_id"], []).append(value)
            elif value["type"] == "duplicate":
                self._duplicates.add((value["request_id"], value["source"]["offset"]))
        elif topic in LANES and "request" in value:
            key = (value["request"]["request_id"], value["source"]["offset"])
            self._places.setdefault(key, set()).add((stored.where, stored.place))
            self._world.say(f"   {topic}[{stored.place}]", *key, value["reason"], value["attempt"], value["unknown"])
        elif topic == "send-ledger":
            self._ledger(stored, value)

    def _ledger(self, stored: Stored, value: dict[str, Any]) -> None:
        lane, generation = stored.where[1], value["generation"]
        self._world.say(
            f"   ledger[{stored.place}] g{generation}", value["kind"], value["request_id"], value["attempt"],
            value["outcome"] or value["reason"] or "", value["basis"] or "",
        )  # fmt: skip
        if value["kind"] == "opened":
            self._ledger_generation[lane] = max(self._ledger_generation.get(lane, -1), generation)
        late = generation < self._ledger_generation.get(lane, -1)
        if value["kind"] == "settled" and value["outcome"] == "accepted" and (not late or value["basis"] == "answer"):
            self._world.settled_accepted_ms.setdefault(value["request_id"], stored.time_ms)

    def commits(self, tp: TP, before: int, after: int) -> None:
        """A commit went from one offset to another: what it covers must be ended, copied, or back at the gate."""
        self._world.say(f"   commit {tp[0]}/{tp[1]} {before} -> {after}")
        if after < before:
            self._world.violate("commit-backwards", f"{tp} {before} -> {after}")
        covered = []
        for stored in self._world.kafka.log(*tp)[before:after]:
            value = stored.json()
            if "request" not in value:
                continue
            key = (value["request"]["request_id"], value["source"]["offset"])
            self._places[key].discard((tp, stored.place))
            covered.append(key)
        for key in covered:
            ended = key[0] in self._terminal or key in self._duplicates or key in self._returned
            if not ended and not self._places[key]:
                self._world.violate("committed-unfinished", f"{key} at {tp}")

    def posted(self, process: Any, post: Post) -> None:
        """A request was written."""
        world = self._world
        if post.attempt is not None:
            if (post.request_id, post.attempt) in self._attempts:
                world.violate("attempt-twice", f"{post.request_id}:{post.attempt}")
            self._attempts.add((post.request_id, post.attempt))
        if process is not world.owner:
            world.violate("zombie-post", f"{post.request_id} by P{process.generation}")
        now_ms = world.kafka.broker_ms()
        grace_ms = STALE_GRACE_MS if world.plan.stalls or world.plan.outages else OPT_OUT_GRACE_MS
        priority = next(q.priority for q in world.plan.requests if q.request_id == post.request_id)
        for stored in world.kafka.log("consent-updates"):
            update = stored.json()
            concerns = {"*", PRIORITY_OF[priority]} & set(update["categories"]) and update[
                "recipient"
            ] == post.recipient
            if concerns and stored.time_ms + grace_ms < now_ms:
                world.violate("after-opt-out", f"{post.request_id}")
        if any(e["request_id"] == post.request_id for e in self._terminal.get(post.request_id, ())):
            world.violate("post-after-end", post.request_id)

    # -- at the end --------------------------------------------------------------------------------------------------
    def at_the_end(self) -> None:
        """Look at what is left."""
        for request in self._world.plan.requests:
            self._ends(request.request_id)
        self._order()
        self._memory()

    def _ends(self, request_id: str) -> None:
        world = self._world
        events = self._terminal.get(request_id, [])
        if not events:
            world.violate("lost", request_id)
            return
        if {event["event_id"] for event in events} != {stable_id(NUMBER, request_id, "terminal")}:
            world.violate("event-ids", request_id)
        told = {(event["type"], event["reason"], event["message_id"]) for event in events}
        if len(told) > 1:
            world.violate("two-ends", f"{request_id}: {sorted(map(str, told))}")
        taken = world.api.accepted.get(request_id, [])
        for kind, _, message_id in told:
            if kind == "accepted" and message_id not in {m for _, m, _ in taken}:
                world.violate("accepted-but-never-taken", request_id)
            if kind in ("rejected", "expired") and taken:
                world.violate("never-sent-but-taken", f"{request_id}: {kind}")

    def _order(self) -> None:
        world = self._world
        repeated = {world.plan.requests[i].request_id for i, _, _ in world.plan.upstream_repeats}
        outside = repeated | {request_id for request_id, _ in self._returned}
        last: dict[tuple[str, str], tuple[float, str]] = {}
        for request in world.plan.requests:
            taken = world.api.accepted.get(request.request_id)
            is_scheduled = request.due_in_s is not None
            if not taken or (is_scheduled and request.via_gate) or request.request_id in outside:
                continue
            chain = (request.recipient, request.priority)
            if chain in last and taken[0][0] < last[chain][0]:
                world.violate("order", f"{request.request_id} before {last[chain][1]}")
            if not is_scheduled:  # later ones may have gone before its time
                last[chain] = max(last.get(chain, (0.0, "")), (taken[0][0], request.request_id))

    def _memory(self) -> None:
        owner = self._world.owner
        if owner is None:
            return
        for lane in owner.ctx.lanes.values():
            left = {
                "jobs": len(lane.jobs), "chains": len(lane.chains), "unknown": len(lane.unknown),
                "early": len(lane.early),
                "parked": len(lane.parked), "busy": len(lane.busy_recipients), "in_flight": lane.in_flight,
                "on_way": lane.on_way, "tasks": len(lane.tasks), "backlog": sum(map(abs, lane.backlog)),
                "events": sum(s.event is not None for s in lane.ledger.ids.values()),
            }  # fmt: skip
            left = {name: count for name, count in left.items() if count}
            if left:
                self._world.violate("memory", f"{lane.key}: {left}")
        if owner.stream.windows.unfinished():
            self._world.violate("memory", "windows")

    def what_waits(self) -> str:
        """For the report of a hang."""
        owner, kafka = self._world.owner, self._world.kafka
        if owner is None:
            return "no owner"
        logs = {tp: (kafka.committed.get(tp, 0), len(log)) for tp, log in kafka.logs.items() if tp[0] in LANES}
        behind = {tp: where for tp, where in logs.items() if where[0] != where[1]}
        jobs = {
            lane.key: [(j.message.request_id, j.stage.name, j.due_s, j.places, j.deferred) for j in lane.jobs.values()]
            for lane in owner.ctx.lanes.values()
        }
        state = [(lane.is_open, lane.in_flight, lane.on_way, len(lane.tasks)) for lane in owner.ctx.lanes.values()]
        return f"P{owner.generation} {state} behind {behind} jobs {jobs}"
