"""`wapipe send`: writes one request, and may follow it to its terminal event."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, BinaryIO

import click

from pipeline.cli import message as building
from pipeline.cli.app import DURATION, only, with_settings
from pipeline.cli.output import clock_time, json_document, json_lines, line, note
from pipeline.clock import rfc3339, steady_s, unix_ms
from pipeline.config import CATEGORIES, Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE, EXIT_TIMED_OUT, ContractError
from pipeline.operations.account import account_states, wait_sentence
from pipeline.operations.acts import Outgoing
from pipeline.operations.reading import Reader, decoded, open_reader
from pipeline.operations.timeline import Step, as_json, describe, step_of
from pipeline.operations.writing import write_one
from pipeline.records.codec import MAX_RECORD_BYTES, headers_for
from pipeline.records.request import PRIORITIES

EVENTS = "outbound-events"
ENTRANCE, URGENT_ENTRANCE = "outbound-requests", "outbound-requests-urgent"


@click.command()
@click.option("--from", "number", metavar="NUMBER", help="Sending number id; may be left out if one is configured.")
@click.option("--to", "recipient", required=True, metavar="RECIPIENT", help="Phone number, or user id like US.123.")
@click.option("--category", required=True, type=click.Choice(CATEGORIES), help="Meta's class of message.")
@click.option("--template", metavar="NAME", help="Send this template.")
@click.option("--lang", metavar="CODE", help="The template's language, e.g. en_US.")
@click.option("--param", "params", multiple=True, metavar="TEXT",
              help="Parameter of the template's body, in order; NAME=TEXT for a named one. Repeatable.")  # fmt: skip
@click.option("--text", help="Send free text (only inside the 24 h window).")
@click.option(
    "--file", "body", type=click.File("rb"), metavar="F", help="Send the message body in this JSON file; -: stdin."
)
@click.option("--purpose", metavar="NAME", help="The business's own kind of message, e.g. order-updates.")
@click.option("--priority", type=click.Choice(PRIORITIES), help="Default: by category.")
@click.option("--campaign", metavar="NAME", help="Groups messages.")
@click.option("--request-id", metavar="ID", help="Idempotency key; default: a new one.")
@click.option("--expires-in", "expires_in_ms", type=DURATION, help="Not sent later than this from now, e.g. 10m.")
@click.option("--not-before", metavar="TIME", help="Not sent earlier, e.g. 2026-11-22T10:00:00Z.")
@click.option("--metadata", "metadata", multiple=True, metavar="K=V", help="Copied to every event. Repeatable.")
@click.option("--urgent", is_flag=True, help="Use the express entrance (and priority urgent): one-time codes.")
@click.option("--wait", "is_waiting", is_flag=True, help="Follow the message to its terminal event.")
@click.option("--timeout", "timeout_ms", type=DURATION, default=30_000, show_default="30s", help="Of --wait.")
@click.option("--dry-run", is_flag=True, help="Check and print the record, write nothing.")
@click.option("--json", "is_json", is_flag=True, help="One line of JSON for the record written and for each event.")
@with_settings
def send(settings: Settings, **options: Any) -> int:
    """Write a request for one message; --wait follows it to its end.

    Prints the request id. With --wait the exit code tells the end: 0 accepted, 65 rejected, failed, expired,
    cancelled or a duplicate, 75 no end within --timeout.

    \b
    Examples:
      wapipe send --to +15550109999 --category utility --template order_shipped --lang en_US --param 4711 --wait
      wapipe send --to +15550109999 --category service --text "On its way" --priority normal
      wapipe send --to +15550109999 --category authentication --file code.json --urgent
    """
    try:
        record, raw = _record(settings, options)
    except ContractError as exc:
        for problem in exc.problems:
            note(problem, "bad")
        return EXIT_NEGATIVE
    if options["dry_run"]:
        json_document(record)
        return EXIT_DONE
    topic = URGENT_ENTRANCE if options["urgent"] else ENTRANCE
    outgoing = Outgoing(topic, record["to"], raw, headers_for(building.REQUEST_SCHEMA))
    with open_reader(settings) as reader:
        # Step 1: know that the entrance is there, and where the events end, before the request can cause one.
        reader.partitions(topic)
        if options["is_waiting"]:
            reader.follow_from_end(EVENTS)
        # Step 2: write.
        written_ms = unix_ms()
        receipt = write_one(settings, outgoing)
        if options["is_json"]:
            json_lines([{"request_id": record["request_id"], "topic": settings.topic(topic), "offset": receipt.offset}])
        else:
            line(record["request_id"])
        # Step 3: follow.
        if not options["is_waiting"]:
            return EXIT_DONE
        written = step_of("request", record, written_ms)
        end = _follow(reader, written, options["timeout_ms"], is_json=options["is_json"])
        if isinstance(end, int):
            return end
        hint = wait_sentence(settings, end, account_states(reader), unix_ms())
        note(f"no end within {options['timeout_ms'] / 1000:g} s: {hint}", "wait")
        return EXIT_TIMED_OUT


def _record(settings: Settings, options: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    now_ms = unix_ms()
    expires_in_ms, priority = options["expires_in_ms"], options["priority"]
    value = {
        "request_id": options["request_id"] or f"cli-{uuid.uuid4().hex}",
        "from": options["number"] or only("sending number", "--from", list(settings.numbers)),
        "to": options["recipient"],
        "category": options["category"],
        "purpose": options["purpose"],
        "priority": priority or ("urgent" if options["urgent"] else None),
        "campaign": options["campaign"],
        "message": _message(options["template"], options["lang"], options["params"], options["text"], options["body"]),
        "not_before": options["not_before"],
        "expires_at": None if expires_in_ms is None else rfc3339(now_ms + expires_in_ms),
        "metadata": building.metadata_of(options["metadata"]),
    }
    return building.request_record(value, settings.numbers, now_ms)


def _message(
    template: str | None, language: str | None, parameters: Sequence[str], text: str | None, body: BinaryIO | None
) -> dict[str, Any]:
    if sum(given is not None for given in (template, text, body)) != 1:
        raise click.UsageError("Give exactly one of --template, --text and --file.")
    if template is None and (language is not None or parameters):
        raise click.UsageError("--lang and --param belong to --template.")
    if template is not None:
        if language is None:
            raise click.UsageError("--template needs --lang, e.g. --lang en_US.")
        return building.template_message(template, language, parameters)
    if text is not None:
        return building.text_message(text)
    assert body is not None  # noqa: S101  exactly one is given
    return building.message_from_json(body.read(MAX_RECORD_BYTES + 1))


def _follow(reader: Reader, written: Step, timeout_ms: int, *, is_json: bool) -> int | Step:
    """Print the request's events as they come, up to the one that decides.

    Returns:
        The exit code that this one means; the last step if none came in time.
    """
    last = written
    seen: set[str] = set()
    for row in reader.following(steady_s() + timeout_ms / 1000):
        event = decoded(row)
        if event is None or (event.get("number"), event.get("request_id")) != written.request:
            continue
        step = step_of("outbound", event, row.timestamp_ms, f"{row.topic}[{row.partition}]@{row.offset}")
        if event.get("event_id") in seen:
            continue
        seen.add(str(event.get("event_id")))
        last = step
        show_step(step, is_json=is_json)
        if step.is_terminal:
            return EXIT_DONE if step.kind == "accepted" else EXIT_NEGATIVE
        if step.kind == "duplicate":
            note("this request_id was used before; its first message counts: wapipe trace shows it")
            return EXIT_NEGATIVE
    return last


def show_step(step: Step, *, is_json: bool) -> None:
    """Print one step of a timeline as a line."""
    if is_json:
        json_lines([as_json(step)])
    else:
        line((clock_time(step.at_ms), "dim"), (f"{step.kind:<11}", step.style), describe(step))
