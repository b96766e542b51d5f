"""Statuses prove what became of a POST without an answer; the policy has its turn only when they flow without it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.clock import parse_rfc3339_ms
from pipeline.sender.evidence import StatusIndex
from pipeline.sender.unknown import verdict

NUMBER, TO = "200000000000001", "15550109999"
ATTEMPT_MS = parse_rfc3339_ms("2026-11-22T10:00:00.000Z")


def _status(**fields: Any) -> bytes:
    event = {
        "type": "status", "at": "2026-11-22T10:00:01.000Z", "number": NUMBER, "recipient": TO, "message_id": "wamid.1",
        "status": "sent", "request_id": None, **fields,
    }  # fmt: skip
    return orjson.dumps(event)


def _find(*statuses: bytes, known: frozenset[str] = frozenset()) -> str | None:
    index = StatusIndex()
    for status in statuses:
        index.apply(status)
    proof = index.find(NUMBER, "r1", TO, ATTEMPT_MS, known)
    return proof.message_id if proof else None


@pytest.mark.parametrize("status", ["sent", "delivered", "read", "failed"])
def test_any_status_of_the_request_is_proof(status: str) -> None:
    """Callback data names the request: whatever became of the message, the API had taken it."""
    assert _find(_status(request_id="r1", status=status, at="2026-11-22T09:00:00.000Z")) == "wamid.1"


def test_statuses_of_other_requests_prove_nothing() -> None:
    """Callback data of another request is no proof, even for the same person."""
    assert _find(_status(request_id="r2")) is None


@pytest.mark.parametrize("request_id", ["r1", None])
def test_statuses_of_other_numbers_prove_nothing(request_id: str | None) -> None:
    """Ids are the number's own, and another number may write to the same person."""
    assert _find(_status(request_id=request_id, number="200000000000002")) is None


def test_without_callback_data_a_sent_to_the_person_is_proof() -> None:
    """On v1 a `sent` to that person, stamped no earlier than the attempt less 5 s, that no settlement knows."""
    assert _find(_status()) == "wamid.1"
    assert _find(_status(at="2026-11-22T09:59:56.000Z")) == "wamid.1"
    assert _find(_status(at="2026-11-22T09:59:54.000Z")) is None
    assert _find(_status(status="delivered")) is None
    assert _find(_status(recipient="15550100000")) is None
    assert _find(_status(), known=frozenset({"wamid.1"})) is None


@pytest.mark.parametrize("raw", [b"", b"not json", b"{}", _status(at="yesterday"), _status(number=None)])
def test_unreadable_events_are_passed_over(raw: bytes) -> None:
    """Nothing on the topic can stop the reader."""
    assert _find(raw, _status(request_id="r1")) == "wamid.1"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "wait"),
        ({"newest_status_ms": ATTEMPT_MS + 31_000}, "policy"),
        ({"newest_status_ms": ATTEMPT_MS + 30_000}, "wait"),
        ({"waited_s": 60.0}, "policy"),
        ({"waited_s": 59.0}, "wait"),
        ({"now_ms": ATTEMPT_MS + 100_000}, "give_up"),
    ],
    ids=["young", "statuses-flow", "not-later", "twice-the-wait", "almost", "expired"],
)
def test_when_the_policy_decides(fields: dict[str, Any], expected: str) -> None:
    """The policy applies once later statuses were seen without ours, or after twice the wait; at expiry it is over."""
    usual = {
        "now_ms": ATTEMPT_MS, "expires_ms": ATTEMPT_MS + 100_000, "waited_s": 10.0, "wait_s": 30.0,
        "attempt_ms": ATTEMPT_MS, "newest_status_ms": 0,
    }  # fmt: skip
    assert verdict(**{**usual, **fields}) == expected
