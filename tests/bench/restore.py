"""How long a gate reads its tables before it judges: cold, from the topics alone, and warm, with what it had before."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.records.codec import headers_for
from tests.bench.backlog import fill
from tests.bench.measure import cpu_s, peak_mib
from tests.bench.rows import Row
from tests.support.world import Draft, World

CHANGED_PART = 1_000
"""One changed record for so many, between the two starts."""
WINDOWS_PART, SUPPRESSED_PART = 20, 100
"""One open window, one suppression for so many consents."""
READY_TIMEOUT_S = 900.0
CONSENT = (
    '{"recipient":"%s","entries":[{"business":"acme","category":"utility","purpose":"*","status":"granted",'
    '"at":"2026-11-20T08:00:00.000Z","expires_at":null,"update_id":"u-%d","method":"checkbox",'
    '"source":"https://shop.example/checkout"}],"erased_at":null,"updated_at":"2026-11-20T08:00:00.000Z"}'
)
WINDOW = (
    '{"recipient":"%s","windows":{"200000000000001":{"opened_at":"2026-11-22T10:00:00.000Z",'
    '"until":"2026-11-23T10:00:00.000Z","message_id":"wamid.%d"}}}'
)
SUPPRESSION = '{"recipient":"%s","reason":"not_on_whatsapp","until":null,"at":"2026-11-22T10:00:00.000Z","n":%d}'


SMALLER_PART = 10
"""The first row is for a tenth of the people."""


def restore(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """Restore of the gate's tables: consents and, for some people, windows and suppressions; then a warm restart.

    What a gate costs to start at all is taken off the CPU-seconds of the restore: the warm restart has shown it.
    """
    for people in (max(1, count // SMALLER_PART), count):
        (folder / str(people)).mkdir()
        yield _restored(kafka, folder / str(people), people)


def _restored(kafka: str, folder: Path, count: int) -> Row:
    with World(kafka, folder) as world:
        written = {
            "consent": count, "service-windows": count // WINDOWS_PART, "suppressions": count // SUPPRESSED_PART,
        }  # fmt: skip
        for topic, text in (("consent", CONSENT), ("service-windows", WINDOW), ("suppressions", SUPPRESSION)):
            _fill(world, topic, text, written[topic])
        cold = _start(world)
        _fill(world, "consent", CONSENT, max(1, count // CHANGED_PART))
        warm = _start(world)
        on_disk = sum(file.stat().st_size for file in (folder / "data").rglob("*") if file.is_file())
    return {
        "consents": count,
        "records": cold["records"],
        "cold: restore, s": cold["seconds"],
        "cold: records per s": round(cold["records"] / cold["seconds"]),
        "cold: records per CPU-s": round(cold["records"] / max(0.01, cold["cpu_s"] - warm["cpu_s"])),
        "cold: process → ready, s": cold["ready_s"],
        "cold: gate's CPU until ready, s": cold["cpu_s"],
        "cold: gate peak MiB": cold["mib"],
        "warm: records": warm["records"],
        "warm: restore, s": warm["seconds"],
        "warm: process → ready, s": warm["ready_s"],
        "warm: gate's CPU until ready, s": warm["cpu_s"],
        "on disk, MB": round(on_disk / 1e6),
    }


def _start(world: World) -> dict[str, Any]:
    """Run a gate until its tables are there, then stop it."""
    began_s = time.monotonic()
    world.spawn("gate")
    pid = world.processes.pid("gate")
    world.until(lambda: world.said("gate", "tables_restored") is not None, "tables are restored", READY_TIMEOUT_S)
    world.ready("gate")
    said = world.said("gate", "tables_restored")
    assert said is not None
    figures = {
        "records": int(said["records"]),
        "seconds": float(said["seconds"]),
        "ready_s": round(time.monotonic() - began_s, 2),
        "cpu_s": round(cpu_s(pid), 2),
        "mib": round(peak_mib(pid)),
    }
    world.kill("gate", 15)
    return figures


def _fill(world: World, topic: str, text: str, count: int) -> None:
    """Write a record for each of so many people."""
    fill(world, topic, _records(text, count, headers_for(f"{topic.removesuffix('s')}/1")), count)


def _records(text: str, count: int, headers: Sequence[tuple[str, bytes]]) -> Iterator[Draft]:
    for number in range(count):
        recipient = f"1555{number:010d}"
        yield Draft(recipient.encode(), (text % (recipient, number)).encode(), headers)
