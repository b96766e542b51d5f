"""Cloud bodies and the simulator's Cloud answers, judged by Meta's published OpenAPI.

Every valid body case is rendered and must pass; where this pipeline knows more than v23 does, the case is named in
`BEYOND_V23` with the reason.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import orjson
import pytest

from pipeline.simulator.answers import error_body, success_body
from pipeline.simulator.messages import read_message
from pipeline.whatsapp.bodies import check_message
from pipeline.whatsapp.codes import CODES
from pipeline.whatsapp.profiles import PROFILES
from tests.contract.whatsapp.published import EXAMPLES, PUBLISHED, objections
from tests.contract.whatsapp.test_cases import cases

BEYOND_V23 = {
    "interactive_cta_url*": "on Meta's page of service messages, not among the kinds of v23",
    "interactive_location_request": "on Meta's page of service messages, not among the kinds of v23",
    "interactive_order_*": "payments: among the examples of v23, not among its kinds",
    "interactive_contact_info": "on Meta's page of business-scoped user IDs, newer than v23",
    "interactive_catalog_bare": "the picture may be left out by Meta's page of catalog messages",
    "contacts_full": "phones may be CELL, MAIN and IPHONE by the On-Premises reference; v23 has HOME and WORK",
    "template_carousel": "on Meta's page of carousel templates, not among the components of v23",
    "template_card_on_v1": "as template_carousel",
    "template_offer": "on Meta's page of limited-time offers, not among the components of v23",
    "template_button_copy_code": "on Meta's page of coupon templates, not among the buttons of v23",
    "template_button_catalog": "capitals are those of v23's own example, not of its list of buttons",
    "template_button_flow": "among the examples of v23, not among its buttons",
    "template_button_products": "on Meta's page of product templates, not among the buttons of v23",
    "template_buttons": "with a copy-code button",
}
"""Valid body cases, by name or pattern, that v23 refuses, each with the reason."""

# Refused by this pipeline and by the OpenAPI alike: proof that either can say no.
REFUSED_BY_BOTH = {
    *("contacts_none", "contacts_six", "document_both", "image_both", "image_neither", "interactive_action_missing"),
    *("interactive_header_null",),
    *("interactive_body_long", "interactive_button_four", "interactive_button_id_long", "interactive_flow_both"),
    *("interactive_flow_cta_long", "interactive_flow_version", "interactive_footer_long", "interactive_header_long"),
    *("interactive_list_sections_eleven", "interactive_list_too_long", "interactive_product_list_31", "location_url"),
    *("sticker_both", "template_button_index", "template_component_unknown", "template_language_text", "text_misspelt"),
    *("text_number", "type_unknown"),
}

VALID = [case for case in cases("bodies") if not case.values[0]["cloud"]]
NO_MESSAGES = {
    "Send Sample Issue Resolution Template": "a quick reply with a text that is no text",
    "Send typing indicator and read receipt": "no message: the receipt of a received one",
}


def rendered(message: dict[str, Any]) -> Any:
    """The request that goes out for a message."""
    return orjson.loads(PROFILES["cloud"].render(message, "15550109999", "r-1:1"))


def is_beyond(name: str | None) -> bool:
    """Whether a case is named as one that v23 does not know."""
    return any(fnmatchcase(name or "", pattern) for pattern in BEYOND_V23)


@pytest.mark.parametrize("case", VALID)
def test_valid_bodies_pass_the_openapi(case: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """What the gate lets pass is, once rendered, a body of Meta's OpenAPI, but for the cases named as beyond it."""
    found = objections("Message", rendered(case["message"]))
    assert bool(found) == is_beyond(request.node.callspec.id), found


def test_no_exception_without_a_case() -> None:
    """Every exception stands for a case that exists."""
    names = [case.id or "" for case in VALID]
    assert [pattern for pattern in BEYOND_V23 if not any(fnmatchcase(name, pattern) for name in names)] == []


@pytest.mark.parametrize("name", sorted(REFUSED_BY_BOTH))
def test_broken_bodies_do_not_pass(name: str) -> None:
    """A body that breaks a limit of the OpenAPI is refused by it, as it is at the gate."""
    (case,) = (case.values[0] for case in cases("bodies") if case.id == name)
    assert check_message(case["message"], "cloud")
    assert objections("Message", {**case["message"], "messaging_product": "whatsapp", "to": "1"} | INDIVIDUAL)


