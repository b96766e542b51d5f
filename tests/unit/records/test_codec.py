"""The codec: what is read, what is refused and how it is said, what our headers look like."""

from __future__ import annotations

import pytest

from pipeline.errors import ContractError, DecodeError
from pipeline.records.codec import (
    MAX_PROBLEMS,
    check,
    decode_object,
    encode,
    header_of,
    headers_for,
    require_schema,
    stable_id,
)
from pipeline.records.request import Request


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, "not_json"),
        (b"", "not_json"),
        (b" \n", "not_json"),
        (b"hello", "not_json"),
        (b'{"a":1', "not_json"),
        (b'{"a":1}{"b":2}', "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b'{"a":"\\ud800"}', "not_json"),
        (b'{"a":"\xff"}', "not_utf8"),
        (b"\xff\xfe{\x00}\x00", "not_utf8"),
        (b"[]", "contract"),
        (b"null", "contract"),
        (b'"text"', "contract"),
        (b"[" * 900_000, "too_large"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_object_is_refused_with_its_code(raw: bytes | None, code: str) -> None:
    """Each way of not being a JSON object has its dead-letter code."""
    with pytest.raises(DecodeError) as caught:
        decode_object(raw)
    assert caught.value.code == code


def test_limit_is_the_callers() -> None:
    """A caller may read smaller records than the contract's limit."""
    with pytest.raises(DecodeError, match="at most 10"):
        decode_object(b'{"a": "12345"}', max_bytes=10)


def test_object_is_read_and_written_back() -> None:
    """What is encoded is decoded to the same object, any language included."""
    value = {"a": [1, 2.5, None, True], "città": {"b": "Köln 🚀"}}
    assert decode_object(encode(value)) == value
    assert b" " not in encode({"a": 1, "b": 2})


def test_many_brackets_side_by_side_are_not_deep() -> None:
    """Width is not depth."""
    assert decode_object(b'{"a":[' + b"[]," * 1000 + b"[]]}")


def test_problems_are_named_by_path() -> None:
    """Every problem is one sentence with the path of the field on the topic."""
    with pytest.raises(ContractError) as caught:
        check(Request, {"request_id": 5, "from": "1", "to": "x", "category": "utility", "message": {}})
    assert any(problem.startswith("request_id: ") for problem in caught.value.problems)
    assert any(problem.startswith("to: must be a phone number") for problem in caught.value.problems)


def test_number_of_problems_is_bounded() -> None:
    """A record full of mistakes gives a short list, and no input is repeated in it."""
    value = {"request_id": "r", "from": "1", "to": "15550109999", "category": "utility", "message": {}}
    with pytest.raises(ContractError) as caught:
        check(Request, {**value, "metadata": {f"key{i}": {"HUSH": i} for i in range(50)}})
    assert len(caught.value.problems) == MAX_PROBLEMS
    assert "HUSH" not in str(caught.value)


def test_only_the_names_of_the_wire_count() -> None:
    """`from` is read, the field's name in Python is not."""
    value = {"request_id": "r", "to": "15550109999", "category": "utility", "message": {}}
    assert check(Request, {**value, "from": "1"}).from_ == "1"
    with pytest.raises(ContractError, match="from: Field required"):
        check(Request, {**value, "from_": "1"})


def test_headers_of_ours() -> None:
    """Our records carry content type and schema, then what the caller adds, and the trace as it came."""
    assert headers_for("request/1") == [("content-type", b"application/json"), ("schema", b"request/1")]
    assert headers_for("request/1", b"00-ab-cd-01", [("wapipe-attempt", b"2")])[2:] == [
        ("wapipe-attempt", b"2"),
        ("traceparent", b"00-ab-cd-01"),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        [("other", b"x"), ("schema", b"request/1"), ("schema", b"request/2")],
        [("schema", "request/1")],
        {"schema": b"request/1"},
        (("schema", b"request/1"),),
    ],
)
def test_headers_are_read_in_any_form(headers: object) -> None:
    """Pairs or a mapping, bytes or text: the first header of a name is found."""
    assert header_of(headers, "schema") == b"request/1"
    require_schema(headers, "request")


@pytest.mark.parametrize("headers", [None, [], {}, [("other", b"x")], [("schema", None)]])
def test_headers_are_optional(headers: object) -> None:
    """A record without a schema header is read as the current major."""
    assert header_of(headers, "schema") is None
    require_schema(headers, "request")


@pytest.mark.parametrize("found", [b"request/2", b"consent/1", b"request", b"", b"\xff\xfe", b"x" * 5000])
def test_unknown_schema_is_refused(found: bytes) -> None:
    """Another record or major is `unsupported_schema`; what was found is shown, bounded."""
    with pytest.raises(ContractError, match="this version reads request/1") as caught:
        require_schema([("schema", found)], "request")
    assert caught.value.code == "unsupported_schema"
    assert len(str(caught.value)) < 500


def test_stable_ids_are_stable_and_distinct() -> None:
    """The same parts give the same id in every process; a boundary between parts counts."""
    assert stable_id("200000000000001", "r-1", "terminal") == "3bbf5f83dec605bf18c958c54f8872aa"
    assert len({stable_id("a", "bc"), stable_id("ab", "c"), stable_id("a", "b", "c"), stable_id("abc")}) == 4
    assert len(stable_id("\ud800")) == 32
