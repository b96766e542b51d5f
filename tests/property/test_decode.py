"""Decoding: whatever stands on a topic, nothing but a RecordError comes out, and equal bytes give equal answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.errors import ContractError, DecodeError, RecordError
from pipeline.records import deadletter, examples, schemas
from pipeline.records.codec import (
    MAX_DEPTH,
    MAX_PROBLEMS,
    MAX_RECORD_BYTES,
    Record,
    check,
    decode_object,
    encode,
    header_of,
    require_schema,
)
from pipeline.records.consent import ConsentUpdate
from pipeline.records.outbound import outbound_event
from pipeline.records.ready import parse_ready
from pipeline.records.request import Request, normal_recipient, too_far_ahead

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FEW = settings(max_examples=150, deadline=None)


def refusal(call: Callable[[], object]) -> RecordError | None:
    """The RecordError that a call ends with; None if it ends well. Any other error goes through."""
    try:
        call()
    except RecordError as exc:
        return exc
    return None


def altered(record: str) -> st.SearchStrategy[dict[str, Any]]:
    """A valid record of which some fields are replaced, dropped or added at random."""
    base = next(iter(examples.VALID[record].values()))
    changes = st.dictionaries(st.sampled_from([*base, "x"]), JSON | st.just("\0drop"), max_size=3)
    return changes.map(lambda change: {name: value for name, value in {**base, **change}.items() if value != "\0drop"})


@FEW
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode(errors="replace")) | st.none())
@example(b'{"a":"\\ud800"}')
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 100_000)
@example(b'{"a":' * 2000)
@example(b"{}" * 3)
@example(b'"' + b"[" * 50 + b'"')
@example(b"NaN")
@example(b'{"a":1e999}')
def test_bytes_are_an_object_or_a_decode_error(raw: bytes | None) -> None:
    """Any bytes give an object or a DecodeError with a code of the contract, each time the same."""
    error, again = refusal(lambda: decode_object(raw)), refusal(lambda: decode_object(raw))
    assert repr(error) == repr(again)
    if error is None:
        assert decode_object(raw) == decode_object(raw)
    else:
        assert isinstance(error, DecodeError)
        assert error.code in deadletter.CODES


@FEW
@given(JSON)
def test_json_is_an_object_or_a_decode_error(value: Any) -> None:
    """A JSON object that is not too deep is taken; any other JSON is refused."""
    raw = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    if isinstance(value, dict):
        assert isinstance(decode_object(raw), dict)
    else:
        with pytest.raises(DecodeError):
            decode_object(raw)


@FEW
@given(st.integers(1, MAX_DEPTH * 2), st.booleans())
def test_depth_is_bounded_exactly(depth: int, in_text: bool) -> None:
    """Up to the limit of levels is read, one more is `too_deep`; brackets inside texts do not count."""
    inner = json.dumps('\\"' + "[{" * 100) if in_text else "1"
    raw = ('{"a":' + "[" * (depth - 1) + inner + "]" * (depth - 1) + "}").encode()
    if depth <= MAX_DEPTH:
        assert decode_object(raw)
    else:
        with pytest.raises(DecodeError) as caught:
            decode_object(raw)
        assert caught.value.code == "too_deep"


def test_size_is_bounded_exactly() -> None:
    """A record of 256 KiB is read; one byte more is `too_large`."""
    raw = b'{"a":"' + b"x" * (MAX_RECORD_BYTES - 8) + b'"}'
    assert decode_object(raw)
    with pytest.raises(DecodeError) as caught:
        decode_object(raw + b" ")
    assert caught.value.code == "too_large"


MODELS: list[type[Record]] = [Request, ConsentUpdate]


@FEW
@given(st.sampled_from(MODELS), st.dictionaries(st.text(max_size=12), JSON, max_size=5))
def test_any_object_is_checked_or_refused(model: Any, value: dict[str, Any]) -> None:
    """Any object is a record or a ContractError with a bounded number of problems."""
    error = refusal(lambda: check(model, value))
    if error is not None:
        assert isinstance(error, ContractError)
        assert 1 <= len(error.problems) <= MAX_PROBLEMS
        assert all(": " in problem for problem in error.problems)


@FEW
@given(altered("request"))
def test_altered_requests_are_checked_or_refused(value: dict[str, Any]) -> None:
    """A request with fields gone wrong is taken or refused, never anything else; a taken one can be judged."""
    try:
        request = check(Request, value)
    except RecordError:
        return
    assert normal_recipient(request.to) == request.to
    assert request.effective_priority in ("urgent", "normal", "bulk")
    too_far_ahead(request, 0)
    for moment in (request.not_before, request.expires_at):
        assert moment is None or parse_rfc3339_ms(rfc3339(moment)) == moment


@FEW
@given(altered("consent-update"))
def test_altered_updates_are_checked_or_refused(value: dict[str, Any]) -> None:
    """A consent update with fields gone wrong is taken or refused; a taken one can be written to `consent`."""
    try:
        update = check(ConsentUpdate, value)
    except RecordError:
        return
    assert encode(update.model_dump(by_alias=True))
    assert parse_rfc3339_ms(rfc3339(update.at)) == update.at


@FEW
@given(altered("ready"))
def test_altered_ready_records_are_parsed_or_refused(value: dict[str, Any]) -> None:
    """A ready record with fields gone wrong is parsed or refused, never anything else."""
    try:
        message = parse_ready(value)
    except RecordError:
        return
    assert isinstance(message.request_id, str)
    assert isinstance(message.attempt, int)
    assert hash(message.source) == hash(message.source)


@FEW
@given(altered("request"))
def test_events_about_any_request_can_be_written(value: dict[str, Any]) -> None:
    """An event about a bad request is an event all the same: it can be encoded and its texts are texts."""
    value = {**value, "request_id": "r", "from": "1"}
    source = {"topic": "outbound-requests", "partition": 0, "offset": 0}
    event = outbound_event("rejected", value, source, at_ms=0, stage="gate", reason="invalid")
    schemas.MODELS["outbound-event"].validate_python(json.loads(encode(event)))


@FEW
@given(st.text(max_size=200) | st.from_regex(r"\A\+?[0-9 ()-]{3,30}\Z") | JSON)
@example("15550109999" + " " * 60 + "and more")
@example("US.1")
@example("٠١٢٣٤٥٦٧٨٩")
@example("++15550109999")
def test_recipients_are_normal_or_refused(value: Any) -> None:
    """A normalised recipient is digits or a user id, stays the same when normalised again, and loses no digit."""
    try:
        normal = normal_recipient(value)
    except ValueError:
        return
    assert normal_recipient(normal) == normal
    assert normal.isascii()
    kept = value if "." in normal else "".join(char for char in value if char.isdigit())
    assert normal == kept


@FEW
@given(st.text(max_size=60) | st.datetimes().map(lambda moment: moment.isoformat() + "Z"))
@example("9999-12-31T23:59:59-23:59")
@example("0001-01-01T00:00:00+23:59")
@example("2026-W47-1T10:00:00Z")
def test_times_are_read_or_refused(text: str) -> None:
    """A time that is read can be written and read again as the same moment; any other is a ContractError."""
    value = {**examples.VALID["request"]["template"], "expires_at": text}
    try:
        moment = check(Request, value).expires_at
    except ContractError:
        return
    assert moment is not None
    assert parse_rfc3339_ms(rfc3339(moment)) == moment


HEADERS = st.lists(st.tuples(st.text(max_size=10) | st.just("schema"), st.binary(max_size=80) | st.none()), max_size=5)


@FEW
@given(HEADERS | HEADERS.map(dict) | st.none())
def test_any_headers_are_read_or_refused(headers: Any) -> None:
    """Headers in any form Kafka clients give them are read; an unknown schema is refused with its own code."""
    found = header_of(headers, "schema")
    assert found is None or isinstance(found, bytes)
    error = refusal(lambda: require_schema(headers, "request"))
    assert error is None or error.code == "unsupported_schema"


@FEW
@given(HEADERS | HEADERS.map(dict) | st.none(), st.text(max_size=2000))
def test_any_record_can_become_a_dead_letter(headers: Any, message: str) -> None:
    """Whatever the headers and the error's text: a dead letter has its headers, ours once, all of them bytes."""
    written = deadletter.dead_letter_headers(
        topic="outbound-requests", partition=None, offset=None, stage="gate", code="contract", message=message,
        attempts=0, timestamp_ms=0, original=headers,
    )  # fmt: skip
    names = [name for name, _ in written]
    assert tuple(names[: len(deadletter.HEADERS)]) == deadletter.HEADERS
    assert not set(names[len(deadletter.HEADERS) :]) & set(deadletter.HEADERS)
    assert all(isinstance(value, bytes) for _, value in written)
    assert len(written) <= len(deadletter.HEADERS) + deadletter.MAX_ORIGINAL_HEADERS
