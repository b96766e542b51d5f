"""The lock files: everything pinned with hashes, from no address, and complete."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
# The image holds what tracing needs, too: it costs a tenth of it, and operators only have to name a collector.
TRACING = PROJECT["project"]["optional-dependencies"]["otel"]
MAIN = [Requirement(text) for text in [*PROJECT["project"]["dependencies"], *TRACING]]
DEV = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
LOCKS = {"requirements.lock": MAIN, "requirements-dev.lock": [*MAIN, *DEV]}
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[a-z0-9,_-]+\])?==(?P<version>[^\s;]+)(\s*;\s*(?P<marker>.+))?$")
HASH = re.compile(r"^--hash=sha256:[0-9a-f]{64}$")


class Pin(NamedTuple):
    """One pinned package."""

    name: str
    version: str
    hashes: list[str]


def read_lock(text: str) -> list[Pin]:
    """Take a lock file apart.

    Raises:
        ValueError: a line is neither a pin, a hash nor a comment.
    """
    pins = []
    joined = re.sub(r"\\\n", " ", text)
    for line in joined.splitlines():
        bare = line.split(" #")[0].strip()
        if not bare or bare.startswith("#"):
            continue
        head, *hashes = re.split(r"\s+(?=--hash)", bare)
        found = PIN.match(head.strip())
        if found is None or not all(HASH.match(item) for item in hashes):
            raise ValueError(f"neither a pin nor a hash: {bare[:100]}")
        pins.append(Pin(canonicalize_name(found["name"]), found["version"], hashes))
    return pins


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_hashes(name: str) -> None:
    """Each line pins one version, with at least one SHA-256 of a file of it."""
    pins = read_lock((REPOSITORY / name).read_text())
    assert len(pins) > len(LOCKS[name])
    assert [pin.name for pin in pins if not pin.hashes] == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_holds_no_address(name: str) -> None:
    """No index, no link, no path: where packages come from is the installer's business."""
    text = (REPOSITORY / name).read_text()
    assert (
        re.findall(r"\S*(?:://|--index-url|--extra-index-url|--find-links|--trusted-host| @ |^-[a-z])\S*", text) == []
    )


@pytest.mark.parametrize("name", LOCKS)
def test_every_dependency_is_pinned_as_asked(name: str) -> None:
    """Each dependency of pyproject.toml is pinned to a version that it allows."""
    pins: dict[str, list[str]] = {}
    for pin in read_lock((REPOSITORY / name).read_text()):
        pins.setdefault(pin.name, []).append(pin.version)
    for wanted in LOCKS[name]:
        versions = pins.get(canonicalize_name(wanted.name), [])
        assert versions, f"{wanted.name} is not in {name}"
        assert all(wanted.specifier.contains(version) for version in versions), (wanted, versions)


def test_both_locks_agree() -> None:
    """What runs in production is what was tested: the development lock pins the same versions."""
    main = {(pin.name, pin.version) for pin in read_lock((REPOSITORY / "requirements.lock").read_text())}
    dev = {(pin.name, pin.version) for pin in read_lock((REPOSITORY / "requirements-dev.lock").read_text())}
    assert main - dev == set()


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://pypi.example/simple",
        "-i https://pypi.example/simple",
        "aiohttp @ https://files.example/aiohttp.whl",
        "aiohttp>=3",
        "aiohttp==3.14.5 --hash=md5:0123",
        "./wheels/aiohttp.whl",
    ],
)
def test_a_foreign_line_is_noticed(line: str) -> None:
    """An index, an address, a range or a weak hash does not pass."""
    with pytest.raises(ValueError, match="neither a pin nor a hash"):
        read_lock(line)
