"""From options of `wapipe send` to a request/1 record. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from pipeline.errors import ContractError
from pipeline.records.codec import MAX_RECORD_BYTES, check, encode
from pipeline.records.request import Request, too_far_ahead

REQUEST_SCHEMA = "request/1"


def template_message(name: str, language: str, parameters: Sequence[str]) -> dict[str, Any]:
    """A template message whose body has these parameters; `name=value` gives a named one.

    Args:
        parameters: In the order of `{{1}}`, `{{2}}`, …; all named or none.

    Raises:
        ContractError: some are named and some are not.
    """
    template: dict[str, Any] = {"name": name, "language": {"code": language}}
    if parameters:
        named = [split for split in map(_named, parameters) if split is not None]
        if named and len(named) != len(parameters):
            raise ContractError(["--param: give all parameters a name, or none (write a leading = to keep a plain =)"])
        values = [{"type": "text", "parameter_name": key, "text": text} for key, text in named] or [
            {"type": "text", "text": value.removeprefix("=")} for value in parameters
        ]
        template["components"] = [{"type": "body", "parameters": values}]
    return {"type": "template", "template": template}


def _named(parameter: str) -> tuple[str, str] | None:
    key, equals, text = parameter.partition("=")
    return (key, text) if equals and key.isidentifier() else None


def text_message(body: str) -> dict[str, Any]:
    """A free-form text message."""
    return {"type": "text", "text": {"body": body}}


def message_from_json(raw: bytes) -> dict[str, Any]:
    """A message body as it stands in a file.

    Raises:
        ContractError: not a JSON object.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise ContractError([f"--file: not JSON: {exc}"]) from exc
    if not isinstance(value, dict):
        raise ContractError(["--file: a JSON object was expected: the message with its `type`"])
    return value


def metadata_of(pairs: Sequence[str]) -> dict[str, str]:
    """Metadata from `key=value` texts.

    Raises:
        ContractError: one has no `=`.
    """
    bad = [pair for pair in pairs if "=" not in pair]
    if bad:
        raise ContractError([f"--metadata {pair!r}: write key=value" for pair in bad])
    return dict(pair.split("=", 1) for pair in pairs)


def request_record(value: Mapping[str, Any], numbers: Collection[str], now_ms: int) -> tuple[dict[str, Any], bytes]:
    """Check a request as the gate will and write it with every field of the contract.

    Args:
        value: Fields of request/1; left out ones are null.
        numbers: Configured number ids; empty: not known here, any is taken.
        now_ms: This host's time, to judge dates.

    Returns:
        The record as an object, with the recipient in normal form, and as bytes.

    Raises:
        ContractError: names every problem.
    """
    request = check(Request, value)
    problems = too_far_ahead(request, now_ms)
    if request.expires_at is not None and request.expires_at <= now_ms:
        problems.append("expires_at: is past already")
    if numbers and request.from_ not in numbers:
        problems.append(f"from: {request.from_} is not configured; there are: {', '.join(sorted(numbers))}")
    if not isinstance(request.message.get("type"), str):
        problems.append('message.type: required, e.g. "template" or "text"')
    record = request.model_dump(mode="json", by_alias=True)
    try:
        raw = encode(record)
    except TypeError as exc:
        raise ContractError([*problems, f"record: cannot be written as JSON: {exc}"]) from exc
    if len(raw) > MAX_RECORD_BYTES:
        problems.append(f"record: {len(raw)} bytes; at most {MAX_RECORD_BYTES} are read")
    if problems:
        raise ContractError(problems)
    return record, raw
