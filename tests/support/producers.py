"""Producers of other languages, ready to run: each is built once into the user's cache, under the hash of its sources.

`command(name)` gives the command line that reads `key TAB value` lines on stdin and takes BOOTSTRAP and TOPIC. It
raises `Missing` with a reason if the language's tools are not on PATH. Building needs a network once per change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipeline.embedded.jars import cache_dir, ensure_jars
from pipeline.embedded.locks import FileLock

SOURCES: Final = Path(__file__).parents[1] / "integration" / "producers"
BUILD_TIMEOUT_S: Final = 600.0
SHOWN_CHARS: Final = 2000


class Missing(Exception):
    """A language's tools are not on this machine; the message names them."""


def command(name: str) -> list[str]:
    """Command line of the producer of a language; built first if need be.

    Args:
        name: `java`, `go` or `node`.

    Raises:
        Missing: a program that it needs is not on PATH.
        AssertionError: it could not be built; the message has the tool's last words.
    """
    folder = built(name, SOURCES / name)
    if name == "java":
        return ["java", "-XX:TieredStopAtLevel=1", "-cp", os.pathsep.join((str(folder), ensure_jars())), "Producer"]
    return [str(folder / "producer")] if name == "go" else ["node", str(folder / "producer.js")]


def _java(sources: Path, folder: Path) -> None:
    _run([_tool("javac"), "-cp", ensure_jars(), "-d", str(folder), str(sources / "Producer.java")], sources)


def _go(sources: Path, folder: Path) -> None:
    _run([_tool("go"), "build", "-trimpath", "-mod=readonly", "-o", str(folder / "producer"), "."], sources)


def _node(sources: Path, folder: Path) -> None:
    _tool("node")
    for file in sources.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    _run([_tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


_BUILDERS: Final[dict[str, Callable[[Path, Path], None]]] = {"java": _java, "go": _go, "node": _node}
LANGUAGES: Final = tuple(_BUILDERS)


def built(name: str, sources: Path) -> Path:
    """The folder of what was built of sources in a language; made aside and renamed: a half-built one is never used.

    Raises:
        Missing: a program that it needs is not on PATH.
        AssertionError: it could not be built; the message has the tool's last words.
    """
    files = sorted(file for file in sources.iterdir() if file.is_file())
    content = b"\0".join(part for file in files for part in (file.name.encode(), file.read_bytes()))
    root = cache_dir().parent
    folder = root / f"producer-{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    lock = FileLock(root / "producers.lock")
    assert lock.acquire(BUILD_TIMEOUT_S), f"another process holds {lock.path}"
    try:
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _BUILDERS[name](sources, partial)
            partial.rename(folder)
    finally:
        lock.release()
    return folder


def _tool(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Missing(f"{program} is not on PATH")
    return path


def _run(argv: list[str], folder: Path) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run(
        argv, check=False, cwd=folder, env=environment, timeout=BUILD_TIMEOUT_S, capture_output=True, text=True
    )
    said = (done.stdout + done.stderr)[-SHOWN_CHARS:]
    assert done.returncode == 0, f"{' '.join(argv[:2])} exited with {done.returncode}:\n{said}"
