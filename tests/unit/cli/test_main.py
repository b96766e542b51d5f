"""Every way a command can end has its exit code, and `--help` is cheap and complete."""

from __future__ import annotations

import logging
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from pipeline import __version__
from pipeline.cli.main import COMMANDS, cli
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable, ConfigError, InvariantBroken, PipelineError, TopicsWrong
from pipeline.redaction import HIDDEN, remember
from pipeline.tracing import Tracing
from tests.unit.cli.conftest import Run


@pytest.fixture(autouse=True)
def _same_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A gate whose `run_gate` the test replaces."""
    module = ModuleType("pipeline.gate.run")
    monkeypatch.setitem(sys.modules, "pipeline.gate.run", module)
    return module


def _raising(error: BaseException) -> object:
    def run_gate(_settings: Settings, _tracing: Tracing) -> int:
        raise error

    return run_gate


@pytest.mark.parametrize("code", [0, 1])
def test_role_exit_code_is_what_the_role_returned(run: Run, role: ModuleType, code: int) -> None:
    """A role's return value is the exit code of its command, and the role gets the settings of the file."""
    seen: list[str] = []

    def run_gate(settings: Settings, _tracing: Tracing) -> int:
        seen.extend(settings.numbers)
        return code

    role.run_gate = run_gate  # type: ignore[attr-defined]
    assert run("gate").exit_code == code
    assert seen == ["200000000000001"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("kafka.x: wrong"), 78),
        (BrokerUnreachable("no answer"), 69),
        (TopicsWrong("a topic is missing"), 78),
        (InvariantBroken("impossible"), 1),
        (PipelineError("something"), 1),
    ],
)
def test_error_of_ours_ends_with_its_code_and_its_message_alone(
    run: Run, role: ModuleType, error: PipelineError, code: int
) -> None:
    """An error of the tree prints its message on stderr, without a traceback, and gives its exit code."""
    role.run_gate = _raising(error)  # type: ignore[attr-defined]
    result = run("gate")
    assert result.exit_code == code
    assert result.stderr == f"error: {error}\n"
    assert result.stdout == ""


@pytest.mark.parametrize(("no_color", "is_red"), [("", True), ("1", False)])
def test_no_color_is_obeyed_by_errors_too(
    role: ModuleType, settings_file: Path, monkeypatch: pytest.MonkeyPatch, no_color: str, is_red: bool
) -> None:
    """On a terminal the word is red, unless colours are not wanted."""
    role.run_gate = _raising(ConfigError("wrong"))  # type: ignore[attr-defined]
    monkeypatch.setenv("NO_COLOR", no_color)
    result = CliRunner().invoke(cli, ["--config", str(settings_file), "gate"], color=True)
    assert ("\x1b[31m" in result.stderr) is is_red
    assert "error: " in result.stderr


def test_unexpected_error_is_a_crash_with_a_traceback(run: Run, role: ModuleType) -> None:
    """What nobody foresaw exits 1 and shows where it happened."""
    role.run_gate = _raising(ZeroDivisionError("oops"))  # type: ignore[attr-defined]
    result = run("gate")
    assert result.exit_code == 1
    assert "ZeroDivisionError: oops" in result.stderr
    assert "run_gate" in result.stderr


@pytest.mark.parametrize("kind", [ZeroDivisionError, ConfigError])
def test_no_error_shows_a_secret_that_was_read(run: Run, role: ModuleType, kind: type[Exception]) -> None:
    """Whatever an error or a traceback quotes, a secret of this process is hidden in it."""
    role.run_gate = _raising(kind(f"no {remember('zebra-in-an-error')}"))  # type: ignore[attr-defined]
    result = run("gate")
    assert "zebra" not in result.stderr
    assert f"no {HIDDEN}" in result.stderr


def test_interrupt_is_quiet(run: Run, role: ModuleType) -> None:
    """Ctrl-C exits 130 and says nothing."""
    role.run_gate = _raising(KeyboardInterrupt())  # type: ignore[attr-defined]
    result = run("gate")
    assert result.exit_code == 130
    assert result.output.strip() == ""


