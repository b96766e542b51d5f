"""Ready records: built by the gate, taken apart by the sender, copied without losing what counts."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ContractError
from pipeline.records.codec import decode_object, encode
from pipeline.records.ready import FIELDS, ReadyMessage, copy_of, parse_ready, ready_record
from tests.support.malformed import Bad, bad_ready

REQUEST = {
    "request_id": "r-1", "from": "1", "to": "15550109999", "category": "utility",
    "message": {"type": "text", "text": {"body": "hi"}},
}  # fmt: skip
SOURCE = {"topic": "outbound-requests", "partition": 3, "offset": 991, "timestamp_ms": 1_795_341_600_000}


def record(**fields: Any) -> dict[str, Any]:
    """What the gate writes, after a trip over a topic."""
    made = ready_record(
        REQUEST, SOURCE,
        **{
            "business": "acme", "lane": "1#0", "priority": "normal", "judged_ms": 1000, "expires_ms": 3000,
            "valid_until_ms": 2000, "valid_cause": "expired", "consent": None, **fields,
        },
    )  # fmt: skip
    return decode_object(encode(made))


def test_record_is_parsed_to_what_was_built() -> None:
    """Every value that the gate put in is there for the sender, times in milliseconds."""
    message = parse_ready(record(attempt=2, spent=1, unknown=True, replay=True, due_ms=1500))
    assert message.request_id == "r-1"
    assert message.recipient == "15550109999"
    assert message.source == ("outbound-requests", 3, 991)
    assert message.source_ms == 1_795_341_600_000
    assert (message.judged_ms, message.valid_until_ms, message.expires_ms, message.due_ms) == (1000, 2000, 3000, 1500)
    assert (message.attempt, message.spent, message.hops) == (2, 1, 0)
    assert (message.unknown, message.replay, message.via_gate) == (True, True, False)


def test_copy_keeps_identity_and_judgement() -> None:
    """A copy changes counts, due time and reason, never source, request, judgement or consent."""
    original = parse_ready(record())
    copied = copy_of(original, due_ms=5000, reason="throttled", attempt=3, spent=2, unknown=True, hops=4, via_gate=True)
    again = parse_ready(decode_object(encode(copied)))
    assert (again.attempt, again.spent, again.unknown, again.hops, again.due_ms) == (3, 2, True, 4, 5000)
    assert again.via_gate
    same = ("request", "source", "business", "lane", "priority", "judged_at", "valid_until", "expires_at", "consent")
    assert {name: copied[name] for name in same} == {name: original.record[name] for name in same}
    assert original.record["attempt"] == 0


def test_person_stands_apart_from_whom_upstream_named() -> None:
    """Order and limits go by the person; the request goes to the id that upstream wrote."""
    message = parse_ready(record(person="15550100001", aliases=["US.1"]))
    assert (message.recipient, message.to, message.aliases) == ("15550100001", "15550109999", ("US.1",))


def test_record_of_an_older_gate_has_a_person() -> None:
    """Without the field the person is the canonical form of whom upstream named."""
    value = record()
    del value["person"], value["aliases"]
    value["request"] = {**REQUEST, "to": "551187654321"}
    message = parse_ready(value)
    assert (message.recipient, message.to, message.aliases) == ("5511987654321", "551187654321", ())


def test_unknown_fields_are_kept_in_copies() -> None:
    """What a newer gate adds travels on through an older sender's copies."""
    message = parse_ready({**record(), "added_later": 1})
    copied = copy_of(message, due_ms=1, reason="transient", attempt=1, spent=1, unknown=False, hops=0)
    assert copied["added_later"] == 1


@pytest.mark.parametrize(
    "name", [name for name in sorted(FIELDS) if name not in ("business", "valid_cause", "consent", "reason")]
)
def test_missing_field_is_refused(name: str) -> None:
    """A record without a field that the sender needs is a ContractError, not a crash."""
    value = record()
    del value[name]
    with pytest.raises(ContractError, match="ready record"):
        parse_ready(value)


def test_record_of_the_release_before_is_read() -> None:
    """A gate that does not say yet what it had heard is understood."""
    value = record()
    del value["heard_ms"]
    assert parse_ready(value).record == value


@pytest.mark.parametrize(
    "change",
    [
        {"heard_ms": "now"},
        {"request": None},
        {"request": []},
        {"request": {**REQUEST, "request_id": 5}},
        {"request": {**REQUEST, "to": None}},
        {"request": {**REQUEST, "message": "hi"}},
        {"request": {**REQUEST, "message": {"type": 1}}},
        {"source": {**SOURCE, "offset": "991"}},
        {"source": {**SOURCE, "topic": []}},
        {"source": {**SOURCE, "timestamp_ms": None}},
        {"priority": "soon"},
        {"lane": 1},
        {"attempt": "1"},
        {"attempt": True},
        {"spent": 1.5},
        {"hops": None},
        {"unknown": "no"},
        {"due_at": 5},
        {"judged_at": "yesterday"},
        {"valid_until": None},
        {"person": 5},
        {"aliases": [5]},
        {"aliases": 5},
    ],
)
def test_wrong_field_is_refused(change: dict[str, Any]) -> None:
    """A field of another type is refused when the record is read, not later in the middle of a send."""
    with pytest.raises(ContractError, match="ready record"):
        parse_ready({**record(), **change})


def test_message_has_no_room_for_strays() -> None:
    """A message in memory has slots only: a hundred thousand of them stay small."""
    message: Any = parse_ready(record())
    assert isinstance(message, ReadyMessage)
    assert not hasattr(message, "__dict__")


@pytest.mark.parametrize("bad", bad_ready(record())[:-1], ids=lambda bad: bad.case)
def test_a_record_that_is_sound_but_for_one_thing_is_refused(bad: Bad) -> None:
    """Whatever the sender would need later is checked here, where a dead letter is still the worst that can happen."""
    with pytest.raises(ContractError):
        parse_ready(decode_object(bad.value))
