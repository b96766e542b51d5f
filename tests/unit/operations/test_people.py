"""Commands find a person by any id."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, cast

import orjson
import pytest

from pipeline.operations.people import Person, person_of
from pipeline.operations.reading import Reader, Row
from pipeline.streams.partition import partition_of

PARTITIONS, FEWER = 4, 2
ADA, NEW, USER, NEXT = "15550109999", "15550108888", "US.134912", "US.777"


class Topic(Reader):
    """`recipient-aliases` as a reader gives it; there were fewer partitions once."""

    def __init__(self, *left: Row, **records: Any) -> None:
        self._left, self._records = left, records
        self._earlier = (FEWER, 100)  # of others there were more: they are none of this topic's

    def partitions(self, topic: str) -> int:
        """As many as there are."""
        return PARTITIONS

    def to_end(
        self, topic: str, *, partitions: Collection[int] | None = None, since_ms: int | None = None,
        with_headers: bool = False, advance: Any = None,
    ) -> Iterator[Row]:  # fmt: skip
        """Its records on these partitions, what is left on earlier ones last."""
        assert partitions is not None
        for one, value in self._records.items():
            place = partition_of(one, PARTITIONS)
            if place in partitions:
                yield Row(topic, place, 0, 0, one.encode(), value)
        yield from (row for row in self._left if row.partition in partitions)


def record(recipient: Any, *ids: str) -> bytes:
    """An alias record."""
    return orjson.dumps({"recipient": recipient, "kind": "-", "at": "2026-11-22T10:00:00.000Z", "ids": ids})


KNOWN = {USER: record(ADA, NEXT), NEXT: record(USER), ADA: record(NEW, USER), NEW: record(NEW, ADA)}


@pytest.mark.parametrize(
    ("asked", "key"), [(USER, ADA), (NEXT, ADA), (ADA, ADA), (NEW, NEW)], ids=["name", "former", "number", "new"]
)
def test_a_person_is_found_by_any_id(asked: str, key: str) -> None:
    """Names lead to the number whose consent counts; each number has its own."""
    found = person_of(Topic(**KNOWN), [asked])
    assert (found.key, set(found.ids)) == (key, {USER, NEXT, ADA, NEW})
    assert found.numbers == sorted({ADA, NEW} - {key})


def test_both_forms_of_a_number_are_one_person() -> None:
    """Who asks for WhatsApp's id gets what stands under the number with the ninth digit."""
    found = person_of(cast("Reader", Topic()), ["551187654321"])
    assert found == Person("5511987654321", frozenset({"551187654321", "5511987654321"}))
    assert found.numbers == []


def test_circles_and_rubbish_end() -> None:
    """What leads round in a circle, or cannot be read, costs a bounded number of reads."""
    circle = Topic(**{USER: record(NEXT), NEXT: record(USER), "US.9": b"nonsense", "US.8": record(5)})
    assert person_of(cast("Reader", circle), [USER]).ids == {USER, NEXT}
    assert person_of(cast("Reader", circle), ["US.9"]) == Person("US.9", frozenset({"US.9"}))
    assert person_of(cast("Reader", circle), ["US.8"]) == Person("US.8", frozenset({"US.8"}))


def test_who_moved_to_another_partition_is_found_there() -> None:
    """What counts is where the key is at home now; what a move left behind counts only if there is nothing."""
    one = next(one for one in map(str, range(100)) if partition_of(one, FEWER) != partition_of(one, PARTITIONS))
    place = partition_of(one, FEWER)

    def left(value: bytes | None) -> Row:
        return Row("consent", place, 0, 0, one.encode(), value)

    def found(topic: Topic) -> dict[str, bytes | None]:
        return {key: row.value for key, row in topic.newest("consent", [one]).items()}

    assert found(Topic(left(b"old"), left(None), **{one: b"new"})) == {one: b"new"}
    assert found(Topic(left(b"old"), **{one: None})) == {}
    assert found(Topic(left(b"old"))) == {one: b"old"}
    assert Topic().homes("consent", [one]) == {place, partition_of(one, PARTITIONS)}