def test_error_message_cannot_drive_the_terminal(run: Run, role: ModuleType) -> None:
    """Control characters in an error's text do not reach the terminal."""
    role.run_gate = _raising(ConfigError("bad \x1b[2J value"))  # type: ignore[attr-defined]
    assert "\x1b" not in run("gate").stderr


@pytest.mark.parametrize(
    "args",
    [
        ["nosuch"],
        ["--nosuch"],
        ["topics", "nosuch"],
        ["topics", "plan", "--nosuch"],
        ["send"],
        ["trace"],
        ["trace", "id", "--to", "15550109999"],
        ["trace", "--to", "abc"],
        ["trace", "id", "--since", "soon"],
        ["consent", "show", "abc"],
        ["consent", "grant", "15550109999"],
        ["simulator", "--spell", "429"],
    ],
)
def test_wrong_usage_exits_64(run: Run, args: list[str]) -> None:
    """A wrong command line exits 64, says so on stderr, and prints no data."""
    result = run(*args)
    assert result.exit_code == 64
    assert "Error:" in result.stderr
    assert result.stdout == ""


def test_wrong_settings_exit_78_by_name(run: Run, settings_file: Path) -> None:
    """A command that needs settings names the wrong key."""
    settings_file.write_text(settings_file.read_text() + "\n[sender]\nmax_attempt = 3\n")
    result = run("topics", "plan")
    assert result.exit_code == 78
    assert "sender.max_attempt" in result.stderr


def test_version_names_program_and_version(run: Run) -> None:
    """`--version` prints `wapipe` and the package's version."""
    result = run("--version", config=None)
    assert result.exit_code == 0
    assert result.stdout == f"wapipe {__version__}\n"


def test_help_lists_every_command(run: Run) -> None:
    """`--help` names every command with its line."""
    result = run("--help", config=None)
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    for name, entry in COMMANDS.items():
        assert f"{name} {entry.help}" in words


@pytest.mark.parametrize("name", list(COMMANDS))
def test_command_exists_and_says_the_same_as_the_list(name: str) -> None:
    """Each command of the list can be imported, and its own help begins with the list's line."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").splitlines()[0] == COMMANDS[name].help


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from _commands(below, f"{path} {name}")


def test_every_option_of_every_command_is_documented() -> None:
    """No option is without a sentence of help, no command without a description."""
    for path, command in _commands(cli, "wapipe"):
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.opts}"


def test_help_imports_neither_kafka_nor_faust() -> None:
    """`wapipe --help` loads none of the heavy libraries, so it is fast."""
    code = (
        "import sys\n"
        "from pipeline.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "heavy = {'faust', 'confluent_kafka', 'aiohttp', 'pydantic', 'rich'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def leaves(
    group: click.Group, context: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, with what is typed for it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, click.Context(command, parent=context), (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS_WITH_HELP = dict(leaves(cli, click.Context(cli)))


@pytest.mark.parametrize("name", COMMANDS_WITH_HELP)
def test_every_command_s_help_has_examples_that_parse(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What --help shows can be typed as it stands: the command, its options, and their values are right."""
    monkeypatch.chdir(tmp_path)
    text = COMMANDS_WITH_HELP[name].help or ""
    _, _, section = re.sub(r"\\\n", " ", text).partition("Example")
    examples = [line.strip() for line in section.splitlines() if line.strip().startswith("wapipe ")]
    assert examples, text
    for example in examples:
        args = shlex.split(example.split(" | ")[0], comments=True)[1:]
        for file in (arg for arg in args if Path(arg).suffix in (".csv", ".json", ".toml")):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("")
        context = cli.make_context("wapipe", args)
        command: click.Command = cli
        while isinstance(command, click.Group):
            _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None, example
            command, context = found, found.make_context(found.name, rest, parent=context)
        context.close()
