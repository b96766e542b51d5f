"""Who is who: the ids of a person by `recipient-aliases`. Blocks; reads one partition per step."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from pipeline.operations.reading import Advance, Reader, decoded
from pipeline.records.alias import MAX_HOPS, is_alias
from pipeline.records.canonical import canonical, is_name

ALIASES = "recipient-aliases"


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
    known: dict[str, dict[str, object]] = {}
    ids = dict.fromkeys(canonical(one) for one in asked)
    key = next(iter(ids))
    for _ in range(MAX_HOPS):
        known |= _records(reader, set(ids) - known.keys(), advance)
        record = known.get(key, {})
        for one in list(ids):
            found = known.get(one, {})
            ids |= dict.fromkeys(str(other) for other in (found.get("recipient"), *_list(found.get("ids"))) if other)
        if is_name(key) and record.get("recipient", key) != key:
            key = str(record["recipient"])
        elif set(ids) <= known.keys():
            break
    return Person(key, frozenset((*ids, *asked)))


def _records(reader: Reader, ids: Collection[str], advance: Advance | None) -> dict[str, dict[str, object]]:
    """Records of these ids; an empty one for those that have none."""
    found: dict[str, dict[str, object]] = {one: {} for one in ids}
    for one, row in reader.newest(ALIASES, ids, advance).items() if ids else ():
        record = decoded(row)
        found[one] = record if record is not None and is_alias(record) else {}
    return found


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
