"""`wapipe consent history | proof`: how a person's consent came to be, and what one message rested on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from pipeline.cli.app import DURATION, with_settings
from pipeline.cli.consent_proof import Proof, proof_of
from pipeline.cli.output import Cell, SlowProgress, clean, json_document, line, note, table
from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.operations.consent import EVENTS, consent_events_of
from pipeline.operations.people import person_of
from pipeline.operations.reading import Advance, Reader, decoded, open_reader
from pipeline.records.request import normal_recipient

OUTBOUND = "outbound-events"
ENTRANCES = ("outbound-requests-urgent", "outbound-requests")
STYLES = {"applied": "good", "ignored_older": "wait", "refused": "bad"}


def recipient_of(recipient: str) -> str:
    """The recipient in normal form.

    Raises:
        UsageError: it is none.
    """
    try:
        return normal_recipient(recipient)
    except ValueError as exc:
        raise click.UsageError(f"RECIPIENT {exc}") from exc


@click.command()
@click.argument("recipient")
@click.option("--json", "is_json", is_flag=True, help="The consent-events as JSON.")
@with_settings
def history(settings: Settings, recipient: str, is_json: bool) -> int:
    """Show every grant, revoke and erase of a person, and what became of it. Exits 65 if there is none.

    \b
    Example:
      wapipe consent history +15550109999
    """
    asked = recipient_of(recipient)
    with open_reader(settings) as reader, SlowProgress("reading consent-events") as progress:
        person = person_of(reader, [asked], progress.update).key
        events = consent_events_of(reader, [person], progress.update)
    if is_json:
        json_document({"recipient": person, "events": events})
    elif events:
        _table(events)
    if not events:
        note(f"{EVENTS} tells nothing of {person}: no update came, or its retention has passed", "wait")
        return EXIT_NEGATIVE
    return EXIT_DONE


@click.command()
@click.argument("request_id")
@click.option("--from", "number", metavar="NUMBER", help="The sending number, if several used this request id.")
@click.option("--since", "since_ms", type=DURATION, help="How far to look back for the message; unset: everything.")
@click.option("--json", "is_json", is_flag=True, help="Everything that was found, as JSON.")
@with_settings
def proof(settings: Settings, request_id: str, number: str | None, since_ms: int | None, is_json: bool) -> int:
    """Show what a message rested on: request, decision, the consent with its evidence, and every later change.

    Says what is missing, e.g. because a topic's retention has passed. Exits 65 if nothing is known of the message.
    --since bounds the scan for request and decision only: the consent may be years older than its message.

    \b
    Example:
      wapipe consent proof order-4711-shipped --since 7d
    """
    begin_ms = max(0, unix_ms() - since_ms) if since_ms is not None else None

    def is_it(value: Mapping[str, Any], key: str) -> bool:
        return value.get("request_id") == request_id and (number is None or value.get(key) == number)

    with open_reader(settings) as reader, SlowProgress("reading events") as progress:
        decisions = _found(reader, OUTBOUND, lambda value: is_it(value, "number"), progress.update, begin_ms)
        requests = [
            value
            for topic in ENTRANCES
            for value in _found(reader, topic, lambda value: is_it(value, "from"), progress.update, begin_ms)
        ]
        numbers = {v.get("number") for v in decisions} | {v.get("from") for v in requests}
        if len(numbers) > 1:
            raise click.UsageError(f"several numbers used this id: {', '.join(map(str, numbers))}; choose with --from")
        asked = _person(decisions, requests)
        person = person_of(reader, [asked], progress.update) if asked is not None else None
        # What was said under another id before it was known whose it is stands under that id.
        ids = person.ids - set(person.numbers) | {person.key} if person is not None else ()
        events = consent_events_of(reader, ids, progress.update) if ids else []
    found = proof_of(requests, decisions, events)
    if is_json:
        json_document(found._asdict())
    elif decisions or requests:
        _print(found)
    if not decisions and not requests:
        why = "no such request, or its retention has passed" if begin_ms is None else "look further back with --since"
        note(f"nothing is known of {request_id}: {why}", "wait")
        return EXIT_NEGATIVE
    return EXIT_DONE


def _found(reader: Reader, topic: str, is_wanted: Any, advance: Advance, since_ms: int | None) -> list[dict[str, Any]]:
    values = (decoded(row) for row in reader.to_end(topic, since_ms=since_ms, advance=advance))
    return [value for value in values if value is not None and is_wanted(value)]


def _person(decisions: list[dict[str, Any]], requests: list[dict[str, Any]]) -> str | None:
    for value in (*(d.get("recipient") for d in decisions), *(r.get("to") for r in requests)):
        try:
            return normal_recipient(value)
        except ValueError:
            continue
    return None


def _table(events: list[dict[str, Any]]) -> None:
    columns = (
        "recorded", "said at", "action", "business", "categories", "purposes", "result", "method", "source", "text",
        "reference", "update",
    )  # fmt: skip
    table(columns, map(_row, events))


def _row(event: Mapping[str, Any]) -> tuple[Cell, ...]:
    evidence = event.get("evidence") or {}
    result = str(event.get("result"))
    told = f"{result}: {event['reason']}" if event.get("reason") else result
    lists = (",".join(map(str, event.get(name) or ())) or "-" for name in ("categories", "purposes"))
    return (
        *(clean(event.get(name)) for name in ("recorded_at", "at", "action", "business")),
        *lists,
        (told, STYLES.get(result, "plain")),
        *(clean(evidence.get(name)) for name in ("method", "source", "text", "reference")),
        clean(event.get("update_id")),
    )  # fmt: skip


def _print(found: Proof) -> None:
    if found.request is not None:
        told = (f"{name}={found.request.get(name)}" for name in ("request_id", "from", "to", "category", "purpose"))
        line(("request", "dim"), *told)
    table(
        ("time", "stage", "event", "reason", "consent update"),
        (
            (*(clean(event.get(name)) for name in ("at", "stage", "type", "reason")),
             clean((event.get("consent") or {}).get("update_id")))
            for event in found.decisions
        ),
    )  # fmt: skip
    if found.rested_on is not None:
        line(("rested on", "dim"))
        _table([found.rested_on])
    if found.later:
        line(("later changes", "dim"))
        _table(found.later)
    for sentence in found.missing:
        note(sentence, "wait")
