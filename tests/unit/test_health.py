"""Health: alive is about this process only, ready is a list of named conditions; both served by HTTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from pipeline.errors import ConfigError
from pipeline.health import HEARTBEAT_AGE_S_MAX, PORTS, Health, serve_health
from pipeline.metrics import Metrics


class _Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def _served(health: Health, metrics: Metrics) -> AsyncIterator[aiohttp.ClientSession]:
    server = await serve_health(health, metrics, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield session
    finally:
        await server.stop()


def test_a_process_without_conditions_is_ready_and_alive() -> None:
    """Nothing to wait for means ready."""
    health = Health()
    assert (health.readiness(), health.liveness()) == ({}, {})


def test_each_condition_must_be_met_before_the_process_is_ready() -> None:
    """A condition that nobody met yet keeps the process unready and is named."""
    health = Health(("kafka", "tables"))
    health.meet("kafka")
    assert health.readiness() == {"tables": "not yet"}
    health.meet("tables")
    assert health.readiness() == {}


def test_a_missed_condition_names_its_reason_until_it_is_met_again() -> None:
    """`miss` takes readiness away with a reason, also for a new name; `meet` gives it back."""
    health = Health()
    health.miss("draining", "asked to stop")
    assert health.readiness() == {"draining": "asked to stop"}
    health.meet("draining")
    assert health.readiness() == {}


def test_a_heartbeat_that_stays_away_ends_liveness() -> None:
    """Below the limit of age the process lives, from it on it does not, and one beat revives it."""
    clock = _Clock()
    health = Health(clock=clock)
    clock.now_s += HEARTBEAT_AGE_S_MAX - 0.1
    assert health.liveness() == {}
    clock.now_s += 0.1
    assert "no heartbeat for 10.0 s" in health.liveness()["event_loop"]
    health.beat()
    assert health.liveness() == {}


def test_a_stall_that_a_watchdog_reports_ends_liveness_but_not_readiness() -> None:
    """A stuck part makes the process dead by name until the watchdog takes it back."""
    health = Health()
    health.report_stall("lane 4", "no progress for 61 s")
    assert health.liveness() == {"lane 4": "no progress for 61 s"}
    assert health.readiness() == {}
    health.clear_stall("lane 4")
    health.clear_stall("never reported")
    assert health.liveness() == {}


def test_readiness_never_touches_liveness() -> None:
    """Kafka away (a missed condition) must not restart the fleet."""
    health = Health(("kafka",))
    health.miss("kafka", "no broker answers")
    assert health.liveness() == {}


def test_each_role_has_a_port_of_its_own() -> None:
    """Roles on one machine do not collide by default."""
    assert PORTS == {"gate": 9101, "sender": 9102, "ingress": 9103, "console": 9104}


async def test_readyz_answers_503_with_reasons_and_200_when_ready() -> None:
    """The readiness probe says why not, as JSON."""
    health = Health(("kafka",))
    async with _served(health, Metrics()) as session:
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.json()) == (503, {"ready": False, "reasons": {"kafka": "not yet"}})
        health.meet("kafka")
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.json()) == (200, {"ready": True, "reasons": {}})


async def test_livez_answers_200_while_unready_and_503_when_stuck() -> None:
    """The liveness probe ignores readiness and obeys watchdogs."""
    health = Health(("kafka",))
    async with _served(health, Metrics()) as session:
        async with session.get("/livez") as answer:
            assert (answer.status, await answer.json()) == (200, {"alive": True, "reasons": {}})
        health.report_stall("producer", "stuck")
        async with session.get("/livez") as answer:
            assert (answer.status, (await answer.json())["reasons"]) == (503, {"producer": "stuck"})


async def test_the_server_beats_for_the_loop_it_runs_on() -> None:
    """The heartbeat starts with the server: an old beat is renewed at once."""
    clock = _Clock()
    health = Health(clock=clock)
    clock.now_s += 60
    async with _served(health, Metrics()) as session, session.get("/livez") as answer:
        assert answer.status == 200


async def test_metrics_are_served_as_prometheus_text() -> None:
    """/metrics is the exposition with its media type; other paths are 404."""
    metrics = Metrics()
    metrics.rebalances.inc(3)
    async with _served(Health(), metrics) as session:
        async with session.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert "wapipe_rebalances_total 3.0" in await answer.text()
        async with session.get("/secrets") as answer:
            assert answer.status == 404


async def test_a_port_in_use_is_a_config_error_that_names_the_key() -> None:
    """The operator reads which setting to change, and the failed server leaves nothing open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"http\.port"):
            await serve_health(Health(), Metrics(), "127.0.0.1", taken.getsockname()[1])


async def test_a_host_that_is_not_ours_is_a_config_error() -> None:
    """An address of another machine is refused by name at the start."""
    with pytest.raises(ConfigError, match=r"http\.host"):
        await serve_health(Health(), Metrics(), "192.0.2.1", 0)


async def test_stop_frees_the_port() -> None:
    """After `stop` the same port can be bound at once."""
    server = await serve_health(Health(), Metrics(), "127.0.0.1", 0)
    await server.stop()
    again = await serve_health(Health(), Metrics(), "127.0.0.1", server.port)
    await again.stop()
