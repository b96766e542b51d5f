"""How long a lane is silent when another process takes it over: a long ledger and many delayed messages to read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from pipeline.clock import parse_rfc3339_ms, unix_ms
from pipeline.records.codec import headers_for
from pipeline.records.ledger import SCHEMA as LEDGER_SCHEMA
from pipeline.records.ledger import ledger_record
from pipeline.records.outbound import outbound_event
from pipeline.records.ready import SCHEMA as READY_SCHEMA
from pipeline.records.ready import ready_record
from tests.bench.measure import peak_mib
from tests.support.campaign import BUSINESS, Ids, Request, campaign, people
from tests.support.world import NUMBER, ONE_V1, Draft, World

LANE = f"{NUMBER}#0"
DELAYED_PART = 5
"""One delayed message for so many ledger records."""
HOUR_MS = 3_600_000
READY_TIMEOUT_S = 120.0


def takeover(kafka: str, folder: Path, count: int) -> dict[str, float | int | str]:
    """Take-over: from the assignment to the first POST, with a ledger and delayed messages to read."""
    delayed = count // DELAYED_PART
    requests = campaign(count // 2 + delayed + 1, [NUMBER], people(5000), Ids())
    done, waiting, first = requests[: count // 2], requests[count // 2 : -1], requests[-1]
    with World(kafka, folder, numbers=ONE_V1) as world:
        world.write("send-ledger", _ledger(done), partition=0)
        world.write(
            "delayed-retry-10m", (_ready(r, n, "bulk", HOUR_MS // 2) for n, r in enumerate(waiting)), partition=0
        )
        world.write("ready-urgent", [_ready(first, len(requests), "urgent", None)], partition=0)
        steady_of_unix_s = time.monotonic() - time.time()
        world.spawn("sender")
        pid = world.processes.pid("sender")
        world.until_taken(1, READY_TIMEOUT_S)
        opened = world.said("sender", "lane_opened")
        assert opened is not None
        mib = peak_mib(pid)
        stats, rows = world.api.stats(), world.api.messages()
    opened_s = parse_rfc3339_ms(opened["ts"]) / 1000
    assigned_s = opened_s - opened["duration_ms"] / 1000 + steady_of_unix_s
    posted_s = (int(stats["started_monotonic_ns"]) + min(row["t_ns"] for row in rows)) / 1e9
    return {
        "ledger records": count,
        "delayed messages": delayed,
        "ids known": int(opened["ids"]),
        "jobs": int(opened["jobs"]),
        "assignment → lane open, ms": int(opened["duration_ms"]),
        "assignment → first POST, ms": round((posted_s - assigned_s) * 1000),
        "sender peak MiB": round(mib),
    }


def _source(offset: int) -> dict[str, Any]:
    return {"topic": "outbound-requests", "partition": 0, "offset": offset, "timestamp_ms": unix_ms()}


def _ledger(requests: list[Request]) -> Iterator[Draft]:
    """What a predecessor wrote who sent these: two records each."""
    headers, key = headers_for(LEDGER_SCHEMA), LANE.encode()
    yield Draft(key, orjson.dumps(ledger_record("opened", 1, owner="bench")), headers)
    for number, request in enumerate(requests):
        about: dict[str, Any] = {
            "request_id": request["request_id"], "attempt": 1, "recipient": request["to"], "priority": "bulk",
            "source": _source(number), "place": ("ready-bulk", 0, number), "spent": 0,
        }  # fmt: skip
        event = outbound_event(
            "accepted", request, about["source"], at_ms=unix_ms(), stage="sender", business=BUSINESS, attempt=1
        )
        attempt = ledger_record("attempt", 1, digest="0123456789abcdef", **about)
        settled = ledger_record(
            "settled", 1, outcome="accepted", basis="answer", message_id=f"wamid.{number}", event=event, **about
        )
        yield Draft(key, orjson.dumps(attempt), headers)
        yield Draft(key, orjson.dumps(settled), headers)


def _ready(request: Request, offset: int, priority: str, due_in_ms: int | None) -> Draft:
    """An admitted message, at once or as the copy of one that waits."""
    now_ms = unix_ms()
    record = ready_record(
        {"purpose": None, **request}, _source(offset), business=BUSINESS, lane=LANE, priority=priority,
        judged_ms=now_ms, expires_ms=now_ms + HOUR_MS, valid_until_ms=now_ms + HOUR_MS, valid_cause="expired",
        consent=None, due_ms=now_ms + due_in_ms if due_in_ms is not None else None,
        reason="throttled" if due_in_ms is not None else None,
    )  # fmt: skip
    return Draft(LANE.encode(), orjson.dumps(record), headers_for(READY_SCHEMA))
