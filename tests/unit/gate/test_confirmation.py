"""The answer to an opt-out: made once, let through by the revoke it answers, and by nothing that only looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import rfc3339
from pipeline.gate.item import Out
from pipeline.records.codec import check
from pipeline.records.confirmation import VALID_MS
from pipeline.records.request import Request
from pipeline.streams.partition import partition_of
from tests.unit.gate import making
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, OTHER, PARTITIONS, Tables, body, item

TEXTS = {"default": "You will hear no more from us.", "de": "Sie hören nichts mehr von uns."}
POLICY = {"opt_out_confirmation": TEXTS}


def stop(event: str = "e-9", **fields: Any) -> dict[str, Any]:
    """A STOP word as the ingress writes it."""
    evidence = {"method": "keyword", "actor": "user", "source": f"wamid.{event}", "reference": event}
    return making.update(
        **{
            "update_id": f"in-{event}", "action": "revoke", "categories": ["*"], "at": rfc3339(NOW_MS),
            "evidence": evidence, "number": NUMBER, "language": "en", **fields,
        }
    )  # fmt: skip


def answers(outs: list[Out]) -> list[dict[str, Any]]:
    """The requests among what is written."""
    return [body(out) for out in outs if out.topic == "outbound-requests"]


def opened(**policy: Any) -> Tables:
    """Tables of a gate that answers, with Ada's window open."""
    tables = Tables(policy=POLICY | policy)
    tables.inbound.apply(item("inbound", making.message_event()))
    return tables


def heard(tables: Tables, **fields: Any) -> dict[str, Any]:
    """The one request that answers a STOP."""
    [request] = answers(tables.updates.apply(item("update", stop(**fields))))
    return request


def test_an_opt_out_is_answered_through_the_window_it_opened() -> None:
    """The request is a good one, of category service, from the number that was written to, and is admitted."""
    tables = opened()
    outs = tables.updates.apply(item("update", stop()))
    [out] = [one for one in outs if one.topic == "outbound-requests"]
    request = check(Request, body(out))
    assert (request.from_, request.to, request.category) == (NUMBER, ADA, "service")
    assert request.message == {"type": "text", "text": {"body": TEXTS["default"]}}
    assert request.expires_at == NOW_MS + VALID_MS
    assert (out.key, out.partition) == (ADA, partition_of(ADA, PARTITIONS))
    assert tables.outcome(body(out))["type"] == "queued"
    assert tables.outcome(making.request(category="service", message=making.text()))["reason"] == "consent_withdrawn"


def test_the_answer_is_in_the_language_of_the_word() -> None:
    """A language without a text of its own gets the default; without one there is no answer."""
    assert heard(opened(), language="de")["message"]["text"]["body"] == TEXTS["de"]
    assert heard(opened(), language="fr")["message"]["text"]["body"] == TEXTS["default"]
    german_only = opened(opt_out_confirmation={"de": TEXTS["de"]})
    assert answers(german_only.updates.apply(item("update", stop()))) == []


def test_an_opt_out_merged_again_asks_for_the_same_answer() -> None:
    """Read twice after a crash, it makes the same request: the sender knows it by its id. A merge in hindsight none."""
    tables = opened()
    assert heard(tables) == heard(tables)
    assert answers(tables.updates.apply(item("remerge", stop()))) == []


def test_who_stopped_already_gets_no_second_answer() -> None:
    """A second STOP says nothing new."""
    tables = opened()
    heard(tables)
    second = stop("e-10", at=rfc3339(NOW_MS + 2000))
    assert answers(tables.updates.apply(item("update", second))) == []


def evidence(**fields: Any) -> dict[str, Any]:
    """The evidence of `stop`, changed."""
    return {"evidence": {**stop()["evidence"], **fields}}


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "resume"}, {"number": None}, {"number": OTHER}, {"number": "999"}, {"update_id": "in-e-9-user"},
        evidence(method="preference"), evidence(method="call"), evidence(actor="business"), evidence(reference=None),
        {"at": rfc3339(NOW_MS - VALID_MS)}, {"business": "nobody"},
    ],
)  # fmt: skip
def test_only_a_persons_own_new_message_is_answered(fields: dict[str, Any]) -> None:
    """No answer to what came otherwise, to another business's number, long ago, or as a copy for another id."""
    assert answers(opened().updates.apply(item("update", stop(**fields)))) == []


def test_a_tapped_button_is_answered() -> None:
    """A button is the person's own message, too."""
    assert heard(opened(), **evidence(method="button"))["category"] == "service"


def test_off_by_default() -> None:
    """Without a text nothing is answered."""
    assert answers(Tables().updates.apply(item("update", stop()))) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"request_id": "opt-out-1"},
        {"message": {"type": "text", "text": {"body": "Are you sure? 50 % off!"}}},
        {"message": {"type": "text", "text": {"body": TEXTS["default"], "preview_url": True}}},
        {"not_before": rfc3339(NOW_MS + 60_000)},
    ],
)
def test_a_request_that_only_looks_like_the_answer_is_rejected(fields: dict[str, Any]) -> None:
    """Another id, another text, a date of its own: the opt-out holds."""
    tables = opened()
    forged = {**heard(tables), **fields}
    assert tables.outcome(forged)["reason"] == "consent_withdrawn"


def test_the_answer_is_for_one_person_one_number_one_opt_out_and_some_minutes() -> None:
    """The right id and text do not help against another opt-out, from another number, or later."""
    tables = opened()
    request = heard(tables)
    del request["expires_at"]
    assert tables.outcome(request, now_ms=NOW_MS + VALID_MS - 1)["type"] == "queued"
    assert tables.outcome(request, now_ms=NOW_MS + VALID_MS)["reason"] == "consent_withdrawn"
    assert tables.outcome({**request, "category": "marketing", "message": making.template()})["type"] == "rejected"
    sibling = opened()
    sibling.updates.apply(item("update", stop(number=None)))
    assert sibling.outcome(request)["reason"] == "consent_withdrawn"
    tables.updates.apply(item("update", stop("e-11", at=rfc3339(NOW_MS + 1000))))
    assert tables.outcome(request)["reason"] == "consent_withdrawn"


@pytest.mark.parametrize("method", ["call", "preference", "other"])
def test_a_revoke_of_another_kind_lets_nothing_through(method: str) -> None:
    """An operator's or WhatsApp's revoke is answered by nothing, whatever id a request bears."""
    tables = opened()
    request = heard(opened())
    tables.updates.apply(item("update", stop(**evidence(method=method))))
    assert tables.outcome(request)["reason"] == "consent_withdrawn"
