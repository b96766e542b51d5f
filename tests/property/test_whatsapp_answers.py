"""Properties of the reading of answers and failures: total on any bytes, and careful with secrets."""

from __future__ import annotations

import math
from typing import Any, Literal

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.whatsapp.answer import Kind, Outcome, classify, classify_failure
from pipeline.whatsapp.codes import CODES
from pipeline.whatsapp.detail import DETAIL_CHARS_MAX
from pipeline.whatsapp.retry_after import RETRY_AFTER_S_MAX

NAMES = st.sampled_from(
    [
        *("error", "errors", "messages", "contacts", "meta", "id", "wa_id", "code", "message", "title", "details"),
        *("error_data", "developer_message", "message_status", "is_transient"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9)
VALUES = st.recursive(
    SCALARS | st.sampled_from(sorted(CODES)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)
BODIES = st.binary(max_size=64) | st.dictionaries(NAMES, VALUES, max_size=4).map(orjson.dumps)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "x-ratelimit-reset", "x-ratelimit-remaining", "X-Business-Use-Case-Usage", "Date"]),
    st.just("0")
    | st.text(max_size=20)
    | st.integers().map(str)
    | VALUES.map(lambda value: orjson.dumps(value).decode()),
)
STATUSES = st.integers(0, 999) | st.sampled_from([200, 201, 400, 401, 429, 500, 502, 503])


def is_outcome(outcome: Outcome) -> bool:
    """Whether an outcome keeps its promises: bounded detail, bounded waits, an id only for what was accepted."""
    waits = [wait for wait in (outcome.retry_after_s, outcome.delay_s) if wait is not None]
    return (
        (outcome.detail is None or 0 < len(outcome.detail) <= DETAIL_CHARS_MAX)
        and isinstance((outcome.detail or "").encode(), bytes)
        and (outcome.message_id is not None) == (outcome.kind is Kind.ACCEPTED)
        and all(math.isfinite(wait) and wait >= 0 for wait in waits)
        and (outcome.retry_after_s or 0) <= RETRY_AFTER_S_MAX
    )


@given(status=STATUSES, headers=HEADERS, body=BODIES)
@settings(max_examples=250, deadline=None)
def test_classify_is_total(status: int, headers: dict[str, str], body: bytes) -> None:
    """Any status, headers and bytes become an outcome, never an exception."""
    outcome = classify(status, headers, body, 1_795_300_000.0)
    assert is_outcome(outcome)
    assert outcome.http_status == status
    assert outcome.kind is not Kind.NOT_SENT


@given(code=st.sampled_from(sorted(CODES)), status=st.integers(400, 599))
@settings(max_examples=100, deadline=None)
def test_a_permanent_code_is_never_tried_again(code: int, status: int) -> None:
    """A code that refuses for good does so whatever HTTP status brings it."""
    body = orjson.dumps({"error": {"message": "m", "code": code}})
    told = {classify(each, {}, body, 0.0).kind for each in (status, 400) if each != code}
    if CODES[code].disposition in ("reject", "template_unusable", "suppress"):
        assert told <= {Kind.REFUSED}


@given(
    token=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", min_size=30, max_size=200),
    before=st.text(max_size=30),
    status=st.sampled_from([200, 400, 401, 503]),
    as_json=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_no_token_in_the_detail(token: str, before: str, status: int, as_json: bool) -> None:
    """An access token that the answer repeats never reaches the detail."""
    text = f"{before} EAA{token} rest"
    body = orjson.dumps({"error": {"message": text, "code": 190}}) if as_json else text.encode()
    assert f"EAA{token[:20]}" not in (classify(status, {}, body, 0.0).detail or "")


FAILURES: list[BaseException] = [
    TimeoutError(),
    ConnectionResetError(104, "Connection reset by peer"),
    ConnectionRefusedError(111, "refused"),
    OSError("\ud800 half"),
    RuntimeError({"not": "text"}),
    ValueError("x" * 5_000),
]


@given(stage=st.sampled_from(["connect", "write", "read"]), exc=st.sampled_from(FAILURES))
def test_failures_are_total(stage: Literal["connect", "write", "read"], exc: Any) -> None:
    """Any exception at any stage becomes an outcome: not sent before a connection stood, else unknown."""
    outcome = classify_failure(stage, exc)
    assert is_outcome(outcome)
    is_refused = isinstance(exc, ConnectionRefusedError)
    assert outcome.kind is (Kind.NOT_SENT if stage == "connect" or is_refused else Kind.UNKNOWN)
