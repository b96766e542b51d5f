"""What `wapipe plan` is made from, and whether it is right: a real campaign with its statuses, measured and predicted.

The machine's speed of the moment is taken out by the plain loop, which runs right after, as in W1: CPU-seconds are
compared as multiples of the loop's.
"""

from __future__ import annotations

import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition

from pipeline.embedded.broker import EmbeddedKafka
from pipeline.records.codec import headers_for
from pipeline.records.ledger import ledger_record
from pipeline.records.outbound import outbound_event
from pipeline.sender.ledger_state import LedgerState
from pipeline.sender.withdrawn import Withdrawn
from pipeline.sizing.cluster import bytes_per_message
from pipeline.sizing.costs import costs
from pipeline.sizing.demand import STATUSES, Demand
from pipeline.sizing.plan import drain_s
from pipeline.streams.topics import TOPICS
from tests.bench.measure import cpu_s
from tests.bench.reference import plain_loop, start_cpu_s
from tests.support.campaign import BUSINESS, Ids, Request, campaign, people
from tests.support.world import NUMBER, Draft, World

Figures = dict[str, float | int | str]
ROLES = ("gate", "sender", "ingress")
CAMPAIGN_S = 50
"""A campaign is so many seconds long at the number's limit: 4,000 messages are 80/s, and a busy machine holds fewer."""
RATE_PER_S = 80
LOW_PER_S = 20
LATENCY_MS = 20
PEOPLE = 1000
IDS = 20_000
INBOUND = 20_000
IDLE_S = 10.0
SETTLE_S = 4.0
WAIT_S = 900.0
KAFKA_TIMEOUT_S = 10.0
PARTITIONS = 12
LOOP_COUNT = 5_000
AT = "2026-11-22T10:00:00.000Z"
INBOUND_HEADERS = headers_for("inbound-event/1")


@dataclass(frozen=True, slots=True)
class Run:
    """What a campaign took.

    Attributes:
        drain_s: From the first POST to the last.
        cores: By role and `broker`, on average from the campaign's writing to its last status.
        idle: Cores by role and `broker` before it.
        records: Per message, by topic.
        record_bytes: On disk by topic, mean of what the campaign wrote.
        loop_cpu_s: CPU-seconds of the plain loop per message.
    """

    messages: int
    drain_s: float
    took_s: float
    cores: dict[str, float]
    idle: dict[str, float]
    records: dict[str, float]
    record_bytes: dict[str, float]
    loop_cpu_s: float

    def cpu_s(self, who: str) -> float:
        """CPU-seconds per message."""
        return self.cores[who] * self.took_s / self.messages


def run(folder: Path, count: int, rate_per_s: int, category: str) -> Run:
    """A campaign on one number at a rate, on a broker, API and roles of its own."""
    numbers = {NUMBER: {"profile": "cloud", "rate_per_s": rate_per_s, "burst": rate_per_s}}
    api = ("--latency-ms", str(LATENCY_MS), "--rate", str(rate_per_s), "--burst", str(rate_per_s))
    crowd = people(PEOPLE)
    (folder / "world").mkdir(parents=True)
    with (
        EmbeddedKafka(folder / "broker") as kafka,
        World(kafka.bootstrap, folder / "world", numbers=numbers, webhooks=True, simulator=api) as world,
    ):
        world.spawn("gate")
        world.spawn("sender")
        world.ready()
        world.grant(crowd, WAIT_S)
        time.sleep(SETTLE_S)
        pids = {role: world.processes.pid(role) for role in ROLES} | {"broker": kafka.pids[0]}
        logs = folder / "broker" / "broker-1" / "kafka"
        idle = _used(pids)
        time.sleep(IDLE_S)
        used, held, counts = _used(pids), _log_bytes(logs, world.prefix), _counts(world)
        began_s = time.monotonic()
        requests = campaign(count, [NUMBER], crowd, Ids(), category=category)
        world.produce(requests)
        world.until_terminal(requests, timeout_s=WAIT_S)
        wanted = counts["inbound-events"] + STATUSES * count
        world.until(lambda: world.count("inbound-events") >= wanted, "all statuses are written", WAIT_S)
        took_s = time.monotonic() - began_s
        after, held_after, counts_after = _used(pids), _log_bytes(logs, world.prefix), _counts(world)
        rows = world.api.messages()
        for role in ROLES:
            world.kill(role, 15)
        world.api.control(settings={"enforce": False, "webhook_url": None})
        loop_cpu = _loop_cpu_s(world)
    written = {topic: counts_after[topic] - counts[topic] for topic in counts}
    return Run(
        messages=count,
        drain_s=(rows[-1]["t_ns"] - rows[0]["t_ns"]) / 1e9,
        took_s=took_s,
        cores={who: (after[who] - used[who]) / took_s for who in pids},
        idle={who: (used[who] - idle[who]) / IDLE_S for who in pids},
        records={topic: n / count for topic, n in written.items() if n},
        record_bytes={t: (held_after[t] - held.get(t, 0)) / n for t, n in written.items() if n and t in held_after},
        loop_cpu_s=loop_cpu,
    )


