"""Where messages go, and what a record brings along of its first way."""

from __future__ import annotations

import pytest

from pipeline.errors import ContractError
from pipeline.gate.routing import delayed_topic
from pipeline.records.returning import (
    ATTEMPT_HEADER,
    FIRST_TIME,
    SOURCE_HEADER,
    Returning,
    read_returning,
    returning_headers,
)
from pipeline.streams.partition import LanePlace, lane_of
from tests.unit.gate.making import ADA, NUMBER

SOURCE = {"topic": "outbound-requests", "partition": 3, "offset": 991, "timestamp_ms": 1}


def test_lane_is_the_number_s_shard_of_the_recipient() -> None:
    """A recipient always has the same lane of a number, and the lanes share the recipients."""
    lanes = {lane_of(NUMBER, str(15550100000 + i), [4, 5, 9]) for i in range(100)}
    assert lanes == {LanePlace(f"{NUMBER}#0", 4), LanePlace(f"{NUMBER}#1", 5), LanePlace(f"{NUMBER}#2", 9)}
    assert lane_of(NUMBER, ADA, [7]) == LanePlace(f"{NUMBER}#0", 7)
    assert lane_of(NUMBER, ADA, [4, 5]) == lane_of(NUMBER, ADA, [4, 5])


@pytest.mark.parametrize(
    ("wait_ms", "topic"),
    [
        (1, "delayed-retry"),
        (4_999, "delayed-retry"),
        (59_999, "delayed-retry"),
        (60_000, "delayed-retry-1m"),
        (600_000, "delayed-retry-10m"),
        (3_599_999, "delayed-retry-10m"),
        (3_600_000, "delayed-retry-1h"),
        (9 * 86_400_000, "delayed-retry-1h"),
    ],
)
def test_tier_is_the_largest_not_longer_than_the_wait(wait_ms: int, topic: str) -> None:
    """No tier holds a message back beyond its time, but for the shortest one."""
    assert delayed_topic(wait_ms) == topic


def test_returning_message_keeps_its_identity() -> None:
    """What is written on the way back is what the gate reads."""
    headers = returning_headers(SOURCE, attempt=3, spent=2, unknown=True)
    assert read_returning(headers) == Returning(SOURCE, 3, 2, unknown=True)
    assert read_returning(returning_headers(SOURCE)) == Returning(SOURCE)
    assert read_returning(returning_headers(SOURCE, replay=True)).replay
    assert read_returning(None) == FIRST_TIME


@pytest.mark.parametrize(
    "header",
    [
        (SOURCE_HEADER, b"not json"),
        (SOURCE_HEADER, b"[]"),
        (SOURCE_HEADER, b'{"topic":"t","partition":"3","offset":1,"timestamp_ms":1}'),
        (SOURCE_HEADER, b'{"topic":"t","partition":3,"offset":true,"timestamp_ms":1}'),
        (ATTEMPT_HEADER, b"-1"),
        (ATTEMPT_HEADER, b"99999999999999999999"),
        (ATTEMPT_HEADER, "²".encode()),
    ],
)
def test_malformed_headers_are_named(header: tuple[str, bytes]) -> None:
    """A header of ours that somebody else wrote badly is a contract error that names it."""
    with pytest.raises(ContractError, match=header[0]):
        read_returning([header])
