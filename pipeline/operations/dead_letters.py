"""Dead letters: what a record of `dead-letter` says, whether it can go again, and with which marks. Pure.

A letter is known by its place. What was done with it stands on `audit-events`, under that place and the letter's time:
there is no other record of it, so no replay or discard is without a who and why.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from pipeline.clock import rfc3339
from pipeline.errors import ContractError, DecodeError, WrongRequest
from pipeline.operations.acts import Act, Actor, Outgoing, audited
from pipeline.operations.reading import Row
from pipeline.records.codec import Headers, decode_object, header_of
from pipeline.records.deadletter import HEADERS
from pipeline.records.returning import (
    ATTEMPT_HEADER,
    FIRST_TIME,
    REPLAY_HEADER,
    REPLAY_OF_HEADER,
    REROUTED_HEADER,
    SOURCE_HEADER,
    SPENT_HEADER,
    UNKNOWN_HEADER,
    read_returning,
    returning_headers,
)
from pipeline.streams.topics import BY_NAME, REQUESTS

TOPIC: Final = "dead-letter"
UNKNOWN: Final = "outcome_unknown"
ENTRANCES: Final = (*REQUESTS, "consent-updates", "inbound-events")
"""Topics that a letter can go back to by its key; it goes to a lane's topic by its partition."""
_MARKS: Final = frozenset({
    ATTEMPT_HEADER, REPLAY_HEADER, REPLAY_OF_HEADER, REROUTED_HEADER, SOURCE_HEADER, SPENT_HEADER,
    UNKNOWN_HEADER,
})  # fmt: skip
"""Written anew: what was re-routed in vain is re-routed once more, what was tried too often is tried anew."""
_PLACE: Final = re.compile(r"(\d{1,6}):(\d{1,18})", re.ASCII)

Verb = Literal["replay", "discard"]


class Place(NamedTuple):
    """Where a letter stands on `dead-letter`; written `3:991`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def target(self) -> str:
        """What an audit record calls it."""
        return f"{TOPIC}:{self}"


def place_of(text: str) -> Place:
    """Read `3:991`, or the target of an audit record.

    Raises:
        WrongRequest: it is none.
    """
    found = _PLACE.fullmatch(text.removeprefix(f"{TOPIC}:"))
    if found is None:
        raise WrongRequest(
            f"{text[:60]!r} is no dead letter; write PARTITION:OFFSET, as `wapipe dead-letters list` does"
        )
    return Place(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        at_ms: Broker time of the letter.
        key: As the record had it.
        value: Its bytes.
        headers: The record's own headers.
        topic: Where it came from, without the prefix; empty: from a webhook.
        source: Partition and offset there; None: it has none.
        gave_up_ms: When it was given up, by the host that did.
        request_id: As far as its bytes can be read, like `number` and `recipient`.
    """

    place: Place
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str
    source: tuple[int, int] | None
    stage: str
    code: str
    message: str
    attempts: int
    gave_up_ms: int
    request_id: str | None = None
    number: str | None = None
    recipient: str | None = None


