"""The embedded broker as its users meet it: real JVMs, real clients, real signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.embedded.broker import EmbeddedKafka
from pipeline.embedded.layout import BrokerPorts, ClusterPlan, load_plan, new_cluster_id, plan_to_json
from pipeline.embedded.locks import FileLock
from pipeline.errors import BrokerUnreachable, ConfigError
from tests.support.broker import children_of, create_topics, is_gone, produce, read_values, wait_until

pytestmark = pytest.mark.kafka

FOREGROUND = """
import sys
from pathlib import Path
from pipeline.embedded.foreground import run_broker_forever
run_broker_forever(Path(sys.argv[1]))
"""


@contextmanager
def foreground_process(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `run_broker_forever`; killed at the end if it is still there."""
    command = [sys.executable, "-c", FOREGROUND, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def foreground_broker(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The same, once it serves, and the address it announced."""
    with foreground_process(data_dir) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


def test_session_broker_takes_and_gives_records(kafka: str, topic_prefix: str) -> None:
    """The broker that all tests share takes records and gives them back in order."""
    topic = f"{topic_prefix}records"
    create_topics(kafka, {topic: 1})
    values = [b"%d" % i for i in range(1000)]
    produce(kafka, topic, values)
    assert read_values(kafka, topic) == values


def test_topics_are_not_created_by_accident(kafka: str, topic_prefix: str) -> None:
    """Asking for a topic that does not exist does not make it."""
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.list_topics(f"{topic_prefix}missing", timeout=30)
    assert f"{topic_prefix}missing" not in admin.list_topics(timeout=30).topics


def test_records_survive_a_stop(tmp_path: Path) -> None:
    """A second start on the same folder has the same address, the same cluster and the old records; a stop ends all."""
    with EmbeddedKafka(tmp_path / "data") as broker:
        address, first_pids = broker.bootstrap, broker.pids
        create_topics(address, {"kept": 2})
        produce(address, "kept", [b"one", b"two"])
        cluster_id = AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).cluster_id
    assert list(first_pids) == [0]
    assert is_gone(first_pids[0])
    with EmbeddedKafka(tmp_path / "data") as broker:
        assert broker.bootstrap == address
        assert AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).cluster_id == cluster_id
        assert sorted(read_values(address, "kept")) == [b"one", b"two"]


def test_three_brokers_bear_the_loss_of_one(tmp_path: Path) -> None:
    """With one of three killed the rest takes `acks=all`; restarted it has its old port and serves; a stop ends all."""
    soon_missed = {"broker.session.timeout.ms": "2500"}
    with EmbeddedKafka(tmp_path / "data", brokers=3, properties=soon_missed) as cluster:
        create_topics(cluster.bootstrap, {"shared": 3}, replication=3)
        produce(cluster.bootstrap, "shared", [b"before"])
        before = cluster.pids
        cluster.kill(1)
        assert is_gone(before[1])
        assert list(cluster.pids) == [0, 2]
        produce(cluster.bootstrap, "shared", [b"during"])
        cluster.start_broker(1)
        after = cluster.pids
        assert after[1] != before[1]
        restarted = cluster.bootstrap.split(",")[1]
        assert sorted(read_values(restarted, "shared")) == [b"before", b"during"]
    assert all(is_gone(pid) for pid in [*before.values(), *after.values()])


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    """A second broker on a folder in use is refused with a remedy, and touches nothing of it."""
    first = FileLock(tmp_path / "lock")
    assert first.acquire(0)
    with pytest.raises(ConfigError, match=r"another process runs a broker on .* use another folder"):
        EmbeddedKafka(tmp_path).start()
    first.release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_failed_start_shows_why(tmp_path: Path) -> None:
    """A broker that cannot start says so with the end of its log, leaves no process and lets go of its folder."""
    broken = EmbeddedKafka(tmp_path, properties={"num.io.threads": "many"})
    with pytest.raises(BrokerUnreachable, match=r"num\.io\.threads"):
        broken.start()
    assert broken.pids == {}
    next_one = FileLock(tmp_path / "lock")
    assert next_one.acquire(0)
    next_one.release()


def test_port_taken_meanwhile_is_chosen_anew(tmp_path: Path) -> None:
    """When another program has one of the folder's ports, the cluster keeps its id and gets other ports."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        kept = ClusterPlan(new_cluster_id(), (BrokerPorts(taken.getsockname()[1], 1024),))
        (tmp_path / "broker.json").write_text(plan_to_json(kept))
        with pytest.raises(BrokerUnreachable):
            EmbeddedKafka(tmp_path, properties={"num.io.threads": "many"}).start()
    chosen = load_plan(tmp_path / "broker.json", 1)
    assert chosen is not None
    assert chosen.cluster_id == kept.cluster_id
    assert chosen.brokers[0].client != kept.brokers[0].client


def test_exit_while_running_shows_the_log(tmp_path: Path) -> None:
    """A broker that dies by itself is told by `check`, with the end of its log."""
    with EmbeddedKafka(tmp_path) as broker:
        broker.check()
        os.kill(broker.pids[0], signal.SIGKILL)
        wait_until(lambda: broker.pids == {}, "end of the broker")
        with pytest.raises(BrokerUnreachable, match="broker-1 exited with -9; its log ends with:"):
            broker.check()


def test_without_java_both_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java on PATH the start fails as a wrong setting that names what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"install Java.*kafka\.bootstrap_servers"):
        EmbeddedKafka(tmp_path / "data").start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_foreground_broker_ends_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """The broker role prints its address, serves, and ends with 0 and nothing left behind."""
    with foreground_broker(tmp_path) as (process, address):
        assert AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).brokers
        children = children_of(process.pid)
        assert len(children) == 1
        process.send_signal(number)
        assert process.wait(60) == 0
        assert is_gone(children[0])


def test_foreground_broker_ends_on_a_signal_while_starting(tmp_path: Path) -> None:
    """A SIGTERM before the broker is ready ends the start: exit 0, no address printed, nothing left behind."""
    with foreground_process(tmp_path) as process:
        wait_until(lambda: children_of(process.pid) != [], "a first child")
        children = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert said == ""
        # A child that the signal overtook at its birth ends with its owner, by the kernel's hand: a moment later.
        wait_until(lambda: all(is_gone(child) for child in children), "the end of what it had started")


def test_killed_foreground_broker_leaves_nothing(tmp_path: Path) -> None:
    """After a SIGKILL of the broker role its JVM is gone, too, and the folder can be used at once."""
    with foreground_broker(tmp_path) as (process, address):
        children = children_of(process.pid)
        assert len(children) == 1
        process.kill()
        process.wait(30)
    wait_until(lambda: is_gone(children[0]), "end of the JVM")
    with EmbeddedKafka(tmp_path) as broker:
        assert broker.bootstrap == address
