"""`wapipe trace`: every event of a message, or of a person, in time order, and what is still waited for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import click

from pipeline.cli.account import account_states, wait_sentence
from pipeline.cli.app import DURATION, with_settings
from pipeline.cli.output import Cell, SlowProgress, clock_time, json_document, line, note, table
from pipeline.cli.people import person_of
from pipeline.cli.reading import Reader, Row, decoded, open_reader
from pipeline.cli.timeline import Origin, Step, as_json, describe, in_order, step_of, unfinished
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.records.canonical import canonical, is_name
from pipeline.records.request import normal_recipient
from pipeline.streams.partition import partition_of

DAY_MS = 86_400_000
MAX_STEPS = 100_000
MAX_WAITING_SHOWN = 20
ENTRANCES = ("outbound-requests-urgent", "outbound-requests")

Wanted = Callable[[Mapping[str, Any]], bool]


@click.command()
@click.argument("request_id", required=False)
@click.option("--to", "recipient", metavar="RECIPIENT", help="All messages to and from this person instead.")
@click.option("--from", "number", metavar="NUMBER", help="Only messages of this sending number.")
@click.option("--since", "since_ms", type=DURATION, default=DAY_MS, show_default="1d", help="How far to look back.")
@click.option("--json", "is_json", is_flag=True, help="Steps, with the whole records, as JSON.")
@with_settings
def trace(
    settings: Settings, request_id: str | None, recipient: str | None, number: str | None, since_ms: int, is_json: bool
) -> int:
    """Show every event of a message, and what it waits for.

    Exits 65 if nothing is found. Times are UTC; those of webhooks are when they came in.

    \b
    Examples:
      wapipe trace order-4711-shipped
      wapipe trace --to +15550109999 --since 1h
    """
    if (request_id is None) == (recipient is None):
        raise click.UsageError("Give either a REQUEST_ID or --to RECIPIENT.")
    now_ms = unix_ms()
    with open_reader(settings) as reader, SlowProgress("reading events") as progress:
        search = _Search(reader, max(0, now_ms - since_ms), number, progress)
        found = search.by_request(request_id) if request_id is not None else search.by_recipient(_person(recipient))
        steps = in_order(found)
        open_steps = unfinished(steps)
        states = account_states(reader) if open_steps else {}
    waiting = [wait_sentence(settings, last, states, now_ms) for last in open_steps[:MAX_WAITING_SHOWN]]
    if is_json:
        json_document({"steps": [as_json(step) for step in steps], "waits_for": waiting})
    elif steps:
        _show(steps, waiting, has_person=recipient is not None)
    if not steps:
        note(f"nothing since {rfc3339(now_ms - since_ms)}; look further back with --since 30d", "wait")
        return EXIT_NEGATIVE
    return EXIT_DONE


def _person(recipient: str | None) -> str:
    try:
        return normal_recipient(recipient)
    except ValueError as exc:
        raise click.UsageError(f"--to {exc}") from exc


def _show(steps: list[Step], waiting: list[str], *, has_person: bool) -> None:
    columns = ("time (UTC)", "what", "number") + (("request id",) if has_person else ()) + ("detail",)
    rows: list[tuple[Cell, ...]] = []
    for step in steps:
        number, request_id = step.request
        named: tuple[Cell, ...] = (request_id or "-",) if has_person else ()
        rows.append(((clock_time(step.at_ms), "dim"), (step.kind, step.style), number or "-", *named, describe(step)))
    table(columns, rows)
    for sentence in waiting:
        line(("waits:", "wait"), sentence)


class _Search:
    """Bounded reads of the event topics, one after the other."""

    def __init__(self, reader: Reader, since_ms: int, number: str | None, progress: SlowProgress) -> None:
        self._reader = reader
        self._since_ms = since_ms
        self._number = number
        self._progress = progress

    def by_request(self, request_id: str) -> list[Step]:
        """Steps of one request id (of several numbers, if several used it)."""

        def is_it(event: Mapping[str, Any]) -> bool:
            return event.get("request_id") == request_id

        steps = list(self._read("outbound-events", "outbound", is_it, None, _needle(request_id)))
        if not steps:
            for topic in ENTRANCES:
                steps += self._read(topic, "request", is_it, None, _needle(request_id))
        if not steps:
            return []
        # Webhooks name the person by WhatsApp's id, which may differ from the number that was written to. On v1 they
        # carry no request id: the message id joins them.
        named = {name for step in steps for name in _names(step.event)}
        # Of a user id the webhooks may have come under the number; to a number they come under the number.
        people = self._known_as(named) if any(map(is_name, named)) else named | set(map(canonical, named))
        message_ids = {step.event.get("message_id") for step in steps} - {None}

        def belongs(event: Mapping[str, Any]) -> bool:
            return is_it(event) or event.get("message_id") in message_ids

        steps += self._read("inbound-events", "inbound", belongs, people)
        if any(step.origin == "inbound" and step.kind == "failed" for step in steps):
            # What WhatsApp gave up names its request only where the API echoes callback data.
            steps += self._read("outbound-events", "outbound", belongs, people)
        return steps

    def by_recipient(self, recipient: str) -> list[Step]:
        """Steps of all messages to and from one person."""
        steps: list[Step] = []
        people = self._known_as({recipient})
        for topic in ENTRANCES:
            steps += self._read(topic, "request", lambda event: _is_to(event, people), people)
        outbound = list(
            self._read("outbound-events", "outbound", lambda event: event.get("recipient") in people, people)
        )
        names = {*people, *(step.event.get("wa_id") for step in outbound)} - {None}
        inbound = self._read("inbound-events", "inbound", lambda event: event.get("recipient") in names, names)
        return steps + outbound + list(inbound)

    def _known_as(self, names: set[str]) -> set[str]:
        """Every id that a person is known by, and each name as it was given."""
        return names | person_of(self._reader, names, self._progress.update).ids

    def _partitions(self, topic: str, people: Collection[Any]) -> set[int] | None:
        count = self._reader.partitions(topic)
        return {partition_of(str(person), count) for person in people} or None

    def _read(
        self, topic: str, origin: Origin, is_wanted: Wanted, people: Collection[Any] | None, needle: bytes = b""
    ) -> Iterator[Step]:
        partitions = self._partitions(topic, people) if people is not None else None
        rows = self._reader.to_end(topic, partitions=partitions, since_ms=self._since_ms, advance=self._progress.update)
        count = 0
        for row in rows:
            if needle not in (row.value or b""):
                continue
            event = decoded(row)
            if event is None or not is_wanted(event) or not self._is_number(origin, event):
                continue
            count += 1
            if count > MAX_STEPS:
                raise click.UsageError(f"more than {MAX_STEPS} events: give a shorter --since")
            yield _step(row, origin, event)

    def _is_number(self, origin: Origin, event: Mapping[str, Any]) -> bool:
        return self._number is None or event.get("from" if origin == "request" else "number") == self._number


def _step(row: Row, origin: Origin, event: Mapping[str, Any]) -> Step:
    return step_of(origin, event, row.timestamp_ms, f"{row.topic}[{row.partition}]@{row.offset}")


def _is_to(event: Mapping[str, Any], people: Collection[str]) -> bool:
    try:
        to = normal_recipient(event.get("to"))
    except ValueError:
        return False
    return to in people or canonical(to) in people


def _names(event: Mapping[str, Any]) -> list[str]:
    """Ids of the person that an event names."""
    return [name for field in ("recipient", "wa_id", "to") if isinstance(name := event.get(field), str)]


def _needle(request_id: str) -> bytes:
    """Bytes that every JSON text with this id holds, to skip the others unparsed; empty if it may be escaped."""
    is_plain = request_id.isascii() and request_id.isprintable() and not set(request_id) & set('"\\/')
    return request_id.encode() if is_plain else b""
