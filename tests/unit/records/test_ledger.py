"""Ledger records: every field is written, and the model reads what the builder wrote."""

from __future__ import annotations

import pytest

from pipeline.records.codec import decode_object, encode
from pipeline.records.ledger import LedgerRecord, ledger_record

SOURCE = {"topic": "outbound-requests", "partition": 3, "offset": 991, "timestamp_ms": 7}


@pytest.mark.parametrize("kind", ["opened", "attempt", "void", "returned", "settled"])
def test_every_kind_is_written_with_every_field(kind: str) -> None:
    """Whatever the kind, a record has all fields, null where there is nothing to say."""
    made = ledger_record(kind, 7)
    assert set(made) == set(LedgerRecord.model_fields)
    assert {name for name, value in made.items() if value is not None} == {"kind", "generation"}


def test_model_reads_what_was_written() -> None:
    """Identity, place and outcome come back as they were."""
    made = ledger_record(
        "settled", 7, request_id="r", attempt=2, recipient="15550109999", priority="bulk", source=SOURCE,
        place=("ready-bulk", 4, 55), digest="d", outcome="accepted", basis="evidence", message_id="wamid.1",
        event={"type": "accepted"}, owner="s-1", spent=1,
    )  # fmt: skip
    read = LedgerRecord.model_validate(decode_object(encode(made)))
    assert read.source is not None
    assert read.source.model_dump() == SOURCE
    assert read.place is not None
    assert (read.place.topic, read.place.partition, read.place.offset) == ("ready-bulk", 4, 55)
    assert (read.basis, read.message_id, read.event, read.spent) == ("evidence", "wamid.1", {"type": "accepted"}, 1)


def test_partition_zero_offset_zero_is_a_place() -> None:
    """The first record of a lane has a place like any other."""
    assert ledger_record("attempt", 1, place=("ready-bulk", 0, 0))["place"]["offset"] == 0
