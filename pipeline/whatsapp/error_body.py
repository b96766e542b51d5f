"""Reads the bodies of answers, whatever their shape: ids, and the error if there is one.

Cloud: `{"error": {message, code, error_data: {details}}}`; v1: `{"errors": [{code, title, details}]}` (Meta, error
codes; On-Premises webhooks). Pure; any bytes are safe.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from pipeline.whatsapp.codes import code_row

ANSWER_BYTES_MAX: Final = 256 * 1024
"""Larger bodies are no answer of this API and are not parsed; the HTTP status speaks alone."""
ID_CHARS_MAX: Final = 512
"""Ids are documented up to 128 characters (Meta, messages reference); longer than this is not taken for one."""
ERRORS_READ_MAX: Final = 16
CODE_MAX: Final = 2**31 - 1


class ApiError(NamedTuple):
    """What an error body says.

    Attributes:
        code: Meta's code, None if there is none.
        text: Title or message, then the details; may be empty.
        is_transient: Graph's own opinion that trying again may help.
    """

    code: int | None
    text: str
    is_transient: bool = False


def parse_body(body: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer, None if it is anything else."""
    if not body or len(body) > ANSWER_BYTES_MAX:
        return None
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def error_in(document: dict[str, Any] | None) -> ApiError | None:
    """The error in a body: `error`, else the first of `errors` whose code is known, else the first; None without."""
    if document is None:
        return None
    error = document.get("error")
    if isinstance(error, dict):
        return _read(error)
    if isinstance(error, str) and error:
        return ApiError(None, error)
    errors = document.get("errors")
    if not isinstance(errors, list):
        return None
    read = [_read(entry) for entry in errors[:ERRORS_READ_MAX] if isinstance(entry, dict)]
    known = (entry for entry in read if entry.code is not None and code_row(entry.code) is not None)
    return next(known, read[0] if read else None)


def first_of(value: Any) -> dict[str, Any]:
    """The first object of a list of objects, or an empty one."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def an_id(value: Any) -> str | None:
    """The value if it can be an id of a message or a person, else None."""
    return value if isinstance(value, str) and 0 < len(value) <= ID_CHARS_MAX else None


def a_code(value: Any) -> int | None:
    """A code written as a number or as digits; None for what no code can be."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= CODE_MAX else None


def _read(error: dict[str, Any]) -> ApiError:
    data = error.get("error_data")
    details = data.get("details") if isinstance(data, dict) else error.get("details")
    parts = [part for part in (error.get("message", error.get("title")), details) if isinstance(part, str) and part]
    return ApiError(a_code(error.get("code")), ": ".join(parts), error.get("is_transient") is True)
