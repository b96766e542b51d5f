"""What became of a POST: its answer, or the lack of one, as one `Outcome`.

The order of trust: the error code in the body, then the bodies of vendors' gateways, then the HTTP status, then the
exception. Meta asks for codes first (Meta, error codes); 360dialog reports its own rate limit as HTTP 400 with a body
of its own; a 503 may be a proxy's HTML page. Pure and total: any bytes, any status, never an exception. The sender's
event loop calls this once per attempt.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from pipeline.whatsapp.code_row import SCOPES, CodeRow, Disposition, Scope
from pipeline.whatsapp.codes import code_row, may_heal
from pipeline.whatsapp.detail import clean, clean_bytes
from pipeline.whatsapp.error_body import ApiError, an_id, error_in, first_of, parse_body
from pipeline.whatsapp.retry_after import retry_after_s

# A gateway says in its first words what is wrong.
_GATEWAY_TEXT_CHARS: Final = 512


class Kind(StrEnum):
    """What the sender does next."""

    ACCEPTED = "accepted"
    """The API took the message."""
    THROTTLED = "throttled"
    """Too fast: halt the scope, probe, no attempt spent."""
    OVERLOADED = "overloaded"
    """The API is overloaded or not there: halt the host, no attempt spent."""
    TRANSIENT = "transient"
    """Not taken; may be tried again, an attempt is spent."""
    PAIR_LIMITED = "pair_limited"
    """Not taken: too many to this recipient; wait with this recipient only."""
    REFUSED = "refused"
    """Not taken, and never will be."""
    UNKNOWN = "unknown"
    """May have been taken: look for evidence before sending again."""
    NOT_SENT = "not_sent"
    """Nothing of the request left."""
    UNAUTHORISED = "unauthorised"
    """The token is wrong or spent."""
    TOKEN_SPENT = "token_spent"  # noqa: S105 - no secret
    """The same, but there is another token, or one comes: the message goes again with that. Said by the sender."""
    NUMBER_BLOCKED = "number_blocked"
    """The number (or its account) may not send: halt it, tell an operator; until `delay_s` if there is one."""
    MARKETING_PAUSED = "marketing_paused"
    """The number sends no marketing for `delay_s`: too many of its messages were blocked or reported."""
    RECIPIENT_STOPPED = "recipient_stopped"
    """The person stopped marketing messages from this business."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to.

    Attributes:
        kind: What to do next.
        http_status: Of the answer; None if there was none.
        error_code: Meta's code, if the answer held one.
        detail: One line for people, at most 500 characters, without secrets.
        message_id: Given by the API to an accepted message.
        wa_id: The recipient as WhatsApp knows it; may differ from the number asked for.
        retry_after_s: What the server asked for, seconds.
        delay_s: What the code itself asks for, seconds (131049: a day).
        scope: How far the failure reaches; None if only this message is concerned.
    """

    kind: Kind
    http_status: int | None = None
    error_code: int | None = None
    detail: str | None = None
    message_id: str | None = None
    wa_id: str | None = None
    retry_after_s: float | None = None
    delay_s: float | None = None
    scope: Scope | None = None


KIND_OF: Mapping[Disposition, Kind] = {
    Disposition.RETRY: Kind.TRANSIENT,
    Disposition.RETRY_LATER: Kind.TRANSIENT,
    Disposition.THROTTLE: Kind.THROTTLED,
    Disposition.OVERLOAD: Kind.OVERLOADED,
    Disposition.PAIR: Kind.PAIR_LIMITED,
    Disposition.PAUSE_MARKETING: Kind.MARKETING_PAUSED,
    Disposition.STOP_MARKETING: Kind.RECIPIENT_STOPPED,
    Disposition.SUPPRESS: Kind.REFUSED,
    Disposition.AUTHENTICATE: Kind.UNAUTHORISED,
    Disposition.HALT: Kind.NUMBER_BLOCKED,
    Disposition.TEMPLATE_PAUSED: Kind.TRANSIENT,
    Disposition.TEMPLATE_UNUSABLE: Kind.REFUSED,
    Disposition.NEEDS_TEMPLATE: Kind.REFUSED,
    Disposition.CHECK_CONTACT: Kind.REFUSED,
    Disposition.REVIEW: Kind.REFUSED,
    Disposition.REJECT: Kind.REFUSED,
    Disposition.INBOUND_ONLY: Kind.REFUSED,
}
"""Kind of each disposition of the code table."""


class _Verdict(NamedTuple):
    kind: Kind
    scope: Scope | None = None
    delay_s: float | None = None


_THROTTLED: Final = _Verdict(Kind.THROTTLED, "number")
_OVERLOADED: Final = _Verdict(Kind.OVERLOADED, "host")
_BLOCKED: Final = _Verdict(Kind.NUMBER_BLOCKED, "number")
_REFUSED: Final = _Verdict(Kind.REFUSED)
_TRANSIENT: Final = _Verdict(Kind.TRANSIENT)
_UNKNOWN: Final = _Verdict(Kind.UNKNOWN)

# Without a code: what a wrong address, a missing payment or a closed endpoint answers concerns every message of the
# number, so it stops the number instead of refusing one message after the other. Gateways that lost or gave up
# waiting for the server behind them (502, 504; 520, 522 and 524 of a widespread proxy) cannot tell what it did.
# 555: 360dialog's gateway restarts (360dialog, error messages).
_BY_STATUS: Mapping[int, _Verdict] = {
    401: _Verdict(Kind.UNAUTHORISED, "number"),
    402: _BLOCKED,
    403: _BLOCKED,
    404: _BLOCKED,
    405: _BLOCKED,
    407: _BLOCKED,
    408: _TRANSIENT,
    410: _BLOCKED,
    425: _TRANSIENT,
    429: _THROTTLED,
    502: _UNKNOWN,
    503: _OVERLOADED,
    504: _UNKNOWN,
    520: _UNKNOWN,
    522: _UNKNOWN,
    524: _UNKNOWN,
    555: _OVERLOADED,
}


def classify(status: int, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Outcome:
    """Read the answer to a POST of a message.

    Args:
        status: HTTP status, as received.
        headers: Of the answer; names in any case.
        body: As received, at most what the client read of it.
        now_unix_s: Reading of the host's clock, for a `Retry-After` that names a moment.

    Returns:
        The outcome. A 2xx counts as accepted only with a message id; without one, and without an error, nobody can
        tell whether the message was taken (`UNKNOWN`). A 2xx with both an id and an error was taken.
    """
    document = parse_body(body)
    if 200 <= status <= 299 and document is not None:
        accepted = _accepted(status, document)
        if accepted is not None:
            return accepted
    failure = error_in(document)
    verdict = _verdict(status, failure, document)
    return Outcome(
        kind=verdict.kind,
        http_status=status,
        error_code=failure.code if failure is not None else None,
        detail=_detail(status, failure, document, body),
        retry_after_s=retry_after_s(headers, now_unix_s),
        delay_s=verdict.delay_s,
        scope=verdict.scope,
    )


def classify_failure(stage: Literal["connect", "write", "read"], exc: BaseException) -> Outcome:
    """Read the failure of a POST that got no answer.

    Args:
        stage: How far it had come: no connection yet, writing the request, waiting for or reading the answer.
        exc: What ended it.

    Returns:
        `NOT_SENT` if nothing of the request can have left, else `UNKNOWN`: a server may act on a request whose
        answer never arrives, and a write that failed may have been complete.
    """
    never_left = isinstance(exc, ConnectionRefusedError | socket.gaierror | ssl.SSLCertVerificationError)
    kind = Kind.NOT_SENT if stage == "connect" or never_left else Kind.UNKNOWN
    told = [part for part in exc.args if isinstance(part, str) and part][:2]
    return Outcome(kind=kind, detail=clean(f"{stage}: {type(exc).__name__} {' '.join(told)}"))


def _accepted(status: int, document: dict[str, Any]) -> Outcome | None:
    message = first_of(document.get("messages"))
    message_id = an_id(message.get("id"))
    if message_id is None:
        return None
    # held_for_quality_assessment and paused: taken, but held back by template pacing (Meta, template pacing).
    held = message.get("message_status")
    failure = error_in(document)
    if failure is not None:
        detail = clean(failure.text)
    else:
        detail = clean(held) if isinstance(held, str) and held != "accepted" else None
    wa_id = an_id(first_of(document.get("contacts")).get("wa_id"))
    return Outcome(Kind.ACCEPTED, status, failure.code if failure else None, detail, message_id, wa_id)


def _verdict(status: int, failure: ApiError | None, document: dict[str, Any] | None) -> _Verdict:
    code = failure.code if failure is not None else None
    # A code that merely repeats the HTTP status is a gateway's, not one of the v1 codes 400–501.
    row = code_row(code) if code is not None and not (code == status >= 400) else None
    if row is not None:
        return _by_row(status, row)
    by_gateway = _by_gateway(document, failure)
    if by_gateway is not None:
        return by_gateway
    verdict = _by_status(status, has_error=failure is not None)
    may_be_brief = failure is not None and (failure.is_transient or may_heal(failure.code or 0))
    return _TRANSIENT if verdict.kind is Kind.REFUSED and may_be_brief else verdict


def _by_row(status: int, row: CodeRow) -> _Verdict:
    """The row decides; a temporary error that comes as 429 or 503 reaches as far as that status says."""
    if row.disposition is Disposition.RETRY and status in (429, 503):
        return _BY_STATUS[status]
    return _Verdict(KIND_OF[row.disposition], row.scope or SCOPES.get(row.disposition), row.delay_s)


def _by_gateway(document: dict[str, Any] | None, failure: ApiError | None) -> _Verdict | None:
    """360dialog's own errors come as HTTP 400, told apart by their text only (360dialog, error messages)."""
    meta = document.get("meta") if document is not None else None
    said = meta.get("developer_message") if isinstance(meta, dict) else None
    text = said if isinstance(said, str) else failure.text if failure is not None else ""
    text = text[:_GATEWAY_TEXT_CHARS].lower()
    if "rate limit" in text or "too many requests" in text:
        return _THROTTLED
    if isinstance(said, str) and any(word in text for word in ("disabled", "unpaid", "payment", "suspended")):
        return _BLOCKED
    return None


def _by_status(status: int, *, has_error: bool) -> _Verdict:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 200 <= status <= 299:
        return _REFUSED if has_error else _UNKNOWN
    if 300 <= status <= 399:
        return _BLOCKED  # A POST is not sent on to another address: base_url is wrong.
    if 400 <= status <= 499:
        return _REFUSED
    if 500 <= status <= 599:
        return _TRANSIENT
    return _UNKNOWN


def _detail(status: int, failure: ApiError | None, document: dict[str, Any] | None, body: bytes) -> str | None:
    if failure is not None and failure.text:
        return clean(failure.text)
    meta = document.get("meta") if document is not None else None
    said = meta.get("developer_message") if isinstance(meta, dict) else None
    text = clean(said) if isinstance(said, str) else clean_bytes(body)
    return clean(f"HTTP {status}: {text or 'empty body'}")
