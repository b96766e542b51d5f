"""Everything that topics tell of one message, or of one person's messages. Blocks while it reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from pipeline.errors import WrongRequest
from pipeline.operations.acts import AUDIT
from pipeline.operations.dead_letters import TOPIC as LETTERS
from pipeline.operations.dead_letters import Letter, handled_of, key_of, letter_of
from pipeline.operations.people import person_of
from pipeline.operations.reading import Advance, Reader, Row, decoded
from pipeline.operations.timeline import Origin, Step, step_of
from pipeline.records.canonical import canonical, is_name
from pipeline.records.request import normal_recipient

ENTRANCES: Final = ("outbound-requests-urgent", "outbound-requests")
MAX_STEPS: Final = 100_000

Wanted = Callable[[Mapping[str, Any]], bool]


class Search:
    """Bounded reads of the event topics, one after the other."""

    def __init__(
        self, reader: Reader, since_ms: int, number: str | None, advance: Advance | None = None, prefix: str = ""
    ) -> None:
        self._reader = reader
        self._prefix = prefix
        self._since_ms = since_ms
        self._number = number
        self._advance = advance

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
        return steps + self._letters(lambda letter: letter.request_id == request_id, _needle(request_id))

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
        letters = self._letters(lambda letter: canonical(letter.recipient or "") in set(map(canonical, people)))
        return [*steps, *outbound, *inbound, *letters]

    def _known_as(self, names: set[str]) -> set[str]:
        """Every id that a person is known by, and each name as it was given."""
        return names | person_of(self._reader, names, self._advance).ids

    def _partitions(self, topic: str, people: Collection[Any]) -> set[int] | None:
        return self._reader.homes(topic, map(str, people)) or None

    def _read(
        self, topic: str, origin: Origin, is_wanted: Wanted, people: Collection[Any] | None, needle: bytes = b""
    ) -> Iterator[Step]:
        partitions = self._partitions(topic, people) if people is not None else None
        rows = self._reader.to_end(topic, partitions=partitions, since_ms=self._since_ms, advance=self._advance)
        count = 0
        for row in rows:
            if needle not in (row.value or b""):
                continue
            event = decoded(row)
            if event is None or not is_wanted(event) or not self._is_number(origin, event):
                continue
            count += 1
            if count > MAX_STEPS:
                raise WrongRequest(f"more than {MAX_STEPS} events: give a shorter --since")
            yield _step(row, origin, event)

    def _letters(self, is_wanted: Callable[[Letter], bool], needle: bytes = b"") -> list[Step]:
        """Dead letters of a message, on whatever partition they were given up, and what was done with each."""
        steps, letters = list[Step](), dict[Any, Mapping[str, Any]]()
        for row in self._reader.to_end(LETTERS, since_ms=self._since_ms, advance=self._advance, with_headers=True):
            if needle not in (row.value or b""):
                continue
            letter = letter_of(row, self._prefix)
            if not is_wanted(letter) or self._number not in (None, letter.number):
                continue
            told = {
                "type": "dead-letter", "request_id": letter.request_id, "number": letter.number,
                "recipient": letter.recipient, "letter": str(letter.place), "code": letter.code,
                "stage": letter.stage, "message": letter.message,
            }  # fmt: skip
            letters[key_of(letter)] = told
            steps.append(_step(row, "letter", told))
        return steps + self._handled(letters) if letters else steps

    def _handled(self, letters: Mapping[Any, Mapping[str, Any]]) -> list[Step]:
        rows = self._reader.to_end(AUDIT, since_ms=self._since_ms, advance=self._advance)
        handled = handled_of(event for row in rows if (event := decoded(row)) is not None)
        return [
            step_of("audit", {**told, **one._asdict(), "type": one.action}, 0, AUDIT)
            for key, told in letters.items()
            for one in handled.get(key, ())
        ]

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
