"""The data folder's plan, the ports and the server properties."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.embedded.layout import (
    PORTS,
    BrokerPorts,
    ClusterPlan,
    choose_ports,
    load_plan,
    new_cluster_id,
    plan_from_json,
    plan_to_json,
    render_properties,
    server_properties,
)
from pipeline.errors import ConfigError

PLAN = ClusterPlan("MkU3OEVBNTcwNTJENDM2Qg", (BrokerPorts(1, 2), BrokerPorts(3, 4), BrokerPorts(5, 6)))


def test_bootstrap_names_every_broker() -> None:
    """A client learns of all brokers, so that it finds the cluster while one is down."""
    assert PLAN.bootstrap == "127.0.0.1:1,127.0.0.1:3,127.0.0.1:5"


def test_plan_survives_its_file() -> None:
    """What is written to `broker.json` is read back as the same plan."""
    assert plan_from_json(plan_to_json(PLAN)) == PLAN


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cluster_id": "x", "brokers": [{"client": 1}]}', "null"])
def test_damaged_plan_is_a_value_error(text: str) -> None:
    """Anything but a plan is refused with ValueError."""
    with pytest.raises(ValueError, match=r"not a broker plan|Expecting value"):
        plan_from_json(text)


def test_new_folder_has_no_plan(tmp_path: Path) -> None:
    """A missing file means a new folder, not an error."""
    assert load_plan(tmp_path / "broker.json", 1) is None


def test_folder_of_other_size_is_refused(tmp_path: Path) -> None:
    """A folder made for three brokers cannot be opened with one."""
    (tmp_path / "broker.json").write_text(plan_to_json(PLAN))
    with pytest.raises(ConfigError, match=r"made for 3 broker.*another data folder"):
        load_plan(tmp_path / "broker.json", 1)


def test_damaged_folder_names_the_file(tmp_path: Path) -> None:
    """A damaged `broker.json` is named, with what to do about it."""
    (tmp_path / "broker.json").write_text("{")
    with pytest.raises(ConfigError, match=r"broker\.json cannot be read .*remove this one"):
        load_plan(tmp_path / "broker.json", 1)


def test_ports_are_different_free_and_below_the_ephemeral_range() -> None:
    """Each broker gets two ports of its own, none of them taken, none that an outgoing connection could take."""
    asked: list[int] = []

    def is_free(port: int) -> bool:
        asked.append(port)
        return len(asked) % 2 == 0

    chosen = choose_ports(3, is_free, random.Random(1))
    ports = [port for pair in chosen for port in (pair.client, pair.controller)]
    assert len(set(ports)) == 6
    assert set(ports) == set(asked[1::2])
    assert all(port in PORTS and port < 32_768 for port in ports)


def test_no_free_port_ends_after_a_bounded_search() -> None:
    """When nothing is free the search ends and says where it looked."""
    with pytest.raises(ConfigError, match="no 2 free ports from 20000 to 29999"):
        choose_ports(1, lambda _port: False)


def test_cluster_id_is_no_option() -> None:
    """A cluster id has Kafka's 22 characters and never begins with a dash."""
    ids = {new_cluster_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(len(cluster_id) == 22 and cluster_id[0] != "-" for cluster_id in ids)


def test_one_broker_replicates_nothing() -> None:
    """On a laptop every topic, the internal ones included, is content with one replica."""
    one = ClusterPlan("x", (BrokerPorts(1, 2),))
    properties = server_properties(one, 0, Path("/data"), {})
    factors = {key: value for key, value in properties.items() if "replication.factor" in key or "isr" in key}
    assert set(factors.values()) == {"1"}
    assert properties["auto.create.topics.enable"] == "false"


def test_three_brokers_need_two_in_sync() -> None:
    """Three brokers keep three replicas, and a write needs two of them; all share one controller quorum."""
    of_all = [server_properties(PLAN, i, Path("/data"), {}) for i in range(3)]
    assert {p["offsets.topic.replication.factor"] for p in of_all} == {"3"}
    assert {p["min.insync.replicas"] for p in of_all} == {"2"}
    assert {p["controller.quorum.voters"] for p in of_all} == {"1@127.0.0.1:2,2@127.0.0.1:4,3@127.0.0.1:6"}
    assert [p["node.id"] for p in of_all] == ["1", "2", "3"]


def test_every_listener_is_on_loopback() -> None:
    """Nothing of the embedded broker can be reached from another machine."""
    listeners = server_properties(PLAN, 0, Path("/data"), {})["listeners"].split(",")
    assert [listener.partition("://")[2].partition(":")[0] for listener in listeners] == ["127.0.0.1"] * 2


def test_callers_property_wins() -> None:
    """A property that the caller gives replaces ours."""
    given = {"offsets.topic.num.partitions": "2"}
    assert server_properties(PLAN, 0, Path("/data"), given)["offsets.topic.num.partitions"] == "2"


def test_properties_file_escapes_what_java_would_read_otherwise() -> None:
    """Backslashes, other alphabets and characters beyond 16 bits reach Java unchanged."""
    assert render_properties({"log.dirs": "/a\\b/é/😀"}) == "log.dirs=/a\\\\b/\\u00e9/\\ud83d\\ude00\n"
