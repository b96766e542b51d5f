"""Who is who: the ids of a person by `recipient-aliases`.

`resolve` follows records wherever they are kept; `person_of` asks Kafka and blocks, one partition per step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from pipeline.operations.reading import Advance, Reader, decoded
from pipeline.records.alias import MAX_HOPS, is_alias
from pipeline.records.canonical import canonical, is_name

ALIASES: Final = "recipient-aliases"
_NONE: Final[Mapping[str, Any]] = {}

LookUp = Callable[[Collection[str]], Mapping[str, Mapping[str, Any]]]
"""Gives the alias/1 of each id; an empty one, or none, for those that have none."""


class Person(NamedTuple):
    """One person.

    Attributes:
        key: The id that consent and windows are kept under.
        ids: Every id that is known, `key` and what was asked for among them; other numbers have their own consent.
    """

    key: str
    ids: frozenset[str]

    @property
    def numbers(self) -> list[str]:
        """Other numbers of the person, in order."""
        return sorted(one for one in self.ids if not is_name(one) and canonical(one) != self.key)


def person_of(reader: Reader, asked: Collection[str], advance: Advance | None = None) -> Person:
    """Find out who is meant.

    Args:
        asked: Ids that are known to be one person's, normalised; at least one.
    """
    return resolve(asked, lambda ids: _records(reader, ids, advance))


def resolve(asked: Collection[str], look_up: LookUp) -> Person:
    """Find out who is meant, by the records that `look_up` gives; at most `MAX_HOPS` times.

    Args:
        asked: Ids that are known to be one person's, normalised; at least one.
    """
    known: dict[str, Mapping[str, Any]] = {}
    ids = dict.fromkeys(canonical(one) for one in asked)
    key = next(iter(ids))
    for _ in range(MAX_HOPS):
        unknown = set(ids) - known.keys()
        known |= {**dict.fromkeys(unknown, _NONE), **look_up(unknown)}
        record = known.get(key, _NONE)
        for one in list(ids):
            found = known.get(one, _NONE)
            ids |= dict.fromkeys(str(other) for other in (found.get("recipient"), *_list(found.get("ids"))) if other)
        if is_name(key) and record.get("recipient", key) != key:
            key = str(record["recipient"])
        elif set(ids) <= known.keys():
            break
    return Person(key, frozenset((*ids, *asked)))


def _records(reader: Reader, ids: Collection[str], advance: Advance | None) -> dict[str, dict[str, Any]]:
    rows = reader.newest(ALIASES, ids, advance) if ids else {}
    records = ((one, decoded(row)) for one, row in rows.items())
    return {one: record for one, record in records if record is not None and is_alias(record)}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
