"""Failures without an answer, the order of trust, details; recorded answers are in tests/contract/whatsapp."""

from __future__ import annotations

import socket
import ssl
from typing import Literal

import pytest

from pipeline.whatsapp.answer import KIND_OF, Kind, classify, classify_failure
from pipeline.whatsapp.code_row import Disposition
from pipeline.whatsapp.codes import CODES, WITHOUT_A_ROW, code_row
from pipeline.whatsapp.detail import DETAIL_CHARS_MAX, clean
from pipeline.whatsapp.error_body import ANSWER_BYTES_MAX


@pytest.mark.parametrize(
    ("stage", "exc", "kind"),
    [
        ("connect", TimeoutError("connect timed out"), Kind.NOT_SENT),
        ("connect", ConnectionResetError(104, "reset"), Kind.NOT_SENT),
        ("write", ConnectionRefusedError(111, "refused"), Kind.NOT_SENT),
        ("write", socket.gaierror(-2, "Name or service not known"), Kind.NOT_SENT),
        ("write", ssl.SSLCertVerificationError("self-signed"), Kind.NOT_SENT),
        ("write", ConnectionResetError(104, "reset"), Kind.UNKNOWN),
        ("write", BrokenPipeError(32, "Broken pipe"), Kind.UNKNOWN),
        ("read", TimeoutError(), Kind.UNKNOWN),
        ("read", ConnectionResetError(104, "reset"), Kind.UNKNOWN),
    ],
)
def test_failure_by_stage(stage: Literal["connect", "write", "read"], exc: BaseException, kind: Kind) -> None:
    """Nothing left before a connection stood; after that nobody can tell."""
    outcome = classify_failure(stage, exc)
    assert outcome.kind is kind
    assert outcome.detail is not None
    assert outcome.detail.startswith(f"{stage}: {type(exc).__name__}")
    assert outcome.http_status is None


def test_failure_detail_hides_tokens() -> None:
    """A token in the text of an exception does not reach the detail."""
    outcome = classify_failure("read", OSError("Authorization: Bearer abcdefgh12345678 refused"))
    assert "abcdefgh12345678" not in (outcome.detail or "")


def test_oversized_body_goes_by_status() -> None:
    """A body larger than any answer of the API is not parsed."""
    body = b'{"messages":[{"id":"wamid.1"}],"pad":"' + b"x" * ANSWER_BYTES_MAX + b'"}'
    assert classify(200, {}, body, 0.0).kind is Kind.UNKNOWN
    assert classify(503, {}, body, 0.0).kind is Kind.OVERLOADED


def test_every_disposition_has_a_kind() -> None:
    """No row of the code table leads nowhere."""
    assert set(KIND_OF) == set(Disposition)
    assert {row.disposition for row in CODES.values()} <= set(KIND_OF)


def test_rows_are_whole() -> None:
    """Each row says what it means and where that is published, and waits only where waiting helps."""
    for code, row in CODES.items():
        assert row.code == code
        assert row.meaning
        assert row.source
        assert row.delay_s is None or row.delay_s > 0


def test_codes_without_a_row_have_none() -> None:
    """What is listed as left out is really left out, with a reason."""
    for codes, reason in WITHOUT_A_ROW.items():
        assert reason
        assert all(code_row(int(code)) is None for part in codes.split() for code in part.split("-"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  two\r\n lines\x00 ", "two lines"),
        ("<html><style>b{}</style><body>Bad <b>Gateway</b></body></html>", "Bad Gateway"),
        ("token=abcdefgh1234 refused", "token=[hidden] refused"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: Bearer [hidden]"),
        ("key eyJhbGciOiJIUzI1NiJ9.abc.def", "key [hidden]"),
        ("key " + "a1" * 30, "key [hidden]"),
        ("message wamid." + "A1" * 40, "message wamid." + "A1" * 40),
        ("Error validating access token: Something expired", "Error validating access token: Something expired"),
        ("half a \ud800 pair", "half a ? pair"),
        ("", None),
        ("<p></p>", None),
    ],
)
def test_clean(text: str, line: str | None) -> None:
    """A detail is one line, without mark-up and secrets; ids of messages stay."""
    assert clean(text) == line


def test_clean_is_short() -> None:
    """A detail has at most 500 characters."""
    assert len(clean("word " * 1_000) or "") == DETAIL_CHARS_MAX
