"""The gate's checks of templates, from a request to its event: each reason, and what passes."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline.streams.partition import partition_of
from tests.support.template_values import AT, DEFINED, KEY, SYNCED, definition, synced, told
from tests.unit.gate import making
from tests.unit.gate.making import NOW_MS, NUMBER, OTHER, Tables

SECOND_MS = 1000
FOOTER = {"type": "FOOTER", "text": "Reply STOP to unsubscribe"}
REPLY = {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "No more"}]}


def tables(*records: tuple[str, dict[str, Any]], **policy: Any) -> Tables:
    """Tables of a gate whose cloud number has an account, and in which Ada allows everything."""
    number = {
        "base_url": "https://api.invalid", "token_env": "TOKEN", "business": "acme", "profile": "cloud",
        "partitions": [4], "account": "300000000000001",
    }  # fmt: skip
    other = {**number, "account": "", "partitions": [6]}
    made = Tables(numbers={NUMBER: number, OTHER: other}, policy={"require_templates": True, **policy})
    made.grant(categories=["marketing", "utility", "authentication"])
    for key, value in records:
        made.account.put(key, value)
    return made


def request(*components: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A request with the template of one parameter, filled in."""
    filled = components or ({"type": "body", "parameters": [{"type": "text", "text": "4711"}]},)
    message = making.template()
    message["template"]["components"] = list(filled)
    return making.request(**{"message": message, **fields})


def ending(made: Tables, value: dict[str, Any], **when: Any) -> tuple[str, str | None, str]:
    """Type, reason and detail of its event."""
    event = made.outcome(value, **when)
    return event["type"], event["reason"], event["detail"] or ""


def test_an_approved_template_that_is_filled_in_is_admitted() -> None:
    """Known, approved, of its category, with its parameters: nothing stands in the way."""
    assert ending(tables((DEFINED, definition())), request())[:2] == ("queued", None)


def test_an_unknown_template_is_refused_with_what_to_do() -> None:
    """Not registered: `template_unknown`, told apart by whether the account was ever synced, and before consent."""
    kind, reason, detail = ending(tables(), request())
    assert (kind, reason) == ("rejected", "template_unknown")
    assert "wapipe templates sync" in detail
    kind, reason, detail = ending(tables((SYNCED, synced())), request())
    assert (kind, reason) == ("rejected", "template_unknown")
    assert "no template order_shipped/en_US in account 300000000000001" in detail
    assert ending(Tables(policy={"require_templates": True}), request())[1] == "template_unknown"


def test_a_number_without_an_account_knows_no_templates() -> None:
    """The detail names the setting that is missing."""
    made = tables((DEFINED, definition()))
    assert f"numbers.{OTHER}.account is not set" in ending(made, request(**{"from": OTHER}))[2]


def test_an_empty_registry_passes_if_templates_are_not_required() -> None:
    """Per account, until a sync has found templates; what webhooks told of one counts from the first one on."""
    relaxed = tables(require_templates=False)
    assert ending(relaxed, request())[0] == "queued"
    relaxed.account.put(f"{KEY}x", told(status="PAUSED", status_at=AT))
    assert ending(relaxed, request())[0] == "queued"
    relaxed.account.put(KEY, told(status="PAUSED", status_at=AT))
    assert ending(relaxed, request())[1] == "template_not_approved"
    filled = tables((SYNCED, synced()), require_templates=False)
    assert ending(filled, request())[1] == "template_unknown"
    assert ending(filled, request(**{"from": OTHER}))[0] == "queued"


@pytest.mark.parametrize("status", ["PAUSED", "DISABLED", "REJECTED", "PENDING", "DELETED"])
def test_a_template_that_is_not_approved_is_refused(status: str) -> None:
    """Its status stands in the detail; upstream may try again later."""
    made = tables((DEFINED, definition(status=status, reason="SCAM")))
    assert ending(made, request()) == (
        "rejected", "template_not_approved", f"template order_shipped/en_US is {status} (SCAM)",
    )  # fmt: skip
    assert made.outcome(request())["retryable"] is True


def test_a_pause_ends_at_its_end() -> None:
    """A pause with an end refuses up to that millisecond, and nothing has to be told for it to be over."""
    paused = told(status="PAUSED", status_at="2026-11-22T09:30:00.000Z", until="2026-11-22T10:00:01.000Z")
    made = tables((DEFINED, definition()), (KEY, paused))
    assert ending(made, request(), now_ms=NOW_MS + SECOND_MS - 1)[1] == "template_not_approved"
    assert ending(made, request(), now_ms=NOW_MS + SECOND_MS)[0] == "queued"


