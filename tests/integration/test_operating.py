"""An operator at a running pipeline, by commands on a real Kafka: dead letters, live events, numbers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import cli
from pipeline.streams.partition import partition_of
from tests.support.campaign import Ids, people, request
from tests.support.stage import ROOT, WAPIPE
from tests.support.world import NUMBER, Draft, World

ADA, BOB = people(2)
PARTITIONS = 3
ENDS_S = 30.0


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gate and a sender; messages without an answer are given up soon, as nothing tells of them."""
    folder = tmp_path_factory.mktemp("operating")
    settings = '[sender]\nunknown_wait_s = 0.5\non_unknown = { utility = "dead-letter" }'
    with World(kafka, folder, settings=settings, partitions=PARTITIONS) as made:
        made.spawn("gate")
        made.spawn("sender")
        made.ready()
        made.grant([ADA, BOB])
        yield made


def ends(world: World, request_id: str, count: int) -> list[str]:
    """The terminal events of a request, once there are so many."""

    def found() -> list[str]:
        events = {event["event_id"]: event for event in world.events_of(request_id) if event["terminal"]}
        return [event["type"] for event in events.values()]

    world.until(lambda: len(found()) >= count, f"{request_id} ends {count} times", ENDS_S)
    return found()


def wapipe(world: World, *args: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, ["--config", str(world.config), *args])


def dead_letters(world: World, *args: str, exit_code: int = 0) -> str:
    """The stdout of `wapipe dead-letters …`, which ends with this code."""
    result = wapipe(world, "dead-letters", *args)
    assert result.exit_code == exit_code, result.output
    return result.stdout


def letters(world: World, *filters: str) -> list[dict[str, Any]]:
    """What `dead-letters list` says."""
    return list(json.loads(dead_letters(world, "list", "--json", *filters)))


def test_a_dead_letter_is_looked_at_and_replayed_once(world: World) -> None:
    """Listed, inspected, tried dry, sent again with its own bytes to its end; a second replay is refused."""
    value = orjson.dumps(request("lost-way", NUMBER, ADA))
    away = (partition_of(ADA, PARTITIONS) + 1) % PARTITIONS
    headers = [("wapipe-rerouted", b"1"), ("schema", b"request/1")]
    world.write("outbound-requests", [Draft(ADA.encode(), value, headers)], partition=away)
    world.until(lambda: world.count("dead-letter") == 1, "the gate gives it up", ENDS_S)
    [letter] = letters(world)
    assert (letter["code"], letter["stage"], letter["request_id"]) == ("misrouted", "gate", "lost-way")
    assert (letter["topic"], letter["partition"], letter["handled"]) == ("outbound-requests", away, None)
    assert dead_letters(world, "show", letter["id"], "--raw").encode() == value
    assert ADA in dead_letters(world, "show", letter["id"])

    before = world.count("outbound-requests")
    dry = json.loads(dead_letters(world, "replay", "--code", "misrouted", "--json"))
    assert (dry["done"], [one["to"] for one in dry["letters"]]) == (False, ["outbound-requests"])
    assert world.count("outbound-requests") == before, "a dry run writes nothing"

    dead_letters(world, "replay", letter["id"], "--yes", "--reason", "partitioner is mended")
    assert ends(world, "lost-way", 1) == ["accepted"]
    again = [record for record in world.read("outbound-requests") if "wapipe-replay-of" in record.headers]
    assert {record.value for record in again} == {value}
    place = f"dead-letter[{letter['id'].split(':')[0]}]@{letter['id'].split(':')[1]}".encode()
    assert {record.headers["wapipe-replay-of"] for record in again} == {place}
    [audit] = [record.json() for record in world.read("audit-events")]
    assert (audit["action"], audit["target"], audit["reason"]) == (
        "replay", f"dead-letter:{letter['id']}", "partitioner is mended",
    )  # fmt: skip

    assert letters(world) == []
    assert letters(world, "--all")[0]["handled"]["action"] == "replay"
    written = world.count("outbound-requests")
    told = dead_letters(world, "replay", letter["id"], "--yes", "--reason", "once more", exit_code=65)
    assert "replayed 20" in told
    assert world.count("outbound-requests") == written


