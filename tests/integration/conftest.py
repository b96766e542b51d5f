"""What several files of this room start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gate_stand import Stand
from tests.support.ingress_door import Ingress, write_config


@pytest.fixture
def stand(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    """Topics for one test; its gates are ended afterwards."""
    made = Stand(kafka, topic_prefix, tmp_path)
    yield made
    made.close()
    if os.environ.get("SHOW_GATE_LOGS"):
        for log in tmp_path.glob("*.log"):
            sys.stderr.write(log.read_text())


@pytest.fixture
def ingress(kafka: str, tmp_path: Path) -> Iterator[Ingress]:
    """An ingress of its own, on topics of its own."""
    running = Ingress(write_config(tmp_path, kafka), tmp_path / "log")
    try:
        yield running
    finally:
        running.end()
