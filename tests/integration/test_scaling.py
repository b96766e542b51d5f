"""Recipients move to more partitions while requests come, and the command is killed on the way."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from pipeline.cli.main import cli
from pipeline.config import load
from pipeline.records.layout import Layout
from pipeline.streams.layout import read_layout
from pipeline.streams.partition import partition_of
from pipeline.streams.scaling import RECIPIENT_TOPICS, TABLES
from pipeline.streams.topics import read_broker, require
from tests.support.campaign import grant, people, request
from tests.support.reading import read_all
from tests.support.stage import WAPIPE
from tests.support.traffic import Traffic
from tests.support.world import NUMBER, Draft, World

BEFORE, AFTER = 3, 6
PEOPLE = people(90)
LATE = people(30, 500)
"""They opt in while no gate runs."""
RATE_PER_S = 40.0
COMMAND_TIMEOUT_S = 240.0
REFRESH_MS = 1500
"""How soon the producer spreads over the new partitions: in the middle of it all."""


@pytest.fixture
def world(kafka: str, tmp_path: Path) -> Iterator[World]:
    """Two gates, one sender, people who opted in."""
    numbers = {NUMBER: {"profile": "v1", "rate_per_s": 500, "burst": 500}}
    simulator = ("--rate", "500", "--burst", "500", "--latency-ms", "5")
    with World(
        kafka, tmp_path, numbers=numbers, partitions=BEFORE, session_timeout_s=6, simulator=simulator
    ) as running:
        for name in ("gate-1", "gate-2"):
            running.spawn("gate", name)
        running.spawn("sender")
        running.ready()
        running.grant(PEOPLE)
        running.api.control(reset=True)
        yield running


def test_what_it_refuses_and_what_it_says(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Fewer partitions and unequal splits are refused; a dry run changes nothing; then it is done, audited, known."""
    config = tmp_path / "wapipe.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{kafka}"\ntopic_prefix = "{topic_prefix}"\nrecipient_partitions = {BEFORE}\n'
    )
    settings = load(config, {})

    def topics(*words: str) -> Result:
        return CliRunner().invoke(cli, ["--config", str(config), "topics", *words])

    def scale(count: int, *options: str) -> Result:
        return topics("scale", "--recipients", str(count), *options)

    assert topics("apply").exit_code == 0
    assert read_layout(settings) == Layout(BEFORE)
    for count, why in ((2, "cannot be taken away: there are 3, 2 are fewer"), (4, "no multiple of 3")):
        refused = scale(count)
        assert refused.exit_code == 65
        assert why in refused.stderr
    planned = orjson.loads(scale(AFTER, "--dry-run", "--json").stdout)
    assert (planned["state"], len(planned["steps"])) == ("planned", 5)
    assert "nothing was changed" in scale(AFTER, "--dry-run").stdout
    assert read_layout(settings) == Layout(BEFORE)
    assert {one.partitions for one in read_broker(settings).values()} == {1, BEFORE}

    assert orjson.loads(scale(AFTER, "--json", "--reason", "growth").stdout)["state"] == "done"
    found = read_broker(settings)
    assert {found[name].partitions for name in RECIPIENT_TOPICS} == {AFTER}
    assert topics("check").exit_code == 0
    assert orjson.loads(scale(AFTER, "--json").stdout)["state"] == "unchanged"
    audited = [record.json() for record in read_all(kafka, settings.topic("audit-events"))]
    assert [(one["action"], one["reason"], one["after"]["audit"]) for one in audited] == [
        ("scale", "growth", "begins"), ("scale", "growth", "done"),
    ]  # fmt: skip
    with capture_logs() as said:
        assert require(settings) == AFTER
    assert "set kafka.recipient_partitions = 6" in said[0]["remedy"]


def killed_at(world: World, word: str) -> list[str]:
    """Start the command and kill it when it says that word; what it said by then."""
    command = [*WAPIPE, "--config", str(world.config), "topics", "scale", "--recipients", str(AFTER)]
    said = []
    with subprocess.Popen(
        command, env={**world.environment("scale"), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        for text in run.stdout:
            said.append(text)
            if text.startswith(word):
                run.kill()
                break
    return said


def test_nothing_is_lost_when_people_move_to_more_partitions(world: World) -> None:
    """With requests coming and the command killed twice: each is sent once, in order; consents and opt-outs hold."""
    stopped = PEOPLE[:10]
    # Its producer hears of new partitions soon.
    refresh = {"topic.metadata.refresh.interval.ms": REFRESH_MS}
    with Traffic(world, PEOPLE, RATE_PER_S, "scale", **refresh) as traffic:
        world.until(lambda: len(traffic.requests) > RATE_PER_S, "requests come", COMMAND_TIMEOUT_S)
        assert any(text.startswith("pause") for text in killed_at(world, "widen"))
        killed_at(world, "move")
        # No gate runs now: what people say waits, on partitions of before and of after.
        world.write("consent-updates", (Draft(one.encode(), orjson.dumps(grant(one, f"late-{one}"))) for one in LATE))
        late = [request(f"late-{one}", NUMBER, one) for one in LATE]
        world.produce(late)
        world.wapipe("topics", "scale", "--recipients", str(AFTER))
        world.until(lambda: bool(world.events_of(f"late-{LATE[0]}")), "gates go on", COMMAND_TIMEOUT_S)
        went_on = len(traffic.requests) + int(3 * RATE_PER_S)
        world.until(lambda: len(traffic.requests) > went_on, "requests go on", COMMAND_TIMEOUT_S)
    asked = [*traffic.requests, *late]
    world.until_terminal(asked, timeout_s=COMMAND_TIMEOUT_S)
    assert world.judge(asked).problems() == []

    found = read_broker(world.settings)
    assert {found[name].partitions for name in RECIPIENT_TOPICS} == {AFTER}
    for topic in TABLES:
        newest = {(record.key, record.partition): record for record in world.read(topic)}
        there = {key: partition for (key, partition), record in newest.items() if record.value is not None}
        assert there == {key: partition_of((key or b"").decode(), AFTER) for key in there}
        assert topic != "consent" or set(there) == {one.encode() for one in (*PEOPLE, *LATE)}
    # A history is whole, though its beginning stands on a partition of before.
    assert "grant-" in world.wapipe("consent", "history", f"+{PEOPLE[0]}")
    for one in stopped:
        world.wapipe("consent", "revoke", f"+{one}")
    last = [request(f"last-{one}", NUMBER, one) for one in PEOPLE[:20]]
    world.produce(last)
    world.until_terminal(last, timeout_s=COMMAND_TIMEOUT_S)
    refused = {event["request_id"] for event in world.events() if event["reason"] == "consent_withdrawn"}
    assert refused == {f"last-{one}" for one in stopped}
