"""Finding dead letters on Kafka, and replaying or discarding them, each at most once unless asked for. Blocks.

An act begins with its audit record on `audit-events`, which has one partition: of two operators who act on a letter at
the same time, the one whose record stands first does it, and the other one is told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import orjson

from pipeline.clock import rfc3339
from pipeline.config import Settings
from pipeline.errors import WrongRequest
from pipeline.operations.acts import AUDIT, Act, Actor
from pipeline.operations.dead_letters import (
    TOPIC,
    Handled,
    Letter,
    Place,
    Verb,
    Wanted,
    act_on,
    handled_of,
    key_of,
    letter_of,
    obstacle,
)
from pipeline.operations.reading import Advance, Reader, decoded
from pipeline.operations.writing import write_all

MAX_LETTERS: Final = 10_000
MAX_BYTES: Final = 256 * 1024 * 1024
"""What one act may hold in memory."""


class Found(NamedTuple):
    """A letter, and what was done with it last; None: nothing."""

    letter: Letter
    handled: Handled | None


class Planned(NamedTuple):
    """A letter, and why nothing is done with it; None: it is done."""

    letter: Letter
    obstacle: str | None


def find(
    reader: Reader, settings: Settings, wanted: Wanted, since_ms: int, *, limit: int = MAX_LETTERS,
    advance: Advance | None = None,
) -> list[Found]:  # fmt: skip
    """Letters that fit, oldest first, with what was done with them.

    Args:
        since_ms: Broker time from which on.

    Raises:
        WrongRequest: they are more than `limit`, or larger than `MAX_BYTES` together.
    """
    letters: list[Letter] = []
    size = 0
    for row in reader.to_end(TOPIC, since_ms=since_ms, with_headers=True, advance=advance):
        letter = letter_of(row, settings.kafka.topic_prefix)
        if not wanted.fits(letter):
            continue
        letters.append(letter)
        size += len(letter.value or b"")
        if len(letters) > limit or size > MAX_BYTES:
            raise WrongRequest(f"more than {limit} letters or {MAX_BYTES >> 20} MiB: narrow it by a filter or --since")
    return _with_handled(reader, sorted(letters, key=lambda one: (one.at_ms, one.place)), advance)


def look_up(reader: Reader, settings: Settings, places: Collection[Place]) -> list[Found]:
    """The letters at these places.

    Raises:
        WrongRequest: one of them is not there.
    """
    letters = []
    for place in dict.fromkeys(places):
        row = reader.at(TOPIC, *place)
        if row is None:
            raise WrongRequest(f"{place}: there is no such dead letter, or its retention has passed")
        letters.append(letter_of(row, settings.kafka.topic_prefix))
    return _with_handled(reader, letters, None)


def _with_handled(reader: Reader, letters: Sequence[Letter], advance: Advance | None) -> list[Found]:
    if not letters:
        return []
    handled = _handled(reader, min(letter.at_ms for letter in letters), advance)
    return [Found(letter, handled.get(key_of(letter), [None])[-1]) for letter in letters]


def _handled(reader: Reader, since_ms: int, advance: Advance | None = None) -> dict[tuple[Place, str], list[Handled]]:
    rows = reader.to_end(AUDIT, since_ms=since_ms, advance=advance)
    return handled_of(event for event in map(decoded, rows) if event is not None)


def plan(found: Sequence[Found], verb: Verb, *, may_duplicate: bool = False, again: bool = False) -> list[Planned]:
    """What would be done with letters; writes nothing.

    Args:
        may_duplicate: Whether persons may get a message a second time.
        again: Whether what was replayed or discarded before counts as if it had not been.
    """
    planned = []
    for letter, handled in found:
        why = None
        if handled is not None and not again:
            why = f"{'replayed' if handled.action == 'replay' else 'discarded'} {handled.at} by {handled.actor}"
        elif verb == "replay":
            why = obstacle(letter, may_duplicate=may_duplicate)
        planned.append(Planned(letter, why))
    return planned


def carry_out(
    reader: Reader,
    settings: Settings,
    actor: Actor,
    verb: Verb,
    planned: Sequence[Planned],
    reason: str,
    *,
    may_duplicate: bool = False,
    again: bool = False,
) -> list[Planned]:
    """Do what was planned.

    Returns:
        The plan, with those that somebody else was ahead with as obstacles.

    Raises:
        BrokerUnreachable: Kafka did not take a record in time. Letters whose audit record was written count as handled:
            see by `wapipe trace` what became of them, and use `again`.
    """
    acts = {
        one.letter.place: act_on(actor, verb, one.letter, reason, may_duplicate=may_duplicate)
        for one in planned
        if one.obstacle is None
    }
    if not acts:
        return list(planned)
    write_all(settings, (act.audit for act in acts.values() if act.audit is not None))
    done = list(planned) if again else _claimed(reader, planned, acts)
    # Those of one person stay in their order: all are written by one producer, oldest first.
    write_all(settings, (record for one in done if one.obstacle is None for record in acts[one.letter.place].records))
    return done


def _claimed(reader: Reader, planned: Sequence[Planned], acts: dict[Place, Act]) -> list[Planned]:
    ours = {place: orjson.loads(act.audit.value or b"")["event_id"] for place, act in acts.items() if act.audit}
    handled = _handled(reader, min(one.letter.at_ms for one in planned))
    done = []
    for one in planned:
        first = next(iter(handled.get(key_of(one.letter), [])), None)
        is_theirs = one.obstacle is None and first is not None and first.event_id != ours[one.letter.place]
        done.append(one._replace(obstacle=f"{first.actor} was ahead") if is_theirs and first is not None else one)
    return done


def told(found: Found) -> dict[str, object]:
    """A letter for machines, without its bytes."""
    letter, handled = found
    return {
        "id": str(letter.place),
        "at": rfc3339(letter.at_ms),
        "topic": letter.topic or None,
        "partition": letter.source[0] if letter.source is not None else None,
        "offset": letter.source[1] if letter.source is not None else None,
        "stage": letter.stage,
        "code": letter.code,
        "message": letter.message,
        "attempts": letter.attempts,
        "request_id": letter.request_id,
        "number": letter.number,
        "bytes": len(letter.value or b""),
        "handled": handled._asdict() if handled is not None else None,
    }
