"""`wapipe up`: everything on this machine, as child processes, until Ctrl-C."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from pipeline.cli import local_plan as plan
from pipeline.cli.app import load_settings
from pipeline.cli.local import Local, Shape
from pipeline.cli.output import line, note
from pipeline.cli.stopping import Stopped, stop_signals
from pipeline.config import ENV_CONFIG
from pipeline.errors import EXIT_DONE

POLL_S = 0.5

process_count = click.IntRange(1, plan.ROLE_COUNT_MAX)


def named_config_file(ctx: click.Context) -> Path | None:
    """The settings file that `--config` or WAPIPE_CONFIG names."""
    given: Path | None = ctx.obj
    from_environment = os.environ.get(ENV_CONFIG)
    return given or (Path(from_environment) if from_environment else None)


@click.command()
@click.option("--gates", type=process_count, default=1, show_default=True, help="Gate processes.")
@click.option("--senders", type=process_count, default=1, show_default=True, help="Sender processes.")
@click.pass_context
def up(ctx: click.Context, gates: int, senders: int) -> int:
    """Run everything on this machine: broker, topics, simulator, all roles.

    No broker is started if kafka.bootstrap_servers is set, and no simulator if the numbers talk to a real API; without
    any number, two at the simulator are made up. Processes that exit are started again. Writes the settings that they
    run with to `up/wapipe.toml` below storage.data_dir. Ctrl-C drains and ends everything.

    \b
    Examples:
      wapipe up
      wapipe --config .wapipe/up/wapipe.toml numbers list --watch    # in a second terminal
    """
    base = load_settings(ctx)
    has_broker = plan.is_broker_configured(named_config_file(ctx), os.environ)
    shape = Shape({"gate": gates, "sender": senders, "ingress": 1, "console": 1})
    with stop_signals() as signals:
        try:
            with Local(base, base.storage.data_dir / "up", has_broker, shape, _say, signals) as local:
                _show_ready(local)
                while True:  # until a signal raises, or the broker exits
                    local.poll()
                    time.sleep(POLL_S)
        except Stopped:
            note("ended")
    return EXIT_DONE


def _say(text: str) -> None:
    line(text)


def _show_ready(local: Local) -> None:
    line(("everything is up; Ctrl-C ends it", "good"))
    line(f"use it:  export WAPIPE_CONFIG={plan.shown(local.settings_file)}")
    line(f"all well?  wapipe doctor; logs are in {plan.shown(local.folder / 'logs')}")
