"""A settings file, and a way to run commands as a shell would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import cli

Run = Callable[..., Result]

SETTINGS = """
[kafka]
bootstrap_servers = "127.0.0.1:1"

[numbers.200000000000001]
business = "acme"
profile = "cloud"
base_url = "https://user:hidden@graph.example/v24.0"
token_file = "{token}"
"""


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    """Settings with one number whose token file is there; no broker listens at its address."""
    token = tmp_path / "token"
    token.write_text("t0ken\n")
    file = tmp_path / "wapipe.toml"
    file.write_text(SETTINGS.format(token=token))
    return file


@pytest.fixture
def run(settings_file: Path) -> Run:
    """Run `wapipe --config FILE …`; `config=None` leaves the file out, `stdin` is what it reads."""

    def call(*args: str, config: Path | None = settings_file, stdin: str | None = None) -> Result:
        before = [] if config is None else ["--config", str(config)]
        return CliRunner().invoke(cli, [*before, *args], input=stdin)

    return call