def letter_of(row: Row, prefix: str) -> Letter:
    """Read a record of `dead-letter`; what is missing in its headers is empty.

    Args:
        row: With its headers.
        prefix: `kafka.topic_prefix`.
    """
    told = {name: (header_of(row.headers, name) or b"").decode(errors="replace") for name in HEADERS}
    own = [pair for pair in row.headers if pair[0] not in told]
    partition, offset = _count(told["errors.partition"]), _count(told["errors.offset"])
    value: Mapping[str, Any] = {}
    with contextlib.suppress(DecodeError):
        value = decode_object(row.value)
    request = value["request"] if isinstance(value.get("request"), dict) else value
    return Letter(
        Place(row.partition, row.offset),
        row.timestamp_ms,
        row.key,
        row.value,
        own,
        told["errors.topic"].removeprefix(prefix),
        (partition, offset) if partition is not None and offset is not None else None,
        told["errors.stage"],
        told["errors.code"],
        told["errors.message"],
        _count(told["errors.attempts"]) or 0,
        _count(told["errors.timestamp_ms"]) or row.timestamp_ms,
        _text(request.get("request_id")),
        _text(request.get("from") or request.get("number")),
        _text(request.get("to") or request.get("recipient")),
    )


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; None: any."""

    stage: str | None = None
    code: str | None = None
    number: str | None = None
    request_id: str | None = None

    def fits(self, letter: Letter) -> bool:
        """Whether a letter is one of them."""
        asked = (self.stage, self.code, self.number, self.request_id)
        found = (letter.stage, letter.code, letter.number, letter.request_id)
        return all(one is None or one == other for one, other in zip(asked, found, strict=True))


class Handled(NamedTuple):
    """What was done with a letter."""

    event_id: str
    action: str
    at: str
    actor: str
    reason: str | None


def handled_of(events: Iterable[Mapping[str, Any]]) -> dict[tuple[Place, str], list[Handled]]:
    """What was done with letters, oldest first, by place and time of the letter.

    The time is part of it, as a topic that was made anew counts its places anew.

    Args:
        events: Audit-events in the order of their topic.
    """
    found: dict[tuple[Place, str], list[Handled]] = {}
    for event in events:
        target, before = event.get("target"), event.get("before")
        if event.get("action") not in ("replay", "discard") or not isinstance(target, str):
            continue
        try:
            place = place_of(target)
        except WrongRequest:
            continue
        stood = str(before.get("at")) if isinstance(before, dict) else ""
        event_id, action, at, actor = (str(event.get(name)) for name in ("event_id", "action", "at", "actor"))
        one = Handled(event_id, action, at, actor, _text(event.get("reason")))
        found.setdefault((place, stood), []).append(one)
    return found


def key_of(letter: Letter) -> tuple[Place, str]:
    """What `handled_of` knows a letter by."""
    return letter.place, rfc3339(letter.at_ms)


def obstacle(letter: Letter, *, may_duplicate: bool) -> str | None:
    """Why a letter cannot go again; None: it can.

    Args:
        may_duplicate: Whether the person may get the message a second time.
    """
    if not letter.topic:
        return "a webhook that could not be read has no way back; WhatsApp repeats what is not answered 200"
    if letter.topic not in BY_NAME or (letter.topic not in ENTRANCES and not _is_lane(letter)):
        return f"nothing reads {letter.topic}"
    if letter.code == UNKNOWN and not may_duplicate:
        return "it may have been sent: --may-duplicate takes the risk that the person gets it twice"
    return None


def _is_lane(letter: Letter) -> bool:
    return BY_NAME[letter.topic].kind == "lane" and letter.source is not None


def replayed(letter: Letter) -> Outgoing:
    """The record that goes again: the original bytes, key and headers, and marks that tell what it is."""
    own = [pair for pair in letter.headers if pair[0] not in _MARKS]
    replay_of = (REPLAY_OF_HEADER, f"{TOPIC}[{letter.place.partition}]@{letter.place.offset}".encode())
    if letter.topic not in REQUESTS:
        partition = letter.source[0] if letter.source is not None and _is_lane(letter) else -1
        return Outgoing(letter.topic, letter.key, letter.value, [*own, replay_of], partition)
    try:
        known = read_returning(letter.headers)
    except ContractError:  # that may be why it is here
        known = FIRST_TIME
    partition, offset = letter.source or letter.place
    here = {"topic": letter.topic, "partition": partition, "offset": offset, "timestamp_ms": letter.gave_up_ms}
    marks = returning_headers(
        known.source or here, attempt=max(letter.attempts, known.attempt),
        unknown=letter.code == UNKNOWN or known.unknown, replay=True,
    )  # fmt: skip
    return Outgoing(letter.topic, letter.key, letter.value, [*own, *marks, replay_of])


def act_on(actor: Actor, verb: Verb, letter: Letter, reason: str, *, may_duplicate: bool = False) -> Act:
    """Replay or discard a letter: its audit record, and what goes again."""
    before = {
        "at": rfc3339(letter.at_ms), "code": letter.code, "stage": letter.stage, "request_id": letter.request_id,
        "number": letter.number,
    }  # fmt: skip
    if verb == "discard":
        return audited(actor, verb, letter.place.target, reason=reason, before=before, after=None, records=())
    after = {"topic": letter.topic, "may_duplicate": may_duplicate}
    return audited(
        actor, verb, letter.place.target, reason=reason, before=before, after=after, records=(replayed(letter),)
    )
