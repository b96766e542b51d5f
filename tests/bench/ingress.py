"""W11: what the ingress takes, signatures checked and every record acked; and what is there after processes died."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pipeline.embedded.broker import EmbeddedKafka
from tests.bench.measure import cpu_s, peak_mib, rss_mib
from tests.support import webhooks_loader
from tests.support.ingress_door import FIRST, Ingress, write_config
from tests.support.redelivery import redelivered

Figures = dict[str, float | int | str]
BATCH_UPDATES = 1000
BATCHES = 20
WARM_UP = 500
HALF_RATE_CONNECTIONS = 4
SAMPLE_S = 5.0


def w11(kafka: str, folder: Path, count: int) -> Figures:
    """The ingress: single-status webhooks per second, latency, bodies of 1,000 updates, forged calls among others."""
    ingress = Ingress(write_config(folder, kafka), folder / "log")
    try:
        pid, url = ingress.process.pid, f"http://127.0.0.1:{ingress.port}/webhook"

        def load(**options: int) -> dict[str, Any]:
            return webhooks_loader.result(webhooks_loader.start(url, FIRST, **options))

        load(requests=WARM_UP)
        used, began = cpu_s(pid), time.monotonic()
        full = load(requests=count, connections=64)
        took_s, cpu = time.monotonic() - began, cpu_s(pid) - used
        calm = load(requests=count // 5, connections=HALF_RATE_CONNECTIONS)
        batches = load(requests=BATCHES, updates=BATCH_UPDATES, connections=1)
        mib = peak_mib(pid)
        mixed = load(requests=count // 5, connections=32, forged=count * 3 // 20, malformed=count // 20)
        return {
            "webhooks": count,
            "webhooks/s": round(count / took_s),
            "webhooks per CPU-second": round(count / cpu),
            "p50 ms, 64 connections": full["p50_ms"],
            "p99 ms, 64 connections": full["p99_ms"],
            f"p50 ms, {HALF_RATE_CONNECTIONS} connections": calm["p50_ms"],
            f"p99 ms, {HALF_RATE_CONNECTIONS} connections": calm["p99_ms"],
            "1,000 updates, p50 ms": batches["p50_ms"],
            "1,000 updates, worst ms": batches["max_ms"],
            "peak MiB": round(mib),
            "valid among forged, answers": str(mixed["authentic"]),
            "forged, answers": str(mixed["forged"]),
            "malformed, answers": str(mixed["malformed"]),
        }
    finally:
        ingress.end()


def w11_flat(kafka: str, folder: Path, seconds: int) -> Figures:
    """The ingress under load for minutes: resident memory after a minute, at the end, and the most in between."""
    ingress = Ingress(write_config(folder, kafka), folder / "log")
    try:
        url = f"http://127.0.0.1:{ingress.port}/webhook"
        loader = webhooks_loader.start(url, FIRST, seconds=seconds, connections=HALF_RATE_CONNECTIONS)
        samples: list[float] = []
        while loader.poll() is None and len(samples) * SAMPLE_S < seconds + SAMPLE_S:
            time.sleep(SAMPLE_S)
            samples.append(rss_mib(ingress.process.pid))
        said = webhooks_loader.result(loader)
        warm = samples[min(len(samples) // 4, round(60 / SAMPLE_S)) :]
        return {
            "seconds": seconds,
            "webhooks": int(said["taken"]),
            "after a minute, MiB": round(warm[0], 1),
            "at the end, MiB": round(warm[-1], 1),
            "most since, MiB": round(max(warm), 1),
            "answers": str(said["authentic"]),
        }
    finally:
        ingress.end()


def w11_deaths(_kafka: str, folder: Path, count: int) -> Figures:
    """The ingress killed five times and its broker once while webhooks come, each again until it hears 200."""
    with EmbeddedKafka(folder / "broker") as broker:
        (folder / "ingress").mkdir()
        outcome = redelivered(broker, folder / "ingress", count, kills=5, outage_s=5.0)
    return {
        "webhooks": count,
        "answers": str(outcome.said["authentic"]),
        "lost": outcome.lost,
        "invented": len(outcome.invented),
        "repeated records": outcome.repeated,
        "messages under two event ids": outcome.conflicting,
    }
