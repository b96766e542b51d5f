"""`wapipe simulator`: an API to try everything against, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.app import DURATION, duration_ms
from pipeline.cli.roles import instance_name, log_level
from pipeline.embedded.foreground import print_line
from pipeline.errors import ConfigError
from pipeline.logs import configure
from pipeline.simulator.scenario import Scenario, read_scenario
from pipeline.simulator.server import run_simulator

SPELL_PARTS_MIN, SPELL_PARTS_MAX = 3, 4
PORT = 8085


def spell_of(text: str) -> dict[str, Any]:
    """Read `KIND:IN:FOR[:RETRY_AFTER]`, e.g. `429:20s:10s:auto`, as fields of a spell.

    Raises:
        ValueError: not of that form.
    """
    parts = text.split(":")
    if not SPELL_PARTS_MIN <= len(parts) <= SPELL_PARTS_MAX:
        raise ValueError(f"{text!r}: write KIND:IN:FOR or KIND:IN:FOR:RETRY_AFTER, e.g. 429:20s:10s:auto")
    kind, begins_in, lasts, *retry_after = parts
    spell: dict[str, Any] = {
        "kind": kind, "in_s": duration_ms(begins_in) / 1000, "for_s": duration_ms(lasts) / 1000,
    }  # fmt: skip
    if retry_after:
        spell["retry_after"] = "auto" if retry_after == ["auto"] else duration_ms(retry_after[0]) / 1000
    return spell


def settings_of(options: dict[str, Any], spells: tuple[str, ...], scenario: Path | None = None) -> Scenario:
    """Settings from the options that were given; they win over those of the scenario file.

    Raises:
        UsageError: names the option and what would be right.
        ConfigError: the scenario or the table of scripts is wrong.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        if spells:
            given["spells"] = [spell_of(text) for text in spells]
    except ValueError as exc:
        raise click.UsageError(f"--spell {exc}") from exc
    try:
        return read_scenario(scenario, given)
    except ConfigError as exc:
        if scenario is None and "scripts_file" not in given:
            raise click.UsageError(str(exc)) from exc
        raise


@click.command()
@click.option("--scenario", type=click.Path(dir_okay=False, path_type=Path), help="Settings and events, a TOML file.")
@click.option("--profile", type=click.Choice(["cloud", "360dialog", "v1"]), help="The only shape. Default: all three.")
@click.option("--scripts", "scripts_file", type=click.Path(dir_okay=False, path_type=Path),
              help="What single recipients meet: a table, .csv or .toml.")  # fmt: skip
@click.option("--host", help="Address to listen on. Default: 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65_535), help="0: any free one, printed. Default: 8085.")
@click.option("--rate", "rate_per_s", type=float, help="Limit of every number, requests/s. Default: 80, v1 50.")
@click.option("--burst", type=int, help="Burst of every number, requests. Default: 80, v1 150.")
@click.option("--latency-ms", type=float, help="Wait before each answer; the median with --latency-sigma.")
@click.option("--latency-sigma", type=float, help="Spread of a log-normal latency.")
@click.option("--retry-after", metavar="SECONDS|auto", help="Retry-After of its 429 answers.")
@click.option("--pair-limit/--no-pair-limit", default=None, help="Limit messages to one recipient as Meta does.")
@click.option("--spell", "spells", multiple=True, metavar="KIND:IN:FOR[:RETRY_AFTER]",
              help="Fault after the first message; kinds: 429 503 html503 500 400 reset lost hang empty.")  # fmt: skip
@click.option("--webhook-url", help="Where status webhooks go; {number} stands for the sending number.")
@click.option("--webhook-secret-file", type=click.Path(dir_okay=False, path_type=Path), help="Signs the webhooks.")
@click.option("--webhook-duplicate-ratio", type=float, help="Share of webhooks that come twice, 0 to 1.")
@click.option("--webhook-disorder", "webhook_disorder_ms", type=DURATION, help="Webhooks come late by up to this.")
@click.option("--seed", type=int, help="Start of every random choice.")
@log_level
def simulator(spells: tuple[str, ...], scenario: Path | None, log_level: str, **options: Any) -> int:
    """Run an API to try it all against: limits, faults, webhooks.

    Answers like the Cloud API, 360dialog and the v1 client at once, keeps a ledger of every request
    (GET /_simulator/ledger, /_simulator/stats) and prints its address once it listens.

    \b
    Example, a number of 50/s with bursts to 150, and 10 s of 429 after 20 s:
      wapipe simulator --port 8085 --rate 50 --burst 150 --latency-ms 20 --spell 429:20s:10s:auto
      wapipe simulator --profile cloud --scenario storm.toml
    """
    retry_after = options["retry_after"]
    if retry_after is not None and retry_after != "auto":
        options["retry_after"] = float(retry_after) if retry_after.replace(".", "", 1).isdigit() else retry_after
    settings = settings_of(options, spells, scenario)
    if "port" not in settings.model_fields_set:
        settings = settings.model_copy(update={"port": PORT})
    configure("simulator", instance_name(), log_level)
    run_simulator(settings, lambda running: print_line(running.url), settings.events)
    return 0
