"""`wapipe doctor`: is everything in order for sending, and what to do where it is not; lifts checks for a time."""

from __future__ import annotations

from collections import Counter

import click

from pipeline.cli.app import DURATION, load_settings, quiet, shell_user
from pipeline.cli.doctor_facts import gather
from pipeline.cli.doctor_rules import Finding, Status, diagnose
from pipeline.cli.output import Cell, json_document, line, table
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_CONFIG, EXIT_DONE, EXIT_NEGATIVE, EXIT_NO_BROKER, ConfigError
from pipeline.operations.account import account_states
from pipeline.operations.overrides import CHECKS, override, override_key
from pipeline.operations.reading import open_reader
from pipeline.operations.writing import perform

FOR_MS = 3_600_000
FOR_MS_MAX = 7 * 86_400_000
UNLIFTABLE = (
    "no override makes the API take a refused token; put a valid one where token_file (or token_env) points. If only"
    " the look at the number is refused, and messages are not, lift `limits`"
)
_SIGNS: dict[Status, str] = {"ok": "good", "warn": "wait", "fail": "bad", "skip": "dim"}


@click.command()
@click.option("--override", "lift", metavar="NUMBER", help="Let NUMBER send although --check is not met.")
@click.option("--withdraw", metavar="NUMBER", help="End an override of NUMBER.")
@click.option(
    "--check", "checks", multiple=True, type=click.Choice([*CHECKS, "token"]), help="What to lift; may be repeated."
)
@click.option("--reason", help="Why: it is logged, audited and shown.")
@click.option("--for", "for_ms", type=DURATION, default=FOR_MS, show_default="1h", help="How long; at most 7d.")
@click.option("--json", "is_json", is_flag=True, help="Rows as JSON.")
@click.pass_context
def doctor(
    ctx: click.Context, lift: str | None, withdraw: str | None, checks: tuple[str, ...], reason: str | None,
    for_ms: int, is_json: bool,
) -> int:  # fmt: skip
    """Look at everything that sending needs, and say what to do.

    Exits 65 if a check fails, 69 if Kafka does not answer, 78 if the settings are wrong.

    \b
    Example:
      wapipe doctor
      wapipe doctor --override 200000000000001 --check templates --reason "sync is down" --for 2h
    """
    try:
        settings = quiet(load_settings(ctx))
    except ConfigError as exc:
        _show([Finding("settings", "", "fail", str(exc), "wapipe config docs")], is_json)
        return EXIT_CONFIG
    if lift is not None or withdraw is not None:
        return _lift(settings, lift, withdraw, checks, reason, for_ms)
    if checks:
        raise click.UsageError("--check goes with --override NUMBER.")
    facts = gather(settings)
    count = len(settings.numbers)
    status: Status = "ok" if count else "fail"
    remedy = None if count else "add a sending number: wapipe config docs"
    rows = [Finding("settings", "", status, f"valid, {count} number{'' if count == 1 else 's'}", remedy)]
    rows += diagnose(facts)
    _show(rows, is_json)
    if isinstance(facts.broker, str):
        return EXIT_NO_BROKER
    return EXIT_NEGATIVE if any(row.status == "fail" for row in rows) else EXIT_DONE


def _show(rows: list[Finding], is_json: bool) -> None:
    if is_json:
        json_document([row._asdict() for row in rows])
        return
    table(("status", "check", "number", "found", "remedy"), map(_cells, rows))
    count = Counter(row.status for row in rows)
    line(f"{len(rows)} checks:", *((f"{count[name]} {name}", _SIGNS[name]) for name in _SIGNS if count[name]))


def _cells(row: Finding) -> tuple[Cell, ...]:
    remedy: Cell = (row.remedy, "plain") if row.remedy else ("", "dim")
    return (row.status, _SIGNS[row.status]), row.check, row.about, row.found, remedy


def _lift(
    settings: Settings, lift: str | None, withdraw: str | None, checks: tuple[str, ...], reason: str | None, for_ms: int
) -> int:
    number = lift or withdraw or ""
    if lift and withdraw:
        raise click.UsageError("--override and --withdraw are two acts: give one of them.")
    if number not in settings.numbers:
        raise click.UsageError(f"{number}: not configured; known are {', '.join(sorted(settings.numbers)) or 'none'}.")
    if lift and "token" in checks:
        raise click.UsageError(f"token: {UNLIFTABLE}.")
    if lift and (not checks or not reason):
        raise click.UsageError(f"--override needs --check ({', '.join(CHECKS)}) and --reason TEXT.")
    if not 0 < for_ms <= FOR_MS_MAX:
        raise click.UsageError("--for is more than 0 and at most 7d.")
    now_ms = unix_ms()
    with open_reader(settings) as reader:
        before = account_states(reader).get(override_key(number))
    lifted = sorted(set(checks)) if lift else []
    act = override(
        shell_user(), number, checks=lifted, reason=reason, before=before, now_ms=now_ms,
        until_ms=now_ms + for_ms if lift else now_ms,
    )  # fmt: skip
    perform(settings, act)
    if lift:
        line(number, ("lifted", "wait"), ", ".join(lifted), f"until {rfc3339(now_ms + for_ms)}")
    else:
        line(number, ("withdrawn", "good"), "all checks hold again")
    return EXIT_DONE