INDIVIDUAL = {"recipient_type": "individual"}


@pytest.mark.parametrize("missing", ["messaging_product", "recipient_type", "to"])
def test_what_the_sender_fills_in_is_needed(missing: str) -> None:
    """Without a field that only the sender knows no body passes."""
    body = rendered({"type": "text", "text": {"body": "x"}})
    assert objections("Message", body) == []
    del body[missing]
    assert objections("Message", body)


def test_as_published_nothing_would_pass() -> None:
    """The mended places are needed: as published the schemas refuse even Meta's own examples."""
    example = {**EXAMPLES["requests"]["Send Text Message"], "type": "text"}
    assert objections("Message", example) == []
    assert objections("Message", example, schemas=PUBLISHED["schemas"])


def filled(value: Any) -> Any:
    """An example of Meta with its place holders filled in."""
    if isinstance(value, dict):
        return {name: filled(child) for name, child in value.items()}
    if isinstance(value, list):
        return [filled(child) for child in value]
    if isinstance(value, str) and "http(s)://" in value:
        return f"https://example.org/{value.strip('<>').rpartition('/')[2]}"
    holders = {"template-name": "t", "<TEMPLATE_NAME>": "t", "language-and-locale-code": "en", "<HEADER_TYPE>": "text"}
    return holders.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize("name", sorted(EXAMPLES["requests"]))
def test_examples_of_meta_pass_the_gate(name: str) -> None:
    """Every example that Meta publishes is a message to us, but for two that are none."""
    example = EXAMPLES["requests"][name]
    filled_in = {"messaging_product", "recipient_type", "to"}
    message = filled({key: value for key, value in example.items() if key not in filled_in})
    if "type" not in message:
        message["type"] = next((kind for kind in ("text", "interactive") if kind in message), None)
    assert bool(check_message(message, "cloud")) == (name in NO_MESSAGES)


CLOUD_CODES = sorted(code for code, row in CODES.items() if row.shape == "cloud")


@pytest.mark.parametrize("code", CLOUD_CODES)
def test_errors_of_the_simulator_pass_the_openapi(code: int) -> None:
    """The simulator tells every Cloud code as the OpenAPI's error."""
    assert objections("ErrorResponse", orjson.loads(error_body("cloud", code))) == []


@pytest.mark.parametrize("case", VALID)
def test_successes_of_the_simulator_pass_the_openapi(case: dict[str, Any]) -> None:
    """The simulator accepts what the gate lets pass, and says so in the OpenAPI's words, with nothing missing."""
    body = PROFILES["cloud"].render(case["message"], "15550109999", "r-1:1")
    message = read_message("cloud", body)
    assert message.problem is None
    answer = orjson.loads(success_body("cloud", message, "wamid.1"))
    assert objections("MessageResponsePayload", answer) == []
    (example,) = (value for name, value in EXAMPLES["successes"].items() if name == "Example response")
    assert set(answer) == set(example)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ("ErrorResponse", {}),
        ("ErrorResponse", {"error": {"message": "m", "type": "OAuthException", "code": "4"}}),
        ("ErrorResponse", {"error": {"message": "m", "code": 4}}),
        ("MessageResponsePayload", {"messages": [{"id": 7}]}),
        ("MessageResponsePayload", {"messages": [{"id": "wamid.1", "message_status": "sent"}]}),
        ("MessageResponsePayload", {"contacts": {"wa_id": "1"}}),
    ],
)
def test_broken_answers_do_not_pass(schema: str, answer: dict[str, Any]) -> None:
    """An answer of another shape is refused by the schemas that the simulator's answers pass."""
    assert objections(schema, answer)


@pytest.mark.parametrize("name", sorted(EXAMPLES["errors"]))
def test_errors_of_meta_pass_their_own_schema(name: str) -> None:
    """The error examples of Meta are errors to the judge."""
    assert objections("ErrorResponse", EXAMPLES["errors"][name]) == []
