"""From options to a request that the gate will take, or to every problem by name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.cli.message import message_from_json, metadata_of, request_record, template_message, text_message
from pipeline.errors import ContractError

NOW_MS = 1_795_341_600_000  # 2026-11-22T10:00:00Z
NUMBER = "200000000000001"


def _value(**fields: Any) -> dict[str, Any]:
    base = {"request_id": "r1", "from": NUMBER, "to": "+1 555-010-9999", "category": "utility"}
    return {**base, "message": text_message("hi"), **fields}


def test_record_has_every_field_and_the_normal_recipient() -> None:
    """A written request has all fields of the contract, null where nothing was said, and digits as recipient."""
    record, raw = request_record(_value(), {NUMBER}, NOW_MS)
    assert orjson.loads(raw) == record
    assert set(record) == {
        "request_id", "from", "to", "category", "purpose", "priority", "campaign", "message", "not_before",
        "expires_at", "metadata",
    }  # fmt: skip
    assert record["to"] == "15550109999"
    assert record["purpose"] is None


def test_every_problem_is_named() -> None:
    """All that is wrong with the fields is said at once."""
    with pytest.raises(ContractError) as caught:
        request_record(_value(to="abc", category="spam", purpose="A B"), {NUMBER}, NOW_MS)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["to", "category", "purpose"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"expires_at": "2026-11-30T10:00:00Z"}, "expires_at"),
        ({"expires_at": "2026-11-22T09:59:59Z"}, "expires_at"),
        ({"not_before": "2027-01-01T00:00:00Z"}, "not_before"),
        ({"from": "9"}, "from: 9 is not configured; there are: 200000000000001"),
        ({"message": {"text": {"body": "x"}}}, "message.type"),
        ({"message": text_message("x" * 300_000)}, "record: "),
        ({"message": text_message("\ud800")}, "record: cannot be written"),
        ({"metadata": {str(n): "x" for n in range(51)}}, "metadata"),
    ],
)
def test_request_that_would_be_refused_is_not_written(fields: dict[str, Any], names: str) -> None:
    """Dates, numbers, bodies and sizes that the gate refuses are refused here, by name."""
    with pytest.raises(ContractError, match=names):
        request_record(_value(**fields), {NUMBER}, NOW_MS)


def test_unknown_numbers_pass_when_none_are_configured() -> None:
    """Without numbers in the settings any sending number is taken."""
    record, _ = request_record(_value(**{"from": "9"}), (), NOW_MS)
    assert record["from"] == "9"


def test_template_parameters_are_positional_or_named() -> None:
    """Plain parameters fill {{1}}, {{2}}; name=text fills a named one; a leading = keeps a plain one with a =."""
    template = template_message("t", "en_US", ["4711", "=a=b"])["template"]
    assert template["name"] == "t"
    assert template["language"] == {"code": "en_US"}
    assert [p["text"] for p in template["components"][0]["parameters"]] == ["4711", "a=b"]
    named = template_message("t", "en_US", ["order=4711"])["template"]["components"][0]["parameters"]
    assert named == [{"type": "text", "parameter_name": "order", "text": "4711"}]
    assert "components" not in template_message("t", "en_US", [])["template"]
    with pytest.raises(ContractError, match="--param"):
        template_message("t", "en_US", ["4711", "order=4711"])


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_file_has_to_hold_a_json_object(raw: bytes) -> None:
    """A file that holds no JSON object is named."""
    with pytest.raises(ContractError, match="--file"):
        message_from_json(raw)


def test_metadata_splits_at_the_first_equals_sign() -> None:
    """key=value; a value may hold further equals signs; a text without one is named."""
    assert metadata_of(["shop=berlin", "q=a=b"]) == {"shop": "berlin", "q": "a=b"}
    with pytest.raises(ContractError, match="nothing"):
        metadata_of(["nothing"])
