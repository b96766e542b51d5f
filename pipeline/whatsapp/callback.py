"""`biz_opaque_callback_data`: what goes along with a message and comes back with its statuses (Meta, status webhooks).

`<request_id>:<attempt>`; where a message is traced, `:<traceparent>` follows, by which its statuses are found to belong
to its trace: no header of a webhook tells. Pure; any text is safe.
"""

from __future__ import annotations

import re
from typing import Any, Final

CALLBACK_CHARS_MAX: Final = 512
REQUEST_ID_CHARS_MAX: Final = 128
ATTEMPT_DIGITS_MAX: Final = 9
# W3C trace context, version 00: no attempt looks like that.
_TRACE: Final = re.compile(r":([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})\Z")


def callback_data(request_id: str, attempt: int, trace: bytes | None = None) -> str:
    """Write it; at most 195 characters.

    Args:
        trace: W3C trace context of the attempt; None: it is not traced.
    """
    plain = f"{request_id}:{attempt}"
    return plain if trace is None else f"{plain}:{trace.decode()}"


def callback_of(value: Any) -> tuple[str | None, int | None]:
    """Request id and attempt number that it was written with.

    The request id may contain colons itself. Both are None for a value that the sender cannot have written: other
    programs may send from the same account.
    """
    if not isinstance(value, str) or len(value) > CALLBACK_CHARS_MAX:
        return None, None
    request_id, colon, attempt = _TRACE.sub("", value).rpartition(":")
    is_number = attempt.isascii() and attempt.isdigit() and len(attempt) <= ATTEMPT_DIGITS_MAX
    if not colon or not is_number or not 0 < len(request_id) <= REQUEST_ID_CHARS_MAX:
        return None, None
    return request_id, int(attempt)


def trace_in(value: Any) -> bytes | None:
    """W3C trace context of the attempt; None: it was not traced, or somebody else wrote this."""
    if not isinstance(value, str) or len(value) > CALLBACK_CHARS_MAX:
        return None
    found = _TRACE.search(value)
    return found[1].encode() if found is not None else None