def _loop_cpu_s(world: World) -> float:
    """CPU-seconds of the plain loop per message, without its start; the roles are gone."""
    world.produce(campaign(LOOP_COUNT, [NUMBER], people(PEOPLE), Ids("loop")))
    started_s = start_cpu_s()
    _, used = plain_loop(world, LOOP_COUNT)
    return (used - started_s) / LOOP_COUNT


def _used(pids: dict[str, int]) -> dict[str, float]:
    return {who: cpu_s(pid) for who, pid in pids.items()}


def _counts(world: World) -> dict[str, int]:
    return {topic.name: world.count(topic.name) for topic in TOPICS}


def _log_bytes(logs: Path, prefix: str) -> dict[str, int]:
    """Bytes of records on the broker's disk, by topic: segments without their indexes."""
    found: dict[str, int] = defaultdict(int)
    for segment in logs.glob(f"{prefix}*/*.log"):
        found[segment.parent.name.removeprefix(prefix).rpartition("-")[0]] += segment.stat().st_size
    return dict(found)


def plan(_kafka: str, folder: Path, count: int) -> Figures:
    """`wapipe plan` against a real campaign on one number: predicted, measured, and how far apart.

    Another campaign than the one that the figures come from: marketing, so it goes by other topics, and another count.
    """
    figures = costs()
    rate_per_s = max(1, count // CAMPAIGN_S)
    real = run(folder / "plan", count, rate_per_s, "marketing")
    demand = Demand(
        numbers=1, rate_per_s=rate_per_s, messages_per_day=count, recipients=PEOPLE, replication=1,
        latency_ms=LATENCY_MS, urgent_share=0, inbound_share=0, opt_out_share=0,
    )  # fmt: skip
    slower = real.loop_cpu_s * figures.figure("loop_per_cpu_s")
    per_s = count / real.took_s
    webhooks = {"gate": 1, "sender": 1, "ingress": STATUSES}
    counted = [name for name, one in figures.traffic.topics.items() if one.records and name in real.records]
    told: Figures = {
        "messages": count,
        "messages/s until the last status": round(per_s, 1),
        "CPU of the plain loop, by that of the reference": round(slower, 2),
    }
    pairs = {
        "drain, s": (drain_s(demand), real.drain_s),
        "bytes on disk per message": (
            bytes_per_message(demand, figures), sum(real.records[one] * real.record_bytes[one] for one in counted)
        ),
        **{
            f"{role}, CPU ms per message": (
                1000 * figures.curves[role].cores(per_s * webhooks[role]) / per_s, 1000 * real.cpu_s(role) / slower,
            )
            for role in ROLES
        },
        "broker, CPU ms per message": (
            1000 * (figures.figure("broker_cpu_s") + figures.figure("broker_idle_cores") / per_s),
            1000 * real.cpu_s("broker") / slower,
        ),
    }  # fmt: skip
    for name, (planned, found) in pairs.items():
        told[name] = f"planned {planned:,.4g}, measured {found:,.4g}: {planned / found - 1:+.1%}"
    return told


def plan_costs(kafka: str, folder: Path, count: int) -> Figures:
    """What `pipeline/sizing/costs.toml` is made from: CPU by rate, bytes by topic, statuses at the gate, memory."""
    (folder / "inbound").mkdir()
    told: Figures = {}
    for rate in (LOW_PER_S, RATE_PER_S):
        real = run(folder / str(rate), count * rate // RATE_PER_S, rate, "utility")
        slower = real.loop_cpu_s * costs().figure("loop_per_cpu_s")
        told[f"{rate}/s: loop, CPU by the reference"] = round(slower, 2)
        told[f"{rate}/s: messages/s until the last status"] = round(real.messages / real.took_s, 1)
        for who in real.cores:
            told[f"{rate}/s: {who}, cores idle and busy"] = (
                f"{real.idle[who] / slower:.4f} {real.cores[who] / slower:.4f}"
            )
    for topic, size in real.record_bytes.items():
        told[f"{topic}: records per message, bytes of each"] = f"{real.records[topic]:.3f} {size:.0f}"
    told["gate: statuses per CPU-second"] = round(_inbound(kafka, folder / "inbound"))
    return {**told, **_of_memory()}


def _inbound(kafka: str, folder: Path) -> float:
    """Statuses that a gate reads per CPU-second of the reference machine."""
    with World(kafka, folder) as world:
        world.spawn("gate")
        world.ready()
        world.grant(people(PEOPLE), WAIT_S)
        time.sleep(SETTLE_S)
        requests = campaign(INBOUND, [NUMBER], people(PEOPLE), Ids())
        statuses = (Draft(one["to"].encode(), orjson.dumps(_status(one)), INBOUND_HEADERS) for one in requests)
        pid = world.processes.pid("gate")
        used = cpu_s(pid)
        world.write("inbound-events", statuses)
        world.until(lambda: _left(world) == 0, "all statuses are read", WAIT_S)
        used = cpu_s(pid) - used
        world.kill("gate", 15)
        loop_cpu = _loop_cpu_s(world)
    return INBOUND / used * loop_cpu * costs().figure("loop_per_cpu_s")


def _status(request: Request) -> dict[str, Any]:
    message_id = f"wamid.{request['request_id']}"
    return {
        "event_id": request["request_id"], "type": "status", "at": AT, "received_at": AT, "number": NUMBER,
        "recipient": request["to"], "user_id": None, "message_id": message_id, "status": "delivered",
        "request_id": request["request_id"], "attempt": 1, "error_code": None, "errors": [], "pricing": None,
        "profile": "cloud", "body": {"id": message_id, "status": "delivered"},
    }  # fmt: skip


def _left(world: World) -> int:
    """Statuses that the gates have not committed."""
    topic, group = world.topic("inbound-events"), world.group("gate")
    consumer = Consumer({"bootstrap.servers": world.kafka, "group.id": group, "enable.auto.commit": False})
    try:
        partitions = [TopicPartition(topic, n) for n in range(PARTITIONS)]
        ends = [consumer.get_watermark_offsets(one, timeout=KAFKA_TIMEOUT_S)[1] for one in partitions]
        done = consumer.committed(partitions, timeout=KAFKA_TIMEOUT_S)
        return sum(end - max(0, one.offset) for end, one in zip(ends, done, strict=True))
    finally:
        consumer.close()


def _of_memory() -> Figures:
    """Settled ids and opt-outs in a sender's memory, without a sender."""
    records = [
        orjson.dumps(one) for number, request in enumerate(_requests(IDS)) for one in _ledger_of(number, request)
    ]
    tracemalloc.start()
    state = LedgerState()
    state.apply(ledger_record("opened", 1, owner="bench"), 0, 0)
    before = tracemalloc.get_traced_memory()[0]
    for offset, value in enumerate(records):
        state.apply(orjson.loads(value), offset + 1, offset)
    for known in state.ids.values():
        known.event = None  # as it is once the event is written
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    opted_out, began_s = Withdrawn(), time.process_time()
    for number, recipient in enumerate(people(IDS)):
        opted_out.apply(orjson.dumps(_opt_out(recipient)), number)
    return {
        "sender: bytes per settled id": round(held / IDS),
        "sender: CPU µs per opt-out": round((time.process_time() - began_s) / IDS * 1e6, 1),
    }


def _requests(count: int) -> list[Request]:
    return campaign(count, [NUMBER], people(PEOPLE), Ids())


def _opt_out(recipient: str) -> dict[str, Any]:
    evidence = {"method": "keyword", "actor": "user", "source": "whatsapp", "text": "STOP", "reference": "wamid.1"}
    return {
        "update_id": f"stop-{recipient}", "recipient": recipient, "business": BUSINESS, "action": "revoke",
        "categories": ["*"], "purposes": ["*"], "at": AT, "evidence": evidence,
    }  # fmt: skip


def _ledger_of(number: int, request: Request) -> Iterator[dict[str, Any]]:
    """What a sender writes about a message that goes well."""
    about: dict[str, Any] = {
        "request_id": request["request_id"], "attempt": 1, "recipient": request["to"], "priority": "bulk",
        "source": {"topic": "outbound-requests", "partition": 0, "offset": number, "timestamp_ms": 1},
        "place": ("ready-bulk", 0, number), "spent": 0,
    }  # fmt: skip
    event = outbound_event("accepted", request, about["source"], at_ms=1, stage="sender", business=BUSINESS, attempt=1)
    yield ledger_record("attempt", 1, digest="0123456789abcdef", **about)
    yield ledger_record(
        "settled", 1, outcome="accepted", basis="answer", message_id=f"wamid.{number}", event=event, **about
    )