def test_what_may_have_been_sent_goes_again_only_at_one_s_own_risk(world: World) -> None:
    """Without --may-duplicate it stays; with it it is posted again, and its new end is told beside the old one."""
    world.api.control(settings={"scripts": [{"recipient": BOB, "outcomes": ["lost", "accept"]}]})
    asked = request("lost-answer", NUMBER, BOB)
    world.produce([asked])
    assert ends(world, "lost-answer", 1) == ["failed"]
    [letter] = letters(world, "--code", "outcome_unknown", "--number", NUMBER)
    told = dead_letters(world, "replay", letter["id"], "--yes", "--reason", "x", exit_code=65)
    assert "--may-duplicate" in told
    dead_letters(world, "replay", letter["id"], "--may-duplicate", "--yes", "--reason", "they asked for it")
    assert ends(world, "lost-answer", 2) == ["failed", "accepted"]
    traced = json.loads(wapipe(world, "trace", "lost-answer", "--json").stdout)
    steps = {step["what"]: step for step in traced["steps"]}
    assert steps["dead-letter"]["event"]["letter"] == letter["id"]
    assert steps["replay"]["event"]["reason"] == "they asked for it"
    order = [step["what"] for step in traced["steps"] if step["what"] != "queued"]
    assert order.index("dead-letter") < order.index("replay") < order.index("accepted")
    assert traced["waits_for"] == []
    assert "they asked for it" in wapipe(world, "trace", "--to", BOB).stdout
    posts = [row for row in world.api.messages() if row["to"] == BOB]
    assert len(posts) == 2


def test_a_discarded_letter_is_not_listed_any_more(world: World) -> None:
    """Rubbish is shown in hexadecimal, put away with a reason, and refused to a replay by mistake."""
    world.write("outbound-requests", [Draft(ADA.encode(), b"\x00\xffrubbish")])
    world.until(lambda: bool(letters(world, "--code", "not_utf8")), "the gate gives it up", ENDS_S)
    [letter] = letters(world, "--code", "not_utf8")
    assert "00 ff 72" in dead_letters(world, "show", letter["id"])
    dead_letters(world, "discard", "--code", "not_utf8", "--yes", "--reason", "a test")
    assert letters(world, "--code", "not_utf8") == []
    assert "discarded" in dead_letters(world, "replay", letter["id"], "--yes", "--reason", "x", exit_code=65)


def test_events_are_shown_and_followed(world: World) -> None:
    """A tail shows what fits, goes on with what comes next, and leaves nothing out in between."""
    world.produce([request("first", NUMBER, ADA, campaign="spring")])
    assert ends(world, "first", 1) == ["accepted"]
    told = wapipe(world, "events", "tail", "--campaign", "spring")
    assert [line.split()[2] for line in told.stdout.splitlines()] == ["queued", "accepted"]
    assert ADA not in told.stdout

    follow = ("events", "tail", "--follow", "--since", "10m", "--type", "accepted", "--campaign", "spring", "--json")
    lines: list[dict[str, Any]] = []
    with subprocess.Popen(
        [*WAPIPE, "--config", str(world.config), *follow, "--for", "60s"], stdout=subprocess.PIPE, cwd=ROOT
    ) as tail:
        assert tail.stdout is not None
        lines.append(json.loads(tail.stdout.readline()))
        world.produce([request("second", NUMBER, ADA, campaign="spring")])
        lines.append(json.loads(tail.stdout.readline()))
        tail.terminate()
    assert [line["event"]["request_id"] for line in lines] == ["first", "second"]


def test_numbers_are_watched_and_drawn(world: World, tmp_path: Path) -> None:
    """Rate, limit and backlog come again and again; the picture is made of what the ledger tells."""
    ids = Ids("watched")
    world.produce([request(next(ids), NUMBER, ADA) for _ in range(20)])
    assert ends(world, "watched-0000020", 1) == ["accepted"]
    told = wapipe(world, "numbers", "list", "--watch", "--every", "200ms", "--for", "1s", "--json")
    looks = [json.loads(line) for line in told.stdout.splitlines()]
    assert looks, told.output
    assert {number["number"] for look in looks for number in look} == {NUMBER}
    assert looks[0][0]["limit_per_s"] == 50
    plain = wapipe(world, "numbers", "list", "--watch", "--every", "200ms", "--for", "300ms").stdout
    assert "DRAINS IN" in plain

    picture = tmp_path / "rate.svg"
    drawn = wapipe(world, "numbers", "plot", NUMBER, "--last", "10m", "--out", str(picture))
    assert drawn.exit_code == 0, drawn.output
    posts = [row for row in world.api.messages() if row["sender"] in (NUMBER, f"token-{NUMBER}")]
    assert f"{len(posts)} requests" in drawn.stdout
    assert "never above the limit" in drawn.stdout
    assert picture.read_text().startswith("<?xml")
