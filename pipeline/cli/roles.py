"""`wapipe gate | sender | ingress | console`: one role in the foreground, until SIGTERM or Ctrl-C drains it.

A role's room is imported when its command runs, so that no process loads the libraries of another role.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable

import click

from pipeline.cli.app import load_settings
from pipeline.config import Settings
from pipeline.logs import configure
from pipeline.tracing import Tracing, tracing_of

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def instance_name() -> str:
    """What tells this process apart from others of its role: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


log_level = click.option(
    "--log-level", type=click.Choice(LEVELS, case_sensitive=False), default="INFO", show_default=True,
    help="Lowest level that is logged.",
)  # fmt: skip


def _run(role: str, settings: Settings, level: str) -> int:
    configure(role, instance_name(), level)
    tracing = tracing_of(role, instance_name())
    module = importlib.import_module(f"pipeline.{role}.run")
    run: Callable[[Settings, Tracing], int] = getattr(module, f"run_{role}")
    try:
        return run(settings, tracing)
    finally:
        tracing.close()


@click.command()
@log_level
@click.pass_context
def gate(ctx: click.Context, log_level: str) -> int:
    """Run the gate: judges requests by consent, window and rules.

    Scales to the number of recipient partitions. Needs the topics (`wapipe topics apply`). SIGTERM drains and exits 0.

    \b
    Examples:
      wapipe --config wapipe.toml gate
      wapipe gate --log-level debug
    """
    return _run("gate", load_settings(ctx), log_level)


@click.command()
@log_level
@click.pass_context
def sender(ctx: click.Context, log_level: str) -> int:
    """Run the sender: posts what the gate let through, within the limit.

    Scales to the number of lanes; more processes are hot spares. SIGTERM finishes what is in flight and exits 0.

    \b
    Example:
      wapipe --config wapipe.toml sender
    """
    return _run("sender", load_settings(ctx), log_level)


@click.command()
@log_level
@click.pass_context
def ingress(ctx: click.Context, log_level: str) -> int:
    """Run the ingress: takes webhooks and STOP words in.

    Answers 200 only after Kafka has everything that a webhook said. Scales freely. SIGTERM drains and exits 0.

    \b
    Example:
      wapipe --config wapipe.toml ingress
    """
    return _run("ingress", load_settings(ctx), log_level)


@click.command()
@click.option("--rebuild", is_flag=True, help="Forget the read model and read all of it from Kafka again.")
@log_level
@click.pass_context
def console(ctx: click.Context, rebuild: bool, log_level: str) -> int:
    """Run the console: a web page to look and act.

    Listens on loopback unless console.host says otherwise, and then only with a way to log in. Without one, a token is
    made at random: its file is named in the log. SIGTERM ends it with 0; a restart goes on where it was.

    \b
    Example:
      wapipe console --rebuild
    """
    settings = load_settings(ctx)
    configure("console", instance_name(), log_level)
    run: Callable[..., int] = importlib.import_module("pipeline.console.run").run_console
    return run(settings, rebuild=rebuild)
