"""The class archive: made once, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.embedded.archive import archive_path, ensure_archive
from pipeline.errors import BrokerUnreachable


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_archive_is_made_once(tmp_path: Path) -> None:
    """The first caller trains, the next one finds the archive."""
    trained: list[Path] = []

    def train(path: Path) -> None:
        trained.append(path)
        path.write_bytes(b"classes")

    archive = tmp_path / "a.jsa"
    assert ensure_archive(archive, train)
    assert ensure_archive(archive, train)
    assert len(trained) == 1
    assert archive.read_bytes() == b"classes"


@pytest.mark.parametrize("error", [BrokerUnreachable("exited"), OSError("disk full"), None])
def test_failed_training_is_not_repeated(tmp_path: Path, error: Exception | None) -> None:
    """Training that fails, or leaves no file, costs time once; the broker then starts without an archive."""
    trained: list[Path] = []

    def train(path: Path) -> None:
        trained.append(path)
        if error is not None:
            raise error

    archive = tmp_path / "a.jsa"
    assert not ensure_archive(archive, train)
    assert not ensure_archive(archive, train)
    assert len(trained) == 1


def test_another_java_or_class_path_has_another_archive(tmp_path: Path) -> None:
    """An archive is looked up by what the JVM will check: the installation and the class path."""
    old, new = tmp_path / "java17", tmp_path / "java21"
    old.write_text("x")
    new.write_text("xx")
    paths = {archive_path(old, "a.jar"), archive_path(new, "a.jar"), archive_path(old, "b.jar")}
    assert len(paths) == 3
    assert archive_path(old, "a.jar") in paths