@pytest.mark.parametrize("category", ["marketing", "authentication", "service"])
def test_the_category_must_be_the_template_s(category: str) -> None:
    """A grant for the category that a request claims is not one for what Meta says the template is."""
    made = tables((DEFINED, definition()))
    made.inbound.apply(making.item("inbound", making.message_event()))
    kind, reason, detail = ending(made, request(category=category))
    assert (kind, reason) == ("rejected", "category_mismatch")
    assert detail == f"template order_shipped/en_US is utility, the request says {category}"


def test_a_category_changed_by_meta_counts_at_once() -> None:
    """What was utility yesterday needs consent for marketing today."""
    moved = told(category="MARKETING", category_at="2026-11-22T09:59:00.000Z")
    made = tables((DEFINED, definition(FOOTER)), (KEY, moved))
    assert ending(made, request())[1] == "category_mismatch"


def test_parameters_that_do_not_fit_are_invalid() -> None:
    """The detail names where; nothing that the API would refuse costs a token."""
    made = tables((DEFINED, definition()))
    kind, reason, detail = ending(made, request({"type": "body", "parameters": []}))
    assert (kind, reason) == ("rejected", "invalid")
    assert detail == "message.template.components.body: the template takes 1 parameters, 0 given"
    assert ending(tables((KEY, told(status="APPROVED", status_at=AT))), making.request())[0] == "queued"


def test_template_checks_come_before_consent_and_after_the_window() -> None:
    """Who never consented hears of the template first, as the design's order has it."""
    made = tables((DEFINED, definition(status="DISABLED")))
    nobody = request(to="15550100000")
    home = partition_of("15550100000", making.PARTITIONS)
    assert ending(made, nobody, partition=home, key=b"15550100000")[1] == "template_not_approved"
    assert ending(made, request(category="service"))[1] == "window_closed"


def marketing(*components: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A marketing template of these components."""
    return DEFINED, definition(*(components or ({"type": "BODY", "text": "Autumn is here."},)), category="MARKETING")


OFFER = {"category": "marketing", "message": making.template()}


def test_marketing_without_a_way_out_is_refused_if_the_policy_says_so() -> None:
    """`reject`: its own reason; `off`: nothing; other categories need none."""
    made = tables(marketing(), require_opt_out_in_marketing="reject")
    kind, reason, detail = ending(made, making.request(**OFFER))
    assert (kind, reason) == ("rejected", "template_without_opt_out")
    assert "wapipe templates lint" in detail
    assert ending(tables(marketing(), require_opt_out_in_marketing="off"), making.request(**OFFER))[0] == "queued"
    utility = (DEFINED, definition({"type": "BODY", "text": "On its way."}))
    assert ending(tables(utility, require_opt_out_in_marketing="reject"), making.request())[0] == "queued"


def test_every_kind_of_way_out_counts() -> None:
    """A text that names a STOP word, a quick reply that is mapped, and a payload of the message that is."""
    policy: dict[str, Any] = {"require_opt_out_in_marketing": "reject", "opt_out_payloads": {"STOP_OFFERS": {}}}
    assert ending(tables(marketing(FOOTER), **policy), making.request(**OFFER))[0] == "queued"
    mapped = {**policy, "opt_out_payloads": {"No more": {}}}
    assert ending(tables(marketing(REPLY), **mapped), making.request(**OFFER))[0] == "queued"
    made = tables(marketing(REPLY), **policy)
    assert ending(made, making.request(**OFFER))[1] == "template_without_opt_out"
    payload = {"type": "payload", "payload": "STOP_OFFERS"}
    sent = {"type": "button", "sub_type": "quick_reply", "index": "0", "parameters": [payload]}
    assert ending(made, request(sent, category="marketing"))[0] == "queued"
    made.account.put(*marketing(FOOTER))
    assert ending(made, making.request(**OFFER))[0] == "queued", "a new definition is looked at anew"


def test_a_warning_comes_once_per_template_and_every_message_is_counted() -> None:
    """`warn`: the messages go, one line tells of the template, a metric of how many."""
    made = tables(marketing())
    with capture_logs() as lines:
        for _ in range(3):
            assert ending(made, making.request(**OFFER))[0] == "queued"
    [line] = [line for line in lines if line["event"] == "template_without_opt_out"]
    assert (line["name"], line["language"]) == ("order_shipped", "en_US")
    assert b"wapipe_marketing_without_opt_out_total 3.0" in made.metrics.exposition()


def test_a_message_of_no_template_is_not_looked_up() -> None:
    """Free-form messages and unreadable ones meet the other checks only."""
    made = tables()
    assert ending(made, making.request(message=making.text()))[1] == "template_required"
    for broken in ({}, {"type": "template"}, {"type": "template", "template": {"name": 3, "language": {"code": []}}}):
        assert ending(made, making.request(message=broken))[1] == "invalid"
