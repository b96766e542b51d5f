"""Makes `tests/contract/kept/previous/` anew: `python -m tests.support.previous_make [COMMIT]`.

Runs the gate, sender and ingress of that commit on a real broker, against its own simulator, and kills gate and sender
in the midst of their work: with POSTs on their way, a number halted, another paused, a campaign paused, messages whose
time has not come. Then it writes down all that they left. Takes a minute or two; needs the whole history.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from pipeline.clock import unix_ms
from pipeline.embedded.broker import EmbeddedKafka
from tests.support.campaign import Ids, Request, people, request
from tests.support.previous import FACTS, FOLDER, INTERNAL, RECORDS, Facts, Kept
from tests.support.reading import committed
from tests.support.stage import ROOT
from tests.support.world import NUMBER, World

COMMIT: Final = "6cd11fb"
OTHER: Final = str(int(NUMBER) + 1)
PEOPLE: Final = people(14)
BUSY, HELD, LATER = PEOPLE[:8], PEOPLE[8:11], PEOPLE[11:]
CAMPAIGN: Final = "spring"
IN_FLIGHT: Final = 6
BESIDE: Final = ("consent", "outbound-events", "inbound-events")
"""Topics that others read, too, and that a sender or gate needs besides."""
NUMBERS: Final[dict[str, dict[str, Any]]] = {
    NUMBER: {"profile": "cloud", "max_in_flight": IN_FLIGHT},
    OTHER: {"profile": "cloud"},
}
PARTITIONS: Final = 2
TEMPLATES: Final = [{"name": "order_shipped", "language": "en_US", "body": ["text"], "category": "utility"}]
WAIT_S: Final = 120.0


def main() -> None:
    """Run it, and write it down."""
    commit = sys.argv[1] if len(sys.argv) > 1 else COMMIT
    with tempfile.TemporaryDirectory() as name:
        folder, tree = Path(name), Path(name, "tree")
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(tree, filter="data")
        (work := folder / "work").mkdir()
        with (
            EmbeddedKafka(folder / "kafka") as kafka,
            World(
                kafka.bootstrap, work, numbers=NUMBERS, webhooks=True, partitions=PARTITIONS, session_timeout_s=6,
                tree=tree,
            ) as world,
        ):  # fmt: skip
            requests = _left_in_the_midst(world)
            _write(world, commit, requests, tree)


def _left_in_the_midst(world: World) -> dict[str, list[Request]]:
    """Bring work in, and kill gate and sender in the midst of it; what was asked, by what is to become of it."""
    ids = Ids()
    world.api.control(settings={"templates": TEMPLATES})
    world.wapipe("templates", "sync")
    for role in ("gate", "sender"):
        world.spawn(role)
    world.ready()
    world.grant(PEOPLE)
    # Step 1: some messages that are done.
    asked = {"done": _asked(ids, 6)}
    world.produce(asked["done"])
    world.until(lambda: _ended(world, asked["done"]), "the first are accepted", WAIT_S)
    # Step 2: what holds others up: operators, the API, and answers that take their time.
    world.wapipe("campaigns", "pause", CAMPAIGN, "--reason", "wrong link")
    world.wapipe("numbers", "pause", OTHER, "--priority", "bulk", "--reason", "evening")
    world.api.control(settings={"latency_ms": 8000}, spell={"kind": "429", "for_s": 3600, "sender": OTHER})
    later = (datetime.now(UTC) + timedelta(seconds=50)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    asked |= {
        "held": _asked(ids, 3, to=HELD, campaign=CAMPAIGN),
        "later": _asked(ids, 3, to=LATER, not_before=later),
        "halted": _asked(ids, 6, OTHER),
        "paused": _asked(ids, 4, OTHER, priority="bulk"),
        "queued": [*_asked(ids, 12), *_asked(ids, 4, priority="urgent"), *_asked(ids, 8, priority="bulk")],
    }
    before = len(world.api.messages())
    for name in ("held", "later", "halted", "paused", "queued"):
        world.produce(asked[name])
    # Step 3: everything is judged, refused messages are copied, and POSTs are on their way.
    everything = {one["request_id"] for some in asked.values() for one in some}
    world.until(lambda: everything <= {event["request_id"] for event in world.events()}, "all are judged", WAIT_S)
    world.until(lambda: _taken(world)[before:] != [], "the API takes some", WAIT_S)
    world.until(lambda: any(event["reason"] == "throttled" for event in world.events()), "one is deferred", WAIT_S)
    time.sleep(1.0)  # copies of those behind it; what comes after that is as good in the midst
    world.kill("sender")
    world.kill("gate")
    # Step 4: the ingress goes on: it tells what the API took.
    world.until(lambda: set(_taken(world)) <= _told(world), "all that was taken is told", WAIT_S)
    return asked


def _asked(ids: Ids, count: int, number: str = NUMBER, to: Sequence[str] = BUSY, **fields: Any) -> list[Request]:
    return [request(next(ids), number, to[index % len(to)], **fields) for index in range(count)]


def _ended(world: World, requests: list[Request]) -> bool:
    accepted = {event["request_id"] for event in world.events() if event["type"] == "accepted"}
    return {one["request_id"] for one in requests} <= accepted


def _taken(world: World) -> list[str]:
    return [row["text"] for row in world.api.messages() if row["accepted"]]


def _told(world: World) -> set[str]:
    return {record.json()["request_id"] for record in world.read("inbound-events")}


def _write(world: World, commit: str, requests: dict[str, list[Request]], tree: Path) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    at_ms = unix_ms()
    topics = (*INTERNAL, *BESIDE)
    records = [Kept.of(record, topic) for topic in topics for record in world.read(topic)]
    offsets = {
        role: {topic: committed(world.kafka, world.group(role), world.topic(topic)) for topic in topics}
        for role in ("gate", "sender")
    }
    schemas = {
        name: orjson.loads((tree / "schemas" / f"{name}-1.json").read_bytes())
        for name in ("ready", "ledger", "account-state")
    }
    done: Any = {role: {topic: found for topic, found in of.items() if found} for role, of in offsets.items()}
    facts = Facts(commit, at_ms, requests, _taken(world), done, schemas)
    lines = [orjson.dumps(record._asdict()) for record in sorted(records, key=lambda one: one[:3])]
    (FOLDER / RECORDS).write_bytes(b"\n".join([*lines, b""]))
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    (FOLDER / FACTS).write_bytes(orjson.dumps(facts._asdict(), option=options) + b"\n")
    sys.stdout.write(f"{len(lines)} records of {commit}\n")


if __name__ == "__main__":
    main()
