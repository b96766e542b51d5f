"""Builds the Dockerfile without a container engine, and runs what comes out: buildah in chroot isolation, as root.

The base that FROM names is played by a Debian of the same release, made once by debootstrap into the user's cache. So
the steps are proven, not the base. A process of the image runs in a mount namespace of its own, with a root file system
that is truly read-only, as the image's user, with nothing in its environment but the image's and what a test gives.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.embedded.jars import cache_dir
from pipeline.embedded.locks import FileLock
from tests.support.promql import ROOT

PROGRAMS: Final = ("buildah", "debootstrap", "unshare", "chroot")
RELEASE: Final = "bookworm"
PACKAGES: Final = "python3,python3-venv,ca-certificates"
BUILD_TIMEOUT_S: Final = 1800.0
RUN_TIMEOUT_S: Final = 120.0
CERTIFICATES: Final = Path("/etc/ssl/certs")
PIP_OPTIONS: Final = ("index-url", "extra-index-url", "trusted-host")
TAG: Final = "localhost/wapipe:test"
WRITABLE: Final = ("/tmp", "/var/lib/wapipe")
"""The folders that the chart mounts."""
INSTALLER: Final = (
    "usr/local/bin/pip", "usr/local/bin/pip3.11", "usr/local/lib/python3.11/site-packages/pip/__main__.py",
    "usr/local/lib/python3.11/site-packages/setuptools/__init__.py", "usr/local/lib/python3.11/ensurepip/__main__.py",
)  # fmt: skip
"""Where the official Python image has its installer; the stand-in gets files of these names."""


def missing() -> str:
    """Why no image can be built here; empty if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: apt-get install buildah debootstrap)"
    return "" if os.geteuid() == 0 else "needs root"


class Image:
    """The image of this folder's Dockerfile, with a storage of its own; `remove` leaves nothing of it.

    Attributes:
        config: What the image says about how to run it, in OCI's words: `Env`, `User`, `Entrypoint`, …
        history: Every instruction that made it.
        root: Its file system, unpacked.
        said: What the build printed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        storage = [f"--root={folder / 'storage'}", f"--runroot={folder / 'run'}"]
        self._buildah = ["buildah", "--storage-driver=vfs", *storage]
        try:
            self._make_base()
            self.said = self._build()
            about = json.loads(self._do("inspect", "--type=image", TAG))["OCIv1"]
            self.config: dict[str, Any] = about["config"]
            self.history: list[dict[str, Any]] = about["history"]
            self.root = Path(self._do("mount", self._do("from", "--pull-never", TAG)))
        except BaseException:
            self.remove()
            raise

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the entry point with these arguments to its end."""
        return self.run_program([*self.config["Entrypoint"], *arguments], env=env)

    def run_program(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run any program of the image to its end."""
        return subprocess.run(
            self.command(argv, env=env), check=False, env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
            timeout=RUN_TIMEOUT_S, capture_output=True, text=True,
        )  # fmt: skip

    def command(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs a program of the image: its user, its variables, a read-only root, own /tmp."""
        root = str(self.root)
        writable = [f"mount -t tmpfs -o mode=0700,uid=10001,gid=10001 tmpfs {root}{path}" for path in WRITABLE]
        script = " && ".join(
            [
                f"mount --bind {root} {root}",
                f"mount -o remount,bind,ro {root}",
                f"mount -t proc proc {root}/proc",
                f"mount --rbind /dev {root}/dev",
                *writable,
                'exec chroot --userspec="$0" --groups= "$@"',
            ]
        )
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in (env or {}).items())]
        inside = ["/usr/bin/env", "-i", f"--chdir={self.config['WorkingDir']}", *variables, *argv]
        return ["unshare", "--mount", "sh", "-c", script, self.config["User"], root, *inside]

    def size_bytes(self) -> int:
        """What the image's files take that are not the base's: all below `/opt/wapipe`."""
        return sum(path.lstat().st_size for path in (self.root / "opt/wapipe").rglob("*") if not path.is_dir())

    def remove(self) -> None:
        """Let go of everything that was built."""
        subprocess.run([*self._buildah, "rm", "--all"], check=False, capture_output=True, timeout=RUN_TIMEOUT_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make_base(self) -> None:
        [base] = re.findall(r"(?m)^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text())
        container = self._do("from", "scratch")
        self._do("add", container, str(base_archive()), "/")
        with tempfile.TemporaryDirectory() as planted:
            for name in INSTALLER:
                path = Path(planted, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            self._do("copy", container, planted, "/")
        self._do("commit", "--rm", container, f"docker.io/library/{base}")

    def _build(self) -> str:
        """Build with what this machine's pip is told, as a secret: variables given to a build would stay."""
        told = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True, timeout=60
        ).stdout
        options = {"cert": f"{CERTIFICATES}/ca-certificates.crt"}
        options |= {
            key: value for key, value in re.findall(r"(?m)^\S+?\.([a-z-]+)='(.*)'$", told) if key in PIP_OPTIONS
        }
        secret = self._folder / "pip.conf"
        secret.write_text("\n".join(["[global]", *(f"{key} = {value}" for key, value in options.items())]))
        return self._do(
            "bud", "--pull-never", "--isolation=chroot", "--network=host", f"--secret=id=pip,src={secret}",
            f"--volume={CERTIFICATES}:{CERTIFICATES}:ro", f"--tag={TAG}", str(ROOT),
        )  # fmt: skip

    def _do(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._buildah, *arguments], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=BUILD_TIMEOUT_S,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout.strip()


def base_archive() -> Path:
    """A minimal Debian with Python as a tar archive; made the first time, which takes a minute and a network."""
    root = cache_dir().parent / "image"
    archive = root / f"{RELEASE}.tar"
    lock = FileLock(root / "lock")
    assert lock.acquire(BUILD_TIMEOUT_S), f"another process holds {lock.path}"
    try:
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=root) as folder:
                _debootstrap(Path(folder, "debian"), partial := archive.with_suffix(".partial"))
            partial.rename(archive)
    finally:
        lock.release()
    return archive


def _debootstrap(folder: Path, archive: Path) -> None:
    for command in (
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(folder)],
        ["tar", "-C", str(folder), "--one-file-system", "--exclude=./var/cache/apt", "-cf", str(archive), "."],
    ):
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
