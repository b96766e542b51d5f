"""`wapipe consent grant | revoke | erase | show`: what people allowed; and the group of the others.

Commands write `consent-updates`; only the gate merges them into `consent`, and says on `consent-events` what it did.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, get_args

import click

from pipeline.cli.app import DURATION, only, shell_user, with_settings
from pipeline.cli.consent_history import history, proof, recipient_of
from pipeline.cli.consent_import import import_
from pipeline.cli.consent_report import report
from pipeline.cli.output import Cell, SlowProgress, json_document, json_lines, line, note, table
from pipeline.clock import rfc3339, steady_s, unix_ms
from pipeline.config import CATEGORIES, Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE, EXIT_TIMED_OUT, ContractError
from pipeline.operations.consent import EVENTS, UPDATES, businesses_of, change_consent, consent_of, rules_of
from pipeline.operations.people import person_of
from pipeline.operations.reading import Reader, decoded, open_reader
from pipeline.operations.writing import perform
from pipeline.records.consent import Method

METHODS: tuple[str, ...] = get_args(Method)
ACTORS = ("user", "business", "system")
WAIT_MS = 10_000

_RESULTS: dict[str, tuple[str, str]] = {
    "applied": ("applied", "good"),
    "ignored_older": ("ignored", "wait"),
    "refused": ("refused", "bad"),
}


@click.group()
def consent() -> None:
    """Grant, revoke, erase, show, prove, watch and import consent."""


def _shared_options(command: Any) -> Any:
    """Options that grant and revoke have in common, in the order of --help."""
    options = (
        click.argument("recipient"),
        click.option("--business", metavar="NAME", help="May be left out if only one is configured."),
        click.option("--purpose", "purposes", multiple=True, metavar="NAME", help="Repeatable. Default: all."),
        click.option("--at", metavar="TIME", help="When the person said so. Default: now."),
        click.option("--text", metavar="TEXT", help="What the person saw or said."),
        click.option("--reference", metavar="TEXT", help="Your own reference, e.g. an order."),
        click.option("--update-id", metavar="ID", help="Default: a new one."),
        click.option("--wait", "wait_ms", type=DURATION, is_flag=False, flag_value=WAIT_MS, default=WAIT_MS,
                     show_default="10s", help="Wait so long for the gate's answer; 0: only write."),
        click.option("--json", "is_json", is_flag=True, help="The gate's consent-event, or the update, as JSON."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@consent.command()
@_shared_options
@click.option(
    "--category", "categories", multiple=True, required=True, type=click.Choice(CATEGORIES), help="Repeatable."
)
@click.option("--expires-in", "expires_in_ms", type=DURATION, help="The grant ends by itself after this, e.g. 365d.")
@click.option("--method", required=True, type=click.Choice(METHODS), help="How the person opted in.")
@click.option("--source", required=True, metavar="TEXT", help="Where, e.g. the page's address.")
@click.option(
    "--actor", type=click.Choice(ACTORS), default="user", show_default=True, help="Only a user's own act counts."
)
@with_settings
def grant(settings: Settings, **options: Any) -> int:
    """Write that a person opted in.

    Exits 65 if the gate refuses it, 75 if no gate answered within --wait.

    \b
    Example:
      wapipe consent grant +15550109999 --category utility --purpose order-updates \\
        --method checkbox --source https://shop.example/checkout --text "Send me order updates on WhatsApp"
    """
    return _change(settings, "grant", options)


@consent.command()
@_shared_options
@click.option(
    "--category", "categories", multiple=True, type=click.Choice((*CATEGORIES, "*")), help="Repeatable. Default: all."
)
@click.option(
    "--method", type=click.Choice(METHODS), default="other", show_default=True, help="How the person opted out."
)
@click.option("--source", default="wapipe consent revoke", show_default=True, metavar="TEXT", help="Where.")
@click.option("--actor", type=click.Choice(ACTORS), default="business", show_default=True, help="Who did it.")
@click.option("--reason", metavar="TEXT", help="Why, for the audit-event.")
@with_settings
def revoke(settings: Settings, **options: Any) -> int:
    """Write that a person opted out; holds from the moment Kafka has it.

    Exits 65 if the gate refuses it, 75 if no gate answered within --wait (the sender obeys it all the same).

    \b
    Example:
      wapipe consent revoke +15550109999 --category marketing
    """
    return _change(settings, "revoke", {**options, "expires_in_ms": None})


@consent.command()
@click.argument("recipient")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the audit-event, e.g. the number of the case.")
@click.option("--at", metavar="TIME", help="Up to when consent is forgotten. Default: now.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait",
    "wait_ms",
    type=DURATION,
    is_flag=False,
    flag_value=WAIT_MS,
    default=WAIT_MS,
    show_default="10s",
    help="Wait so long for the gate's answer; 0: only write.",
)
@click.option("--json", "is_json", is_flag=True, help="The gate's consent-event, or the update, as JSON.")
@with_settings
def erase(settings: Settings, yes: bool, **options: Any) -> int:
    """Forget a person's consent, windows and suppressions; nothing is sent without a newer opt-in.

    The gate removes them from its store and their topics, and refuses grants dated up to then. What was written to
    event topics stays until their retention (README, "Personal data"). Exits 65 if refused, 75 without an answer.

    \b
    Example:
      wapipe consent erase +15550109999 --reason "request of 2026-11-28"
    """
    person = recipient_of(options["recipient"])
    if not yes:
        click.confirm(f"Erase all consent of {person} for every business? This cannot be undone.", abort=True, err=True)
    evidence = {"method": "other", "source": "wapipe consent erase", "text": None, "reference": None}
    unused = {"business": "*", "categories": (), "purposes": (), "expires_in_ms": None, "update_id": None}
    return _change(settings, "erase", {**options, **evidence, **unused, "actor": "business"})


def _change(settings: Settings, action: str, options: Mapping[str, Any]) -> int:
    now_ms = unix_ms()
    business = options["business"]
    if business is None:
        business = "*" if action != "grant" else only("business", "--business", sorted(businesses_of(settings)))
    ends_ms = options["expires_in_ms"]
    value = {
        "update_id": options["update_id"] or f"cli-{uuid.uuid4().hex}",
        "recipient": options["recipient"],
        "business": business,
        "action": action,
        "categories": [] if action == "erase" else list(options["categories"]) or ["*"],
        "purposes": list(options["purposes"]) or ["*"],
        "at": options["at"] or rfc3339(now_ms),
        "expires_at": None if ends_ms is None else rfc3339(now_ms + ends_ms),
        "evidence": {name: options[name] for name in ("method", "source", "text", "reference", "actor")},
    }
    try:
        update, raw, act = change_consent(shell_user(), value, rules_of(settings, now_ms), reason=options.get("reason"))
    except ContractError as exc:
        for problem in exc.problems:
            note(problem, "bad")
        return EXIT_NEGATIVE
    with open_reader(settings) as reader:
        reader.partitions(UPDATES)
        # The end of the answers is taken before the update is written, so that its answer cannot be missed.
        if options["wait_ms"]:
            reader.follow_from_end(EVENTS)
        perform(settings, act)
        if not options["wait_ms"]:
            line(raw.decode() if options["is_json"] else update.update_id)
            return EXIT_DONE
        return _answer(reader, update.update_id, options["wait_ms"], is_json=options["is_json"])


def _answer(reader: Reader, update_id: str, wait_ms: int, *, is_json: bool) -> int:
    """Print what the gate did with an update."""
    for row in reader.following(steady_s() + wait_ms / 1000):
        event = decoded(row)
        if event is None or event.get("update_id") != update_id:
            continue
        result = str(event.get("result"))
        if is_json:
            json_lines([event])
        else:
            cells: list[Cell] = [update_id, _RESULTS.get(result, (result, "plain"))]
            if result != "applied":
                cells.append(str(event.get("reason") or "a newer entry stands"))
            line(*cells)
        return EXIT_NEGATIVE if result == "refused" else EXIT_DONE
    note(
        f"{update_id} is written, but no gate merged it within {wait_ms / 1000:g} s;"
        " is `wapipe gate` running? `wapipe consent show` tells when it has",
        "wait",
    )
    return EXIT_TIMED_OUT


@consent.command()
@click.argument("recipient")
@click.option("--json", "is_json", is_flag=True, help="The consent record as JSON.")
@with_settings
def show(settings: Settings, recipient: str, is_json: bool) -> int:
    """Show what holds for a person, with its evidence.

    \b
    Example:
      wapipe consent show +15550109999
    """
    person = recipient_of(recipient)
    with open_reader(settings) as reader, SlowProgress("reading consent") as progress:
        known = person_of(reader, [person], progress.update)
        found, person = consent_of(reader, known.key, progress.update), known.key
    if is_json:
        json_document(found or {"recipient": person, "entries": [], "erased_at": None, "updated_at": None})
        return EXIT_DONE
    if known.numbers:
        note(f"the same person had or has {', '.join(known.numbers)}: what they take back there ends here, too")
    entries = found.get("entries", []) if found else []
    if entries:
        columns = ("business", "category", "purpose", "status", "since", "expires", "method", "source", "update")
        table(columns, map(_entry_row, entries))
    elif found and found.get("erased_at"):
        line("erased", found["erased_at"])
    else:
        note(f"no consent is on record for {person}: nothing but answers in an open window is sent", "wait")
    return EXIT_DONE


def _entry_row(entry: Mapping[str, Any]) -> tuple[Cell, ...]:
    status = str(entry.get("status"))
    style = "good" if status == "granted" else "bad"
    names = ("at", "expires_at", "method", "source", "update_id")
    scope = tuple(str(entry.get(name)) for name in ("business", "category", "purpose"))
    return (*scope, (status, style), *("-" if entry.get(name) is None else str(entry[name]) for name in names))


consent.add_command(history)
consent.add_command(import_)
consent.add_command(proof)
consent.add_command(report)
