"""Kafka's jars by Maven; Maven and Java are small scripts here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.embedded.jars import cache_dir, ensure_jars
from pipeline.errors import ConfigError

GOOD_MAVEN = """#!/bin/sh
echo run >> "{log}"
for a in "$@"; do case "$a" in -DoutputDirectory=*) d="${{a#*=}}";; esac; done
touch "$d/b.jar" "$d/a.jar"
"""
FAILING_MAVEN = """#!/bin/sh
for i in $(seq 100); do echo "line $i"; done
echo "[ERROR] no network"
exit 1
"""
CUT_OFF_MAVEN = """#!/bin/sh
for a in "$@"; do case "$a" in -DoutputDirectory=*) d="${a#*=}";; esac; done
touch "$d/half.jar"
exit 1
"""

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """An empty cache and a PATH on which only installed scripts come before the shell's own tools."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in ("sh", "touch", "seq"):
        (programs / tool).symlink_to(Path("/bin") / tool if (Path("/bin") / tool).exists() else f"/usr/bin/{tool}")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def add(name: str, script: str) -> None:
        path = programs / name
        path.write_text(script)
        path.chmod(0o755)

    return add


def test_missing_java_names_both_ways_out(install: Install) -> None:
    """Without Java the error says what to install, and that a running Kafka will do."""
    install("mvn", GOOD_MAVEN)
    with pytest.raises(ConfigError, match=r"needs java, .*install Java 17.*kafka\.bootstrap_servers"):
        ensure_jars()


def test_missing_maven_names_both_ways_out(install: Install) -> None:
    """Without Maven the error says what to install, and that a running Kafka will do."""
    install("java", "#!/bin/sh\n")
    with pytest.raises(ConfigError, match=r"needs mvn, .*Maven.*kafka\.bootstrap_servers"):
        ensure_jars()


def test_jars_are_fetched_once(install: Install, tmp_path: Path) -> None:
    """The second call finds what the first one fetched, in the same order, and needs no Maven."""
    install("java", "#!/bin/sh\n")
    install("mvn", GOOD_MAVEN.format(log=tmp_path / "runs"))
    first = ensure_jars()
    (tmp_path / "bin" / "mvn").unlink()
    assert ensure_jars() == first
    names = [Path(jar).name for jar in first.split(os.pathsep)]
    assert names == ["a.jar", "b.jar"]
    assert all(Path(jar).is_relative_to(cache_dir()) for jar in first.split(os.pathsep))


def test_two_at_once_fetch_once(install: Install, tmp_path: Path) -> None:
    """Of several that ask at one time one fetches, and all get its jars."""
    install("java", "#!/bin/sh\n")
    install("mvn", GOOD_MAVEN.format(log=tmp_path / "runs"))
    found: list[str] = []
    askers = [threading.Thread(target=lambda: found.append(ensure_jars())) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert (tmp_path / "runs").read_text() == "run\n"


def test_maven_failure_shows_its_last_lines(install: Install) -> None:
    """When Maven fails the error has the end of its output and both ways out, and not all of the output."""
    install("java", "#!/bin/sh\n")
    install("mvn", FAILING_MAVEN)
    with pytest.raises(ConfigError, match=r"(?s)kafka\.bootstrap_servers.*no network") as caught:
        ensure_jars()
    assert "line 100\n" in str(caught.value)
    assert "line 50\n" not in str(caught.value)


def test_half_done_folder_is_never_used(install: Install, tmp_path: Path) -> None:
    """After a download that broke off, the next call starts anew and takes nothing of it over."""
    install("java", "#!/bin/sh\n")
    install("mvn", CUT_OFF_MAVEN)
    with pytest.raises(ConfigError):
        ensure_jars()
    install("mvn", GOOD_MAVEN.format(log=tmp_path / "runs"))
    assert [Path(jar).name for jar in ensure_jars().split(os.pathsep)] == ["a.jar", "b.jar"]


def test_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative XDG_CACHE_HOME counts as none, as its specification asks."""
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "wapipe" / "kafka-4.3.1"
