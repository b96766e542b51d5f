"""Dead letters: our headers say why and where from, the original ones stay."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.records.deadletter import CODES, HEADERS, MAX_MESSAGE_CHARS, MAX_ORIGINAL_HEADERS, dead_letter_headers


def written(original: Any = None, **fields: Any) -> list[tuple[str, bytes]]:
    """Headers of a dead letter with some values of its own."""
    values: dict[str, Any] = {
        "topic": "outbound-requests", "partition": 3, "offset": 0, "stage": "gate", "code": "not_json",
        "message": "not JSON", "attempts": 0, "timestamp_ms": 1_795_341_600_000,
    }  # fmt: skip
    return dead_letter_headers(**{**values, **fields}, original=original)


def test_headers_are_the_contracts() -> None:
    """Topic, partition, offset, stage, code, message, attempts and time, as text."""
    assert dict(written()) == {
        "errors.topic": b"outbound-requests", "errors.partition": b"3", "errors.offset": b"0",
        "errors.stage": b"gate", "errors.code": b"not_json", "errors.message": b"not JSON", "errors.attempts": b"0",
        "errors.timestamp_ms": b"1795341600000",
    }  # fmt: skip
    assert tuple(dict(written())) == HEADERS


def test_codes_are_the_contracts() -> None:
    """The codes are those that the contract lists."""
    assert " ".join(CODES) == (
        "not_json not_utf8 too_large too_deep unsupported_schema contract bad_webhook misrouted outcome_unknown"
    )


def test_place_may_be_unknown() -> None:
    """A webhook has no offset."""
    headers = dict(written(partition=None, offset=None))
    assert headers["errors.partition"] == headers["errors.offset"] == b""


@pytest.mark.parametrize("original", [[("a", b"1"), ("b", "2"), ("c", None)], {"a": b"1", "b": "2", "c": None}])
def test_original_headers_follow(original: object) -> None:
    """Whatever form the client gives them, the original headers follow ours, as bytes."""
    assert written(original)[len(HEADERS) :] == [("a", b"1"), ("b", b"2"), ("c", b"")]


def test_a_dead_letter_that_dies_again_says_so_once() -> None:
    """Our headers of an earlier death are replaced, not doubled."""
    headers = written([*written(code="contract"), ("a", b"1")], code="too_deep")
    assert [value for name, value in headers if name == "errors.code"] == [b"too_deep"]
    assert headers[-1] == ("a", b"1")


def test_everything_is_bounded_and_encodable() -> None:
    """A long message is cut, odd characters are replaced, the number of headers is limited."""
    headers = written([(f"h{i}", b"x") for i in range(500)], message="\ud800" + "x" * 5000)
    assert len(headers) == len(HEADERS) + MAX_ORIGINAL_HEADERS
    assert len(dict(headers)["errors.message"]) == MAX_MESSAGE_CHARS
    assert written([("a", "\ud800")])[-1] == ("a", b"?")
