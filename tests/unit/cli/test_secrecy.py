"""Commands with secrets of every kind in their settings: none of them shows one, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

MARK = "zebra"
FILES = ("token", "password", "sasl", "app-1", "app-2", "verify", "path")
SETTINGS = """
[kafka]
bootstrap_servers = "127.0.0.1:1"
startup_timeout_s = 0.5
security_protocol = "SASL_PLAINTEXT"
sasl_mechanism = "SCRAM-SHA-256"
sasl_username = "wapipe"
sasl_password_file = "{folder}/sasl"

[numbers.200000000000001]
business = "acme"
profile = "cloud"
base_url = "https://user:zebra-in-an-address@graph.example/v24.0"
token_file = "{folder}/token"
partitions = [0]

[numbers.200000000000002]
business = "acme"
profile = "v1"
base_url = "https://waba.example"
login_user = "sender"
login_password_file = "{folder}/password"
partitions = [1]

[ingress]
verify_token_file = "{folder}/verify"
app_secret_files = ["{folder}/app-1", "{folder}/app-2"]
path_token_file = "{folder}/path"
"""


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Settings whose every secret holds the mark; no broker is where they say."""
    for name in FILES:
        (tmp_path / name).write_text(f"{MARK}-is-the-{name}\n")
    file = tmp_path / "marked.toml"
    file.write_text(SETTINGS.format(folder=tmp_path))
    return file


@pytest.mark.parametrize(("command", "code"), [("config show", 0), ("config check", 0), ("topics check", 69)])
def test_no_command_shows_a_secret(
    run: Run, marked: Path, capfd: pytest.CaptureFixture[str], command: str, code: int
) -> None:
    """Whether a command ends well or finds no broker, nothing that it or a library writes holds a secret."""
    result = run(*command.split(), config=marked)
    written = capfd.readouterr()
    assert result.exit_code == code, result.output
    assert MARK not in result.output + result.stderr + written.out + written.err


@pytest.mark.parametrize("content", ["zebra-one\nzebra-two", "zebra" * 5000])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_holds_no_secret_is_not_quoted(run: Run, marked: Path, name: str, content: str) -> None:
    """A secret of two lines, or a whole document, is refused by the name of its setting alone."""
    (marked.parent / name).write_text(content)
    result = run("config", "check", config=marked)
    assert result.exit_code == 78
    assert MARK not in result.output + result.stderr
