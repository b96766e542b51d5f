"""README says what the code does: its tables are the code's, its files exist, its commands are there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from pipeline.cli.main import cli
from pipeline.config import load
from tests.support.readme import README, TABLES, section

ROOT = README.parent
TEXT = README.read_text()


@pytest.mark.parametrize("name", list(TABLES))
def test_table_is_the_codes(name: str) -> None:
    """A generated table in README is what the code says now; `make readme` renews it."""
    assert section(TEXT, name) == TABLES[name]()


def test_every_file_that_is_named_exists() -> None:
    """Paths in README lead somewhere."""
    paths = set(re.findall(r"`((?:pipeline|tests|schemas)/[A-Za-z0-9_./-]*)`", TEXT))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_command_that_is_named_exists() -> None:
    """`wapipe X` and `wapipe X Y` in README are commands."""
    context = click.Context(cli)
    for first, second in re.findall(r"\bwapipe(?: --config \S+)? ([a-z][a-z-]+)(?: ([a-z]+))?", TEXT):
        command = cli.get_command(context, first)
        assert command is not None, first
        if second and isinstance(command, click.Group):
            assert command.get_command(context, second) is not None, f"{first} {second}"


def test_every_target_that_is_named_exists() -> None:
    """`make X` in README is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", TEXT)) <= targets


def test_every_room_stands_in_the_file_map() -> None:
    """A newcomer finds every folder of the package in README."""
    rooms = {
        path.name for path in Path(ROOT / "pipeline").iterdir() if path.is_dir() and (path / "__init__.py").exists()
    }
    assert {room for room in rooms if f"`pipeline/{room}/`" not in TEXT} == set()


def test_examples_of_settings_are_right(tmp_path: Path) -> None:
    """Every settings file with numbers that README shows loads as it stands."""
    examples = [text for text in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL) if "[numbers." in text]
    assert len(examples) >= 2
    file = tmp_path / "wapipe.toml"
    for example in examples:
        file.write_text(example)
        assert load(file, {}).numbers
