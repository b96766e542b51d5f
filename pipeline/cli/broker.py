"""`wapipe broker`: a real Kafka on this machine, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.app import load_settings
from pipeline.cli.output import note
from pipeline.cli.roles import instance_name, log_level
from pipeline.embedded.foreground import print_line, run_broker_forever
from pipeline.embedded.layout import BROKER_COUNTS
from pipeline.logs import configure


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it keeps its data and ports. Default: `kafka` below storage.data_dir.",
)
@click.option(
    "--brokers",
    type=click.Choice([str(count) for count in BROKER_COUNTS]),
    default="1",
    show_default=True,
    help="Three make a cluster.",
)
@log_level
@click.pass_context
def broker(ctx: click.Context, data_dir: Path | None, brokers: str, log_level: str) -> int:
    """Run a real Kafka broker on this machine.

    Needs Java and, the first time, Maven. Prints its address once clients are served; the same folder gives the same
    address again. SIGTERM or Ctrl-C ends it.

    \b
    Example:
      wapipe broker --data-dir /tmp/kafka
    """
    configure("broker", instance_name(), log_level)
    folder = data_dir or load_settings(ctx).storage.data_dir / "kafka"

    def announce(bootstrap: str) -> None:
        print_line(bootstrap)
        note(f"use it:  export WAPIPE_KAFKA__BOOTSTRAP_SERVERS={bootstrap}")

    run_broker_forever(folder, int(brokers), announce=announce)
    return 0
