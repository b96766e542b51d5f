"""The command `wapipe`: finds the command group, turns every way to end into an exit code.

Runs on the main thread. Command modules are imported only when their command is called, so `--help` needs none of
Kafka, Faust or aiohttp. Data goes to stdout; everything else to stderr.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from pipeline import __version__
from pipeline.errors import EXIT_CRASHED, EXIT_DONE, EXIT_USAGE, PipelineError
from pipeline.redaction import hidden

EXIT_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended: 128 + SIGINT


class Entry(NamedTuple):
    """Where a command lives, and its line in `wapipe --help`.

    Attributes:
        module: Module below `pipeline.cli`; the command is its attribute of the command's name.
        section: Heading that it stands under.
        help: One line; the same as the first line of the command's own help.
    """

    module: str
    section: str
    help: str


COMMANDS: dict[str, Entry] = {
    "gate": Entry("roles", "Roles", "Run the gate: judges requests by consent, window and rules."),
    "sender": Entry("roles", "Roles", "Run the sender: posts what the gate let through, within the limit."),
    "ingress": Entry("roles", "Roles", "Run the ingress: takes webhooks and STOP words in."),
    "console": Entry("roles", "Roles", "Run the console: a web page to look and act."),
    "simulator": Entry("simulator", "Roles", "Run an API to try it all against: limits, faults, webhooks."),
    "broker": Entry("broker", "Roles", "Run a real Kafka broker on this machine."),
    "up": Entry("up", "Try it", "Run everything on this machine: broker, topics, simulator, all roles."),
    "demo": Entry("demo.command", "Try it", "Run a campaign with faults on this machine, and count everything."),
    "send": Entry("send", "Messages", "Write a request for one message; --wait follows it to its end."),
    "trace": Entry("trace", "Messages", "Show every event of a message, and what it waits for."),
    "consent": Entry("consent", "Messages", "Grant, revoke, erase, show, prove, watch and import consent."),
    "suppressions": Entry("suppressions", "Messages", "Show who gets nothing any more, and lift that."),
    "campaigns": Entry("campaigns", "Operate", "Show, pause, resume and cancel campaigns."),
    "numbers": Entry("numbers", "Operate", "Show, plot, pause and resume sending numbers."),
    "events": Entry("events", "Operate", "Show what becomes of messages, as it happens."),
    "dead-letters": Entry(
        "dead_letters", "Operate", "List, inspect, replay and discard records that could not be processed."
    ),
    "plan": Entry("plan", "Setup", "Say what a demand takes: processes, partitions, memory, disk, time."),
    "topics": Entry("topics", "Setup", "Compare the topics with what the pipeline needs, and make them."),
    "config": Entry("config", "Setup", "Check, show and document the settings."),
    "schemas": Entry("schemas", "Setup", "Export the JSON Schemas of all records, or check the exported ones."),
    "templates": Entry(
        "templates", "Setup", "Read templates from the API, list them, and look for what is wrong with them."
    ),
    "doctor": Entry("doctor", "Setup", "Look at everything that sending needs, and say what to do."),
    "webhooks": Entry("webhooks", "Setup", "Check that webhooks reach the ingress."),
}
"""Every command, in the order of `--help`."""

EPILOG = """\b
Exit codes: 0 done, 1 crashed, 64 usage, 65 a negative result (rejected, refused, drift),
69 broker not reachable, 75 timed out, 78 configuration.

\b
Completion:  eval "$(_WAPIPE_COMPLETE=bash_source wapipe)"   (or zsh_source, fish_source)"""


class Root(click.Group):
    """The group of all commands, which it imports late; the one place that knows exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature, as below
        """Names in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command; None if there is no such one."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"pipeline.cli.{entry.module}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from the table, without importing them."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                rows = [(name, entry.help) for name, entry in COMMANDS.items() if entry.section == section]
                # one column width for all sections
                formatter.write_dl([(name.ljust(max(map(len, COMMANDS))), text) for name, text in rows])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command and end the process with its exit code.

        Args:
            args: The command line; None: the process's own.
            prog_name: What usage texts call the program; None: `wapipe`.
            complete_var: Environment variable that asks for shell completion; None: `_WAPIPE_COMPLETE`.
            standalone_mode: Whether to end the process; false: return what the command returned, raise what it raised.
            windows_expand_args: As in click.
            extra: Passed to the context.
        """
        extra["windows_expand_args"] = windows_expand_args
        run = functools.partial(super().main, args, prog_name or "wapipe", complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        sys.exit(_exit_code(run))


def _exit_code(run: Callable[[], Any]) -> int:
    try:
        result = run()
    except click.Abort:
        return EXIT_INTERRUPTED
    except click.ClickException as exc:
        exc.show()
        return EXIT_USAGE
    except PipelineError as exc:
        click.echo(_error_word() + _printable(hidden(str(exc))), err=True)
        return exc.exit_code
    except BrokenPipeError:  # whoever read along has seen enough, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except Exception:  # noqa: BLE001  the last resort of the whole process: whatever it is, it is a crash
        click.echo(hidden(traceback.format_exc()), err=True)
        return EXIT_CRASHED
    return result if isinstance(result, int) else EXIT_DONE


def _error_word() -> str:
    """`error: `, red where there is a terminal; click looks for that, but not whether colours are wanted."""
    return "error: " if os.environ.get("NO_COLOR") else click.style("error: ", fg="red", bold=True)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


@click.group(
    cls=Root, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings, TOML. Default: the file that WAPIPE_CONFIG names. Any key also as WAPIPE_… variable.",
)
@click.version_option(__version__, "--version", prog_name="wapipe", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, config_file: Path | None) -> None:
    """WhatsApp messages from Kafka: with consent, within the API's limit, in order, once."""
    ctx.obj = config_file


def main() -> None:
    """Entry of the program `wapipe`; never returns."""
    cli()
