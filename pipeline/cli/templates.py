"""`wapipe templates sync | list | lint`: what Meta approved, as the pipeline knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from pipeline.cli.app import with_settings
from pipeline.cli.output import Cell, SlowProgress, clock_time, json_document, line, note, table
from pipeline.cli.template_listing import sources_of
from pipeline.cli.template_sync import Result, registry_of
from pipeline.cli.template_sync import sync as run_sync
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.whatsapp.stop_words import stops
from pipeline.whatsapp.template_lint import RULES, Finding
from pipeline.whatsapp.template_lint import lint as find
from pipeline.whatsapp.template_registry import DELETED, Known, TemplateRegistry
from pipeline.whatsapp.template_ways import WaysOut

SHOWN_MAX = 10
"""New, changed and gone templates are named up to so many; all of them with --json."""
_NEVER_SYNCED = "never synced: run `wapipe templates sync`"
_QUALITIES = {"GREEN": "good", "YELLOW": "wait", "RED": "bad"}

as_json = click.option("--json", "is_json", is_flag=True, help="As JSON.")
of_account = click.option("--account", metavar="ID", help="Only this account (WABA). Default: all of the settings.")
named = click.option("--name", metavar="TEXT", help="Only templates whose name contains this.")


@click.group()
def templates() -> None:
    """Read templates from the API, list them, and look for what is wrong with them."""


@templates.command()
@of_account
@as_json
@with_settings
def sync(settings: Settings, account: str | None, is_json: bool) -> int:
    """Read all templates of each account from the API, and write them to account-state.

    Gate and sender follow it: a template that is new, paused or deleted counts within moments. Run it after each change
    and now and then (every hour, say); webhooks tell the rest in between. Exits 65 if an API refuses, 75 if it asks to
    wait; the other accounts are synced all the same.

    \b
    Example:
      wapipe templates sync --account 300000000000001
    """
    sources = sources_of(settings, account)
    if account is None:
        for number, own in settings.numbers.items():
            if not own.account:
                note(f"numbers.{number}.account is not set: its templates are not known", "wait")
    with SlowProgress("reading templates", "templates") as progress:
        results = run_sync(settings, sources, progress.update)
    if is_json:
        json_document([asdict(result) for result in results])
    else:
        _show_results(results)
    return max(result.exit_code for result in results)


def _show_results(results: Sequence[Result]) -> None:
    columns = ("account", "through", "templates", "new", "changed", "gone", "pages", "result")
    table(columns, (_result_row(result) for result in results))
    for result in results:
        for word in ("new", "changed", "gone"):
            names = getattr(result, word)
            if names:
                more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
                line(f"{word} in {result.account}:", f"{', '.join(names[:SHOWN_MAX])}{more}")
        if result.unreadable:
            note(f"{result.account}: {result.unreadable} entries of the list cannot be read, and are left out", "wait")


def _result_row(result: Result) -> tuple[Cell, ...]:
    if result.error is not None:
        return result.account, result.number, "-", "-", "-", "-", "-", (result.error, "bad")
    counts = (str(len(names)) for names in (result.new, result.changed, result.gone))
    done = (f"synced in {result.took_ms} ms", "good")
    return result.account, result.number, str(result.templates), *counts, str(result.pages), done


@templates.command(name="list")
@of_account
@named
@click.option("--status", metavar="STATUS", help="Only these, e.g. PAUSED; `unsendable`: all that may not be sent.")
@click.option("--category", type=click.Choice(["marketing", "utility", "authentication"]), help="Only these.")
@click.option("--lang", metavar="CODE", help="Only this language, e.g. en_US.")
@as_json
@with_settings
def list_(settings: Settings, is_json: bool, **only: str | None) -> int:
    """List templates as gate and sender know them: what the last sync saw, and what webhooks told since.

    \b
    Example:
      wapipe templates list --name order
    """
    registry, now_ms = registry_of(settings), unix_ms()
    found = [known for known in _sorted(registry) if _is_wanted(known, only, now_ms)]
    if is_json:
        json_document([_as_json(known, now_ms) for known in found])
        return EXIT_DONE
    if found:
        table(
            ("account", "name", "language", "category", "status", "quality", "last change"),
            (_row(known, now_ms) for known in found),
        )
    else:
        line(("no templates", "wait"), "that fit" if len(registry) else "are known")
    for account in _unsynced(settings, registry, only["account"]):
        note(f"account {account} was {_NEVER_SYNCED}", "wait")
    return EXIT_DONE


def _is_wanted(known: Known, only: dict[str, str | None], now_ms: int) -> bool:
    status, language = only["status"], only["lang"]
    if status == "unsendable":
        fits_status = not known.is_sendable(now_ms)
    else:
        fits_status = known.status == status.upper() if status is not None else known.status != DELETED
    return (
        fits_status
        and only["account"] in (None, known.key.account)
        and (only["name"] or "") in known.key.name
        and only["category"] in (None, known.category_at(now_ms))
        and (language is None or language.replace("-", "_") == known.key.language)
    )


def _row(known: Known, now_ms: int) -> tuple[Cell, ...]:
    status = known.status or "-"
    if known.status == "PAUSED" and known.until_ms is not None:
        status = f"PAUSED until {clock_time(known.until_ms)[:16]}"
    category = known.category_at(now_ms) or "-"
    if known.next_ms is not None and known.next_ms > now_ms:
        category += f" ({(known.next_category or '').lower()} from {clock_time(known.next_ms)[:10]})"
    quality = known.quality or "-"
    return (
        known.key.account, known.key.name, known.key.language, category,
        (status, "good" if known.is_sendable(now_ms) else "bad"), (quality, _QUALITIES.get(quality, "plain")),
        clock_time(known.changed_ms)[:19] if known.changed_ms else "-",
    )  # fmt: skip


def _as_json(known: Known, now_ms: int) -> dict[str, Any]:
    return {
        **known.key._asdict(),
        "status": known.status,
        "sendable": known.is_sendable(now_ms),
        "reason": known.reason,
        "until": _time(known.until_ms),
        "category": known.category_at(now_ms),
        "next_category": known.next_category,
        "next_category_at": _time(known.next_ms),
        "quality": known.quality,
        "parameter_format": known.parameter_format,
        "components": known.components,
        "changed_at": _time(known.changed_ms or None),
    }


@templates.command()
@of_account
@named
@click.option("--rule", "rules", multiple=True, type=click.Choice(RULES), help="Only this rule. Repeatable.")
@as_json
@with_settings
def lint(settings: Settings, account: str | None, name: str | None, rules: tuple[str, ...], is_json: bool) -> int:
    """Look for what is wrong or risky in templates: no way out in marketing, words of another category, variables.

    Looks at what the last sync saw. Exits 65 with findings, each with what to do.

    \b
    Example:
      wapipe templates lint --json
    """
    registry = registry_of(settings)
    policy = settings.policy
    ways = WaysOut(stops(policy.keyword_languages, policy.stop_keywords), policy.opt_out_payloads.keys())
    found = [
        finding
        for finding in find((known for known in registry if account in (None, known.key.account)), ways, unix_ms())
        if (name or "") in finding.template and (not rules or finding.rule in rules)
    ]
    unsynced = _unsynced(settings, registry, account)
    if is_json:
        json_document([finding._asdict() for finding in found])
    elif found:
        table(("template", "rule", "where", "what", "what to do"), (_finding_row(finding) for finding in found))
    elif not unsynced:
        line(("in order", "good"), f"{len(registry)} templates looked at")
    for one in unsynced:
        note(f"account {one} was {_NEVER_SYNCED}", "wait")
    return EXIT_NEGATIVE if found or unsynced else EXIT_DONE


def _finding_row(finding: Finding) -> tuple[Cell, ...]:
    style = "bad" if finding.rule in ("no_way_out", "reply_not_mapped", "not_approved") else "wait"
    return finding.template, (finding.rule, style), finding.where, finding.what, (finding.remedy, "dim")


def _sorted(registry: TemplateRegistry) -> list[Known]:
    return sorted(registry, key=lambda known: known.key)


def _unsynced(settings: Settings, registry: TemplateRegistry, only: str | None) -> list[str]:
    accounts = {own.account for own in settings.numbers.values() if own.account}
    return sorted(one for one in accounts if only in (None, one) and not registry.is_synced(one))


def _time(unix_ms_value: int | None) -> str | None:
    return rfc3339(unix_ms_value) if unix_ms_value is not None else None
