"""Recorded answers, webhooks and bodies, one file per case: adding a case is adding a file.

`answers/`: status, headers, body (`pad`: and so many blanks) and the fields that the outcome must have (clock reading
1795300000).
`webhooks/`: body, number of the path and the events that it must become, or the error; `states`: what it must tell for
`account-state`, about the number that it shows. `bodies/`: a message and the
beginnings of the problems that each profile must find. `known_codes.json`: every published error code with the HTTP
statuses that it comes with and what it must lead to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.records.schemas import MODELS
from pipeline.whatsapp.answer import Kind, classify
from pipeline.whatsapp.bodies import TYPES, check_message
from pipeline.whatsapp.codes import CODES
from pipeline.whatsapp.interactive_body import V1_KINDS
from pipeline.whatsapp.news import merge, news_of
from pipeline.whatsapp.profiles import PROFILES
from pipeline.whatsapp.webhooks import WebhookError, parse_webhook

HERE = Path(__file__).parent
NUMBER = "200000000000001"
NOW_S = 1_795_300_000.0
RECEIVED_AT = "2026-11-22T10:00:00.000Z"
EVENT_FIELDS = {
    *("event_id", "type", "at", "received_at", "number", "recipient", "user_id", "message_id", "status"),
    *("request_id", "attempt", "error_code", "errors", "pricing", "profile", "body"),
}
ALL_KINDS = V1_KINDS | {
    *("cta_url", "location_request_message", "call_permission_request"),
    *("order_details", "order_status", "request_contact_info"),
}
KNOWN_CODES: list[dict[str, Any]] = orjson.loads((HERE / "known_codes.json").read_bytes())


def cases(folder: str) -> list[Any]:
    """All cases of a folder, as parameters named after their files."""
    files = sorted((HERE / folder).glob("*.json"))
    assert files, f"no cases in {folder}"
    return [pytest.param(orjson.loads(file.read_bytes()), id=file.stem) for file in files]


def raw(body: Any) -> bytes:
    """The bytes of a case's body: a string stands for itself, anything else for its JSON."""
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


@pytest.mark.parametrize("case", cases("answers"))
def test_answer_becomes_outcome(case: dict[str, Any]) -> None:
    """An answer leads to the outcome that its file names."""
    body = raw(case["body"]) + b" " * case.get("pad", 0)
    outcome = classify(case["status"], case["headers"], body, NOW_S)
    found = {name: getattr(outcome, name) for name in case["expect"]}
    assert found == case["expect"], case["promise"]


def test_answers_cover_every_outcome() -> None:
    """There are at least 120 cases, and every kind of outcome that an answer can have is among their promises."""
    found = [parameters.values[0] for parameters in cases("answers")]
    assert len(found) >= 120
    assert {case["expect"].get("kind") for case in found} - {None} == set(Kind) - {Kind.NOT_SENT, Kind.TOKEN_SPENT}
    assert len({case["promise"] for case in found}) == len(found), "each case has a promise of its own"


@pytest.mark.parametrize("case", cases("webhooks"))
def test_webhook_becomes_events(case: dict[str, Any]) -> None:
    """A webhook becomes the events that its file names, with every field of the contract, or the error it names."""
    if "error" in case:
        with pytest.raises(WebhookError, match=case["error"]):
            parse_webhook(raw(case["body"]), received_at=RECEIVED_AT, number=case["number"])
        return
    events = parse_webhook(raw(case["body"]), received_at=RECEIVED_AT, number=case["number"])
    assert [set(event) for event in events] == [EVENT_FIELDS] * len(case["expect"])
    found = [{name: event[name] for name in expected} for event, expected in zip(events, case["expect"], strict=True)]
    assert found == case["expect"], case["promise"]
    assert len({event["event_id"] for event in events}) == len(events)


@pytest.mark.parametrize("case", [case for case in cases("webhooks") if "states" in case.values[0]])
def test_webhook_becomes_state(case: dict[str, Any]) -> None:
    """A webhook tells the states that its file names, each of which makes a record of the contract."""
    events = parse_webhook(raw(case["body"]), received_at=RECEIVED_AT, number=case["number"])
    news = [one for event in events for one in news_of({**event, "number": event["number"] or NUMBER})]
    found = [{"key": one.key, "part": one.part, "fields": one.fields} for one in news]
    assert found == case["states"], case["promise"]
    for one in news:
        MODELS["account-state"].validate_python(merge(None, one))


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("case", cases("bodies"))
def test_body_is_judged(case: dict[str, Any], profile: str) -> None:
    """A message has exactly the problems that its file names for the profile; 360dialog judges like the Cloud API."""
    expected = case["v1" if profile == "v1" else "cloud"]
    found = check_message(case["message"], profile)
    assert len(found) == len(expected), (case["promise"], found)
    assert all(any(problem.startswith(start) for problem in found) for start in expected), (case["promise"], found)


def kind_of(message: dict[str, Any]) -> str | None:
    """What a case is about: the type of its message, for interactive ones the kind; None if it has none that counts."""
    kind, content = message.get("type"), message.get("interactive")
    if kind == "interactive" and isinstance(content, dict):
        return f"interactive {content.get('type')}"
    return kind if isinstance(kind, str) else None


@pytest.mark.parametrize("shape", ["cloud", "v1"])
def test_bodies_cover_every_kind_with_both_verdicts(shape: str) -> None:
    """Each shape has at least 60 cases about what it knows, and every type and kind passes in one and fails in one."""
    kinds = V1_KINDS if shape == "v1" else ALL_KINDS
    known = {kind for kind in TYPES[shape] if kind != "interactive"} | {f"interactive {kind}" for kind in kinds}
    verdicts = [
        (kind, bool(case[shape]))
        for case in (parameters.values[0] for parameters in cases("bodies"))
        if (kind := kind_of(case["message"])) in known
    ]
    assert len(verdicts) >= 60
    assert set(verdicts) == {(kind, is_refused) for kind in known for is_refused in (True, False)}


@pytest.mark.parametrize("known", KNOWN_CODES, ids=lambda known: str(known["code"]))
def test_every_published_code_has_a_row(known: dict[str, Any]) -> None:
    """Every published code leads to what is written for it, with every HTTP status that it is known to come with."""
    row = CODES[known["code"]]
    assert row.shape == known["shape"]
    body = (
        {"error": {"message": "m", "type": "OAuthException", "code": known["code"]}}
        if row.shape == "cloud"
        else {"errors": [{"code": known["code"], "title": "t"}]}
    )
    for status in known["http"]:
        outcome = classify(status, {}, orjson.dumps(body), NOW_S)
        is_down = status == 503 and outcome.kind == "overloaded"
        assert outcome.kind == known["kind"] or (is_down and known["kind"] == "transient")
        assert outcome.error_code == known["code"]


def test_no_row_without_a_published_code() -> None:
    """The table holds no code that is not published."""
    assert set(CODES) == {known["code"] for known in KNOWN_CODES}
