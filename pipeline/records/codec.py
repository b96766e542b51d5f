"""Bytes to plain JSON objects and back, with limits; the only place that parses what is on a topic.

Pure functions; safe on any bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, WithJsonSchema

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.errors import ContractError, DecodeError

MAX_RECORD_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_PROBLEMS = 10
CONTENT_TYPE = ("content-type", b"application/json")

TRACEPARENT = "traceparent"

Headers = Sequence[tuple[str, bytes]]


class Record(BaseModel):
    """A record on a topic: readers ignore unknown fields, writers write every field."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


# W3C trace context, version 00: ids of zeros only name nothing.
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

# What `datetime` takes is wider than RFC 3339 (week dates, no dashes, offsets with seconds): the contract is not.
TIME_PATTERN = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$"
_TIME = re.compile(TIME_PATTERN, re.ASCII)
# Years 1970 to 9999 in UTC: a moment outside could be read, but not written again.
_TIME_END_MS = 253_402_300_800_000


def _read_time(value: Any) -> int:
    wanted = "must be an RFC 3339 time with an offset, e.g. 2026-11-22T10:00:00.000Z"
    if not isinstance(value, str) or len(value) > 40 or not _TIME.fullmatch(value):
        raise ValueError(wanted)
    try:
        moment = parse_rfc3339_ms(value.upper())
    except (ValueError, OverflowError) as exc:
        raise ValueError(wanted) from exc
    if not 0 <= moment < _TIME_END_MS:
        raise ValueError("must be between the years 1970 and 9999")
    return moment


TimeMs = Annotated[
    int,
    BeforeValidator(_read_time),
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": TIME_PATTERN}),
]
"""A moment: RFC 3339 on the topic, milliseconds since 1970 in memory."""


def decode_object(raw: bytes | None, max_bytes: int = MAX_RECORD_BYTES) -> dict[str, Any]:
    """Parse the value of a record.

    Raises:
        DecodeError: `too_large`, `not_utf8`, `not_json`, `too_deep`, or `contract` if it is no object.
    """
    if raw is None or not raw.strip():
        raise DecodeError("not_json", "the record has no value; a JSON object was expected")
    if len(raw) > max_bytes:
        raise DecodeError("too_large", f"{len(raw)} bytes; at most {max_bytes} are read")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise DecodeError("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise DecodeError("not_utf8", "the value is not UTF-8") from exc
        raise DecodeError("not_json", f"not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise DecodeError("contract", f"a JSON object was expected, found {type(value).__name__}")
    return value


def _depth(raw: bytes) -> int:
    """Deepest nesting of brackets outside strings, without building anything."""
    depth = deepest = 0
    in_string = escaped = False
    for byte in raw:
        if escaped:
            escaped = False
        elif in_string:
            if byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x7B, 0x5B):
            depth += 1
            if depth > deepest:
                deepest = depth
                if deepest > MAX_DEPTH:
                    return deepest
        elif byte in (0x7D, 0x5D):
            depth -= 1
    return deepest


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def check(model: type[AnyRecord], value: Mapping[str, Any]) -> AnyRecord:
    """Check a parsed object against its model.

    Raises:
        ContractError: with one `path: reason` per problem, at most `MAX_PROBLEMS`.
    """
    try:
        # only the names of the wire: `from_` is ours
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_input=False, include_context=False)[:MAX_PROBLEMS]
        raise ContractError([_sentence(problem["loc"], problem["msg"]) for problem in found]) from exc


def _sentence(location: tuple[int | str, ...], reason: str) -> str:
    path = ".".join(map(str, location)) or "record"
    return f"{path[:200]}: {reason.removeprefix('Value error, ')}"


def encode(value: Mapping[str, Any]) -> bytes:
    """Write an object as compact JSON."""
    return orjson.dumps(value)


def headers_for(schema: str, traceparent: bytes | None = None, extra: Iterable[tuple[str, bytes]] = ()) -> Headers:
    """Headers that every record of ours carries.

    Args:
        schema: `<record>/<major>`, e.g. `request/1`.
        traceparent: W3C trace context of the record that caused this one, kept as it is.
    """
    headers = [CONTENT_TYPE, ("schema", schema.encode()), *extra]
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent))
    return headers


def header_of(headers: Any, name: str) -> bytes | None:
    """First header of that name, from a list of pairs or a mapping; None if absent."""
    if not headers:
        return None
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for key, value in pairs:
        if key == name:
            return value.encode() if isinstance(value, str) else value
    return None


def trace_of(headers: Any) -> bytes | None:
    """W3C trace context of a record; None if it has none that can be read: tracing never stops a message."""
    found = header_of(headers, TRACEPARENT)
    return found if found is not None and _TRACEPARENT.fullmatch(found) else None


def require_schema(headers: Any, record: str, major: int = 1) -> None:
    """Refuse a record that says it is of another kind or an unknown major version; no header says nothing.

    Raises:
        ContractError: code `unsupported_schema`.
    """
    found = header_of(headers, "schema")
    if found is not None and found != f"{record}/{major}".encode():
        shown = found[:64].decode(errors="replace")
        raise ContractError([f"schema header {shown!r}; this version reads {record}/{major}"], "unsupported_schema")


def stable_id(*parts: object) -> str:
    """A deterministic id, 32 hex digits, of anything that prints the same each time."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(errors="replace"), digest_size=16).hexdigest()
