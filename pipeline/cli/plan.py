"""`wapipe plan`: how much it takes, from measured costs. Reads settings for `kafka.retention_h`; talks to nobody."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import click

from pipeline.cli.app import load_settings
from pipeline.cli.output import json_document
from pipeline.cli.plan_tables import show_costs, show_outcomes, show_plan
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.sizing.costs import Costs, costs
from pipeline.sizing.demand import Demand
from pipeline.sizing.plan import Plan, plan_for, totals
from pipeline.sizing.simulation import Outcome, Simulation, scenarios

HOUR_S = 3600
RECIPIENTS = 1e6
share = click.FloatRange(0, 1)


@click.command()
@click.option("--numbers", type=click.IntRange(1, 1_000_000), help="Sending numbers.")
@click.option("--rate", "rate_per_s", type=click.FloatRange(0, 100_000, min_open=True), help="Messages/s of each.")
@click.option(
    "--messages-per-day", type=click.FloatRange(0, min_open=True), help="Of all numbers. Default: an hour at the limit."
)
@click.option("--recipients", type=click.FloatRange(0, min_open=True), help="People with consent. Default: a million.")
@click.option("--campaign", type=click.FloatRange(0, min_open=True), help="Messages at once. Default: a day's.")
@click.option("--urgent", "urgent_share", type=share, default=0.05, show_default=True, help="Part that are codes.")
@click.option("--inbound", "inbound_share", type=share, default=0.02, show_default=True, help="Replies per message.")
@click.option("--opt-outs", "opt_out_share", type=share, default=0.0005, show_default=True, help="Per message.")
@click.option("--replication", type=click.IntRange(1, 10), default=3, show_default=True, help="Copies of a partition.")
@click.option(
    "--load", type=click.FloatRange(0, 1, min_open=True), default=0.75, show_default=True,
    help="Part of its capacity that anything is planned for.",
)  # fmt: skip
@click.option(
    "--latency-ms", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True, help="Of the API."
)
@click.option("--simulate", is_flag=True, help="Let messages queue and processes fail, and say what breaks first.")
@click.option("--simulate-numbers", type=click.IntRange(1, 100), default=2, show_default=True, help="How many of them.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulation.")
@click.option("--costs", "is_costs", is_flag=True, help="Show the figures behind it, and where they come from.")
@click.option("--json", "is_json", is_flag=True, help="All of it as one JSON document.")
@click.pass_context
def plan(
    ctx: click.Context, /, *, numbers: int | None, rate_per_s: float | None, messages_per_day: float | None,
    recipients: float | None, simulate: bool, simulate_numbers: int, seed: int, is_costs: bool, is_json: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Say what a demand takes: processes, partitions, memory, disk, time.

    Exits 65 if the demand is beyond a limit at which something stops.

    \b
    Examples:
      wapipe plan --numbers 3 --rate 80 --messages-per-day 2e6 --recipients 5e5
      wapipe plan --numbers 40 --rate 1000 --recipients 2e7 --campaign 5e6
      wapipe plan --simulate                        # without --numbers and --rate: 10,000 at 1,000/s, on paper
      wapipe plan --costs                           # what it is computed from
    """
    figures = costs()
    if is_costs:
        _show_costs(figures, is_json=is_json)
        return EXIT_DONE
    try:
        if simulate and numbers is None and rate_per_s is None:
            most = paper()
            per_day, people = messages_per_day or most.messages_per_day, recipients or most.recipients
            demand = replace(most, messages_per_day=per_day, recipients=people, **options)
        elif numbers is None or rate_per_s is None:
            raise click.UsageError(f"Missing option '{'--numbers' if numbers is None else '--rate'}'.")
        else:
            per_day = messages_per_day or numbers * rate_per_s * HOUR_S
            demand = Demand(numbers, rate_per_s, per_day, recipients or RECIPIENTS, **options)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    made = plan_for(demand, figures, load_settings(ctx).kafka.retention_h)
    outcomes = _simulate(made, figures, simulate_numbers, seed) if simulate else []
    if is_json:
        json_document({**asdict(made), **totals(made), "simulated": [asdict(outcome) for outcome in outcomes]})
    else:
        show_plan(made)
        if outcomes:
            show_outcomes(outcomes)
    return EXIT_NEGATIVE if any(one.limit.stops for one in made.breaks) else EXIT_DONE


def paper() -> Demand:
    """As far as it goes on paper: what `--simulate` alone asks for."""
    return Demand(numbers=10_000, rate_per_s=1_000, messages_per_day=1e9, recipients=5e8)


def _simulate(made: Plan, figures: Costs, numbers: int, seed: int) -> list[Outcome]:
    try:
        planned = scenarios(made.demand, numbers, seed)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    return [Simulation(made.demand, made.fleet, figures, scenario).run() for scenario in planned]


def _show_costs(figures: Costs, *, is_json: bool) -> None:
    if is_json:
        json_document(figures.model_dump(mode="json"))
    else:
        show_costs(figures)
