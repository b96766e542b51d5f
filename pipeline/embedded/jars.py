"""Gets Kafka's jars: by Maven, once, into the user's cache folder.

Enters: `pom.xml` of this package. Leaves: a Java class path. Blocks on Maven (about 30 s with a network) the first
time and on nothing after that. Two processes may ask at once: one of them fetches, the other one waits.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
from pathlib import Path

from pipeline.embedded.locks import FileLock
from pipeline.errors import ConfigError

KAFKA_VERSION = "4.3.1"
POM = Path(__file__).with_name("pom.xml")
MAVEN_TIMEOUT_S = 900.0
MAVEN_OUTPUT_LINES = 15  # of Maven's last words in the error
# Longer than Maven may take: who waits for another process's download gets its result.
CACHE_LOCK_TIMEOUT_S = MAVEN_TIMEOUT_S + 60.0
WAY_OUT = (
    "install Java 17 or newer and Maven (Debian: apt install default-jre-headless maven), "
    "or set kafka.bootstrap_servers to a Kafka that runs already"
)

_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Folder of this Kafka version in the user's cache: `$XDG_CACHE_HOME` or `~/.cache`, then `wapipe/kafka-…`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification asks to ignore a relative path.
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "wapipe" / f"kafka-{KAFKA_VERSION}"


def cache_lock() -> FileLock:
    """The lock under which anything in `cache_dir` is made."""
    return FileLock(cache_dir() / "lock")


def find_program(name: str) -> str:
    """Path of a program that the embedded broker needs.

    Raises:
        ConfigError: It is not on PATH; the message names both ways out.
    """
    path = shutil.which(name)
    if path is None:
        raise ConfigError(f"the embedded broker needs {name}, which is not on PATH: {WAY_OUT}")
    return path


def ensure_jars() -> str:
    """Make sure that Kafka's jars are there, and name them.

    Returns:
        The Java class path: every jar by its full path, in a fixed order.

    Raises:
        ConfigError: Java or Maven is missing, or Maven failed; the message names both ways out.
    """
    find_program("java")
    # Named after the pom, so that a release with other jars never runs on those of an older one.
    folder = cache_dir() / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    if not folder.is_dir():
        _fetch_once(folder)
    return os.pathsep.join(str(jar) for jar in sorted(folder.glob("*.jar")))


def _fetch_once(folder: Path) -> None:
    maven = find_program("mvn")
    lock = cache_lock()
    if not lock.acquire(CACHE_LOCK_TIMEOUT_S):
        raise ConfigError(f"another process holds {lock.path}: end it, or remove that file")
    try:
        if not folder.is_dir():
            _fetch(maven, folder)
    finally:
        lock.release()


def _fetch(maven: str, folder: Path) -> None:
    """Let Maven fill a folder aside; the last step is a rename, so that a half-done one is never used."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _log.info("kafka_jars_fetching", extra={"kafka_version": KAFKA_VERSION, "folder": str(folder)})
    command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
    options = [f"-DoutputDirectory={partial}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            [*command, *options],
            check=False,
            timeout=MAVEN_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"Maven did not get Kafka's jars in {MAVEN_TIMEOUT_S:.0f} s: {WAY_OUT}") from error
    if done.returncode != 0 or not any(partial.glob("*.jar")):
        said = "\n".join(done.stdout.decode(errors="replace").strip().splitlines()[-MAVEN_OUTPUT_LINES:])
        raise ConfigError(f"Maven could not get Kafka's jars (exit {done.returncode}): {WAY_OUT}\n{said}")
    partial.rename(folder)
