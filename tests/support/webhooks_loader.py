"""Webhooks by the thousand: the loader in Go, built once, and what it says when it is done.

In Go because a loader in Python costs as much CPU per call as the ingress that it loads.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support.producers import built

SOURCES: Final = Path(__file__).parent / "webhooks"
WAIT_S: Final = 400.0


def start(url: str, secret: bytes, **options: float) -> subprocess.Popen[bytes]:
    """Start to post; `result` waits for the end.

    Args:
        url: Address of the ingress' path.
        options: Flags of `webhooks/main.go`.

    Raises:
        Missing: Go is not on this machine.
    """
    flags = [f"-{name}={value}" for name, value in options.items()]
    argv = [str(built("go", SOURCES) / "producer"), "-url", url, "-secret", secret.decode(), *flags]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)


def result(loader: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What became of all calls: see `webhooks/main.go`."""
    try:
        out, _ = loader.communicate(timeout=WAIT_S)
    finally:
        if loader.poll() is None:
            loader.kill()
            loader.wait()
    assert loader.returncode == 0
    said: dict[str, Any] = json.loads(out)
    return said
