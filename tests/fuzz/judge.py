"""The promises that every input must leave whole: nothing is raised but the named errors, and results are bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import orjson

from pipeline.records.inbound import InboundEvent
from pipeline.whatsapp.answer import Kind, classify
from pipeline.whatsapp.bodies import check_message
from pipeline.whatsapp.optout import opt_out_of
from pipeline.whatsapp.profiles import PROFILES
from pipeline.whatsapp.webhooks import WebhookError, parse_webhook
from tests.fuzz.cases import Case
from tests.property.test_whatsapp_answers import is_outcome
from tests.property.test_whatsapp_bodies import is_report

NOW_S: Final = 1_795_300_000.0
RECEIVED_AT: Final = "2026-11-22T10:00:00.000Z"
RECIPIENTS: Final = ("15550109999", "US.13491208655302741918")


def answer(case: Case) -> None:
    """Any answer becomes an outcome that keeps its promises."""
    outcome = classify(case.status, case.headers, case.content, NOW_S)
    assert is_outcome(outcome), outcome
    assert outcome.http_status == case.status
    assert outcome.kind is not Kind.NOT_SENT, "an answer came, so the request had left"


def message(case: Case) -> None:
    """Any message is judged in a few short lines; what passes can be written for whoever may get it."""
    for name, profile in PROFILES.items():
        problems = check_message(case.content, name)
        assert is_report(problems), (name, problems)
        if not problems:
            for to in RECIPIENTS:
                body = orjson.loads(profile.render(case.content, to, "r-1:1"))
                assert body["type"] == case.content["type"]


def webhook(case: Case) -> None:
    """Any bytes become records of the inbound topic, or a `WebhookError`."""
    try:
        events = parse_webhook(case.content, received_at=RECEIVED_AT, number="7")
    except WebhookError:
        return
    for event in events:
        InboundEvent.model_validate(orjson.loads(orjson.dumps(event)))
        opt_out_of(event, stops={"stop": "en"}, starts={"start": "en"}, payloads={"STOP": {"category": "marketing"}})


Judges = Mapping[str, Callable[[Case], None]]
JUDGES: Final[Judges] = {"answer": answer, "message": message, "webhook": webhook}
"""Judge of each kind of case; raises what is wrong."""
