"""The image that the Dockerfile makes: what is in it, and that the program runs there as the chart runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.embedded.layout import HOST, choose_ports
from tests.support import image
from tests.support.broker import wait_until
from tests.support.image import Image
from tests.support.promql import ROOT

pytestmark = [pytest.mark.image, pytest.mark.skipif(bool(image.missing()), reason=image.missing())]

READY_TIMEOUT_S = 120.0
END_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image of this folder."""
    made = Image(tmp_path_factory.mktemp("image"))
    print(f"\nimage: {made.size_bytes() / 1e6:.0f} MB of program above its base")
    yield made
    made.remove()


def test_it_runs_as_nobody_in_particular(built: Image) -> None:
    """A user by number, so that Kubernetes can see that it is not root; the folder for its data is its own."""
    assert built.config["User"] == "10001:10001"
    asked = "import os; print(os.getuid(), os.getgid(), os.getgroups(), os.getcwd())"
    done = built.run_program(["python3", "-c", asked])
    assert (done.stdout, done.stderr) == ("10001 10001 [] /var/lib/wapipe\n", "")
    data = (built.root / "var/lib/wapipe").stat()
    assert (data.st_uid, data.st_gid) == (10001, 10001)


def test_the_program_answers(built: Image) -> None:
    """`wapipe --help` and `wapipe config check`, on a root file system that cannot be written."""
    done = built.run("--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: wapipe" in done.stdout
    done = built.run("config", "check")
    assert (done.returncode, done.stdout.split()[0]) == (0, "ok"), done.stderr
    written = built.run_program(["python3", "-c", "open('/opt/wapipe/x', 'w')"])
    assert re.search("Read-only file system|Permission denied", written.stderr)
    assert "Read-only file system" in built.run_program(["touch", "/etc/x", "/x"]).stderr


def test_a_role_without_a_broker_says_so(built: Image) -> None:
    """It ends with 69 and one sentence, and no trace of Python's."""
    done = built.run("gate", env={"WAPIPE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert done.returncode == 69, done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gate_becomes_ready_and_ends_when_told(built: Image, kafka: str, topic_prefix: str) -> None:
    """All that is compiled (RocksDB, librdkafka, uvloop) works in there: topics made, gate ready, SIGTERM, exit 0."""
    port = choose_ports(1)[0].client
    env = {
        "WAPIPE_KAFKA__BOOTSTRAP_SERVERS": kafka, "WAPIPE_KAFKA__TOPIC_PREFIX": topic_prefix,
        "WAPIPE_KAFKA__REPLICATION_FACTOR": "1", "WAPIPE_KAFKA__MIN_INSYNC_REPLICAS": "1",
        "WAPIPE_HTTP__PORT": str(port),
    }  # fmt: skip
    done = built.run("topics", "apply", env=env)
    assert done.returncode == 0, done.stderr
    gate = subprocess.Popen(
        built.command([*built.config["Entrypoint"], "gate"], env=env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_until(lambda: _is_ready(gate, port), "the gate to be ready", READY_TIMEOUT_S)
        gate.send_signal(signal.SIGTERM)
        said, _ = gate.communicate(timeout=END_TIMEOUT_S)
    finally:
        gate.kill()
        gate.wait()
    assert gate.returncode == 0, said.decode()[-3000:]


def _is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "the gate ended by itself"
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_nothing_can_be_built_or_installed_in_it(built: Image) -> None:
    """No compiler, no installer, no second copy of our sources: neither of the build's nor of the base's."""
    search = ("bin", "usr/bin", "usr/local/bin", "opt/wapipe/bin")
    found = {path.name for folder in search for path in (built.root / folder).iterdir()}
    assert not {name for name in found if re.fullmatch(r"(pip|gcc|g\+\+|cc|c\+\+|make|cmake|ld|wheel)[-\d.]*", name)}
    assert [name for name in image.INSTALLER if (built.root / name).exists()] == []
    for module in ("pip", "setuptools", "pkg_resources", "wheel"):
        assert "ModuleNotFoundError" in built.run_program(["/opt/wapipe/bin/python", "-c", f"import {module}"]).stderr
    assert not (built.root / "src").exists()


def test_the_program_is_whole(built: Image) -> None:
    """Every module imports, files that are no modules came along, and tracing needs nothing more installed."""
    purelib = next((built.root / "opt/wapipe/lib").glob("python3*")) / "site-packages"
    ours = {path for path in _files(ROOT / "pipeline") if "__pycache__" not in path.parts}
    assert ours - _files(purelib / "pipeline") == set()
    assert Path("embedded/pom.xml") in ours
    every = (
        "import importlib, pkgutil, pipeline\n"
        "for one in pkgutil.walk_packages(pipeline.__path__, 'pipeline.'):\n"
        "    if not one.name.endswith('__main__'): importlib.import_module(one.name)\n"
        "import opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.http.trace_exporter\n"
    )
    done = built.run_program(["/opt/wapipe/bin/python", "-c", every])
    assert (done.returncode, done.stderr) == (0, "")


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_nothing_of_the_machine_that_built_it_stays(built: Image) -> None:
    """Neither its package index nor its certificates: not in the variables, not in the history, not in a file."""
    names = {entry.split("=", 1)[0] for entry in built.config["Env"]}
    assert names <= {"PATH", "PYTHONUNBUFFERED", "WAPIPE_STORAGE__DATA_DIR", "LANG", "GPG_KEY", "PYTHON_VERSION"}
    history = " ".join(one.get("created_by", "") for one in built.history)
    assert not re.search(r"(?i)index-url|_cert|proxy", history)
    pip_conf = built.root / "etc/pip.conf"
    assert not pip_conf.exists() or pip_conf.stat().st_size == 0
    assert (built.root / "etc/ssl/certs/ca-certificates.crt").read_bytes() == _certificates_of_the_base()


def _certificates_of_the_base() -> bytes:
    name = "./etc/ssl/certs/ca-certificates.crt"
    unpack = ["tar", "-xOf", str(image.base_archive()), name]
    return subprocess.run(unpack, check=True, capture_output=True, timeout=60).stdout
