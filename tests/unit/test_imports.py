"""Imports point one way: cli → roles → operations → throttle, whatsapp, streams → records → config and the basics."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "pipeline"
BASICS = frozenset({"config", "errors", "clock", "secrets", "logs", "metrics", "health", "redaction", "tracing"})
ROLES = frozenset({"gate", "sender", "ingress", "console", "simulator"})
RULES = frozenset({"throttle", "whatsapp", "streams"})
FLOORS: dict[str, int] = {
    **dict.fromkeys(BASICS, 0),
    "records": 1,
    **dict.fromkeys(RULES, 2),
    "operations": 3,
    **dict.fromkeys(ROLES, 4),
    "sizing": 4,
    "cli": 5,
    "__main__": 6,
}
EMBEDDED_MAY = frozenset({"errors", "config", "clock"})
PURE = ("throttle", "whatsapp", "sizing")
IMPURE = frozenset({"asyncio", "aiohttp", "confluent_kafka", "faust", "aiokafka", "mode", "threading", "time"})
SHELLS = frozenset({"whatsapp/client.py"})
"""Modules of the pure rooms that do I/O."""

Import = tuple[str, int]


def imports_of(path: Path, package: Path = PACKAGE) -> Iterator[Import]:
    """Every module that a file imports, anywhere in it, in full, with the line."""
    here = ("pipeline", *path.relative_to(package).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            if module == "pipeline":
                yield from ((f"pipeline.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def room_of(path: Path, package: Path = PACKAGE) -> str:
    """The room a file is in: its folder, or its own name at the top."""
    first = path.relative_to(package).parts[0]
    return first.removesuffix(".py")


def wrong(path: Path, package: Path = PACKAGE) -> list[str]:
    """What a file imports that it may not, as `file:line: from → to`."""
    room = room_of(path, package)
    found = []
    for module, line in imports_of(path, package):
        parts = module.split(".")
        if parts[0] != "pipeline" or len(parts) < 2 or parts[1] == room:
            continue
        if not may_import(room, parts[1]):
            found.append(f"{path.relative_to(package)}:{line}: {room} → {parts[1]}")
    return found


def may_import(room: str, other: str) -> bool:
    """Whether a room may import another one."""
    if other == "__version__":
        return True
    if room == "embedded":
        return other in EMBEDDED_MAY
    if other == "embedded":
        return room == "cli"
    if room in BASICS and other in BASICS:
        return True
    return FLOORS[other] < FLOORS[room]


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
IDS = [path.relative_to(PACKAGE).as_posix() for path in MODULES]


def test_every_room_has_a_floor() -> None:
    """A new room gets its place in this table before anything imports it."""
    assert {room_of(path) for path in MODULES} <= {*FLOORS, "embedded"}


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_imports_point_down(path: Path) -> None:
    """A module imports only from floors below its own, never from a neighbour: no role another role."""
    assert wrong(path) == []


RULE_MODULES = [
    path for path in MODULES if room_of(path) in PURE and path.relative_to(PACKAGE).as_posix() not in SHELLS
]


@pytest.mark.parametrize("path", RULE_MODULES)
def test_rules_do_no_io(path: Path) -> None:
    """Throttle, whatsapp and sizing are rules over plain values: no loop, no socket, no Kafka, no clock."""
    found = [(module, line) for module, line in imports_of(path) if module.split(".")[0] in IMPURE]
    assert found == []


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(path) == "records"])
def test_records_know_no_kafka_client(path: Path) -> None:
    """Records are plain values: no client of Kafka or HTTP is needed to read one."""
    found = [(module, line) for module, line in imports_of(path) if module.split(".")[0] in IMPURE]
    assert found == []


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("gate/a.py", "from pipeline.sender import dispatch", ["gate/a.py:1: gate → sender"]),
        ("gate/a.py", "def f():\n    import pipeline.ingress.server", ["gate/a.py:2: gate → ingress"]),
        ("streams/a.py", "from pipeline import throttle", ["streams/a.py:1: streams → throttle"]),
        ("throttle/a.py", "from ..streams import topics", ["throttle/a.py:1: throttle → streams"]),
        ("records/a.py", "from pipeline.streams.topics import TOPICS", ["records/a.py:1: records → streams"]),
        ("config.py", "from pipeline.records.codec import Record", ["config.py:1: config → records"]),
        ("operations/a.py", "from pipeline.cli.output import note", ["operations/a.py:1: operations → cli"]),
        ("operations/a.py", "from pipeline.sender import lane", ["operations/a.py:1: operations → sender"]),
        ("sender/a.py", "from pipeline.embedded.broker import EmbeddedKafka", ["sender/a.py:1: sender → embedded"]),
        ("embedded/a.py", "from pipeline.streams.client import admin", ["embedded/a.py:1: embedded → streams"]),
        ("sender/a.py", "from . import ledger\nfrom pipeline.throttle.bucket import acquire\nimport asyncio", []),
        ("console/a.py", "from pipeline.operations.acts import Act", []),
        ("cli/a.py", "from pipeline.gate import agents\nfrom pipeline.embedded.broker import EmbeddedKafka", []),
    ],
)
def test_a_wrong_import_is_noticed(tmp_path: Path, file: str, text: str, found: list[str]) -> None:
    """Each kind of wrong import is found, in functions and in relative form, too; a right one is not."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert wrong(path, tmp_path) == found
