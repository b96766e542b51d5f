"""Several ingress processes on one port, as one role: calls, health, metrics, a killed worker, the drained end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.broker import is_gone, wait_until
from tests.support.ingress_door import Ingress, cloud, status, write_config

CALLS = 40


def _worker_pids(ingress: Ingress) -> set[int]:
    """The processes that said they listen; the parent says so, too, with the number of its workers."""
    lines = [line for line in ingress.log_lines() if line["event"] == "ingress_listening" and "workers" not in line]
    return {int(line["instance"].rsplit(":", 1)[1]) for line in lines}


def test_workers_share_the_port_and_one_that_dies_is_replaced(kafka: str, tmp_path: Path) -> None:
    """Every call is answered and counted once; a SIGKILLed worker comes back; SIGTERM drains all of them to exit 0."""
    ingress = Ingress(write_config(tmp_path, kafka, "workers = 2\n"), tmp_path / "log")
    try:
        wait_until(lambda: ingress.ready()[0] == 200, "both workers are ready")
        first = _worker_pids(ingress)
        assert len(first) == 2
        answers = [ingress.post(cloud(statuses=[status(id=f"wamid.{index}")])) for index in range(CALLS)]
        assert answers == [200] * CALLS
        assert ingress.metric('wapipe_webhook_requests_total{result="ok"}') == CALLS

        os.kill(min(first), signal.SIGKILL)
        wait_until(lambda: len(_worker_pids(ingress)) == 3 and ingress.ready()[0] == 200, "a third one took its place")
        assert ingress.post(cloud(statuses=[status(id="wamid.after")])) == 200
        assert ingress.metric('wapipe_webhook_requests_total{result="ok"}') == CALLS + 1, "the dead one's calls count"

        assert ingress.stop() == 0
        ids = [record.value["message_id"] for record in ingress.read("inbound-events")]
        assert sorted(ids) == sorted([*(f"wamid.{index}" for index in range(CALLS)), "wamid.after"])
        assert all(map(is_gone, _worker_pids(ingress)))
    finally:
        ingress.end()


def test_workers_end_with_a_parent_that_was_killed(kafka: str, tmp_path: Path) -> None:
    """A SIGKILLed parent leaves no process behind: its workers drain and end by themselves."""
    ingress = Ingress(write_config(tmp_path, kafka, "workers = 2\n"), tmp_path / "log")
    wait_until(lambda: ingress.ready()[0] == 200, "both workers are ready")
    pids = _worker_pids(ingress)
    ingress.end()
    wait_until(lambda: all(map(is_gone, pids)), "the workers are gone")
    assert len(pids) == 2
