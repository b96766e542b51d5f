"""The simulator's own judgement of bodies: it agrees with the pipeline's cases, and it names the right code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.simulator import strict
from pipeline.simulator.messages import READ, read_message
from pipeline.simulator.parts import Profile
from pipeline.whatsapp.profiles import PROFILES
from tests.unit.test_imports import imports_of

CASES = sorted((Path(__file__).parents[2] / "contract" / "whatsapp" / "bodies").glob("*.json"))
TO = "15550109999"
TEMPLATE = {"name": "order_shipped", "language": {"policy": "deterministic", "code": "en_US"}}
ODD_PARAMETER = {"type": "body", "parameters": [{"type": "hologram"}]}
LONG_HEADER = {"type": "header", "parameters": [{"type": "text", "text": "x" * 61}]}
TWO_BODIES = [{"type": "body"}, {"type": "body"}]
URL_ACTION = {"name": "cta_url", "parameters": {"display_text": "a", "url": "https://a.example"}}
URL_BUTTON = {"type": "cta_url", "body": {"text": "b"}, "action": URL_ACTION}
NO_SECTION = {"type": "list", "body": {"text": "b"}, "action": {"button": "b", "sections": []}}
ONE_BUTTON = {"buttons": [{"type": "reply", "reply": {"id": "1", "title": "a"}}]}
LONG_BODY = {"type": "button", "body": {"text": "b" * 1025}, "action": ONE_BUTTON}
ONE_CARD = {"card_index": 0, "components": TWO_BODIES}
TWO_BODIES_ON_A_CARD = {"type": "carousel", "cards": [ONE_CARD]}
MIXED_CARD = {"card_index": 0, "components": [{"type": "body", "parameters": [{"type": "text", "text": "a"}]}]}
NAMED_BODY = {"type": "body", "parameters": [{"type": "text", "text": "a", "parameter_name": "n"}]}
MIXED = [NAMED_BODY, {"type": "carousel", "cards": [MIXED_CARD]}]
IMAGE_OF_A_PROVIDER = {"type": "image", "image": {"link": "https://a.example/a", "provider": {"name": "p"}}}
HEADER_OF_A_PROVIDER = {"type": "header", "parameters": [IMAGE_OF_A_PROVIDER]}
CARD_OF_A_PROVIDER = {"type": "carousel", "cards": [{"card_index": 0, "components": [HEADER_OF_A_PROVIDER]}]}
NO_END = {"type": "limited_time_offer", "parameters": [{"type": "limited_time_offer", "limited_time_offer": {}}]}
PADDED_BUTTON = {"type": "reply", "reply": {"id": "a ", "title": "a"}}
PADDED_ID = {"type": "button", "body": {"text": "b"}, "action": {"buttons": [PADDED_BUTTON]}}
CALL = {"type": "call_permission_request", "action": {"name": "call_permission_request"}}
FAX = {"name": {"formatted_name": "A", "first_name": "A"}, "phones": [{"phone": "1", "type": "FAX"}]}
OWN_BOUNDS = {
    "interactive_flow_deep": "data of a flow are bounded here in depth, by Meta only with the whole body",
    "interactive_flow_large": "data of a flow are bounded here in size, by Meta only with the whole body",
    "template_button_payload_long": "256 characters are Meta's limit of ids of reply buttons; none is stated here",
}
"""Bodies that the pipeline's own bounds refuse, where the facts name none, each with the reason."""


def _problem(profile: Profile, kind: str, content: object, **more: object) -> int | None:
    body: dict[str, object] = {"to": TO, "type": kind, kind: content, **more}
    if profile != "v1":
        body["messaging_product"] = "whatsapp"
    problem = read_message(profile, orjson.dumps(body)).problem
    return None if problem is None else problem[0]


@pytest.mark.parametrize("profile", ["cloud", "360dialog", "v1"])
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_both_judges_agree(file: Path, profile: Profile) -> None:
    """What the gate lets pass the simulator takes, as the pipeline renders it; what the gate refuses it refuses."""
    case: dict[str, Any] = orjson.loads(file.read_bytes())
    is_good = not case["v1" if profile == "v1" else "cloud"]
    if is_good:
        raw = PROFILES[profile].render(case["message"], TO, "r:1")
        assert read_message(profile, raw).problem is None
    elif file.stem not in OWN_BOUNDS and "sender" not in file.stem:
        filled = {"to": TO} if profile == "v1" else {"to": TO, "messaging_product": "whatsapp"}
        message = dict(case["message"])
        if profile == "v1" and "type" not in message:
            return
        assert read_message(profile, orjson.dumps({**message, **filled})).problem is not None


@pytest.mark.parametrize(
    ("kind", "content", "more", "cloud", "v1"),
    [
        ("hologram", {"a": 1}, {}, 131051, 1009),
        ("text", {"body": "x" * 4097}, {}, 100, 1001),
        ("text", {"body": "x", "colour": 1}, {}, 100, 1010),
        ("text", {"body": "x"}, {"colour": 1}, 100, 1010),
        ("text", {"body": "x"}, {"recipient_type": "crowd"}, 131009, 1002),
        ("text", {"body": "x"}, {"biz_opaque_callback_data": "x" * 513}, 100, 1010),
        ("text", {"body": "x"}, {"biz_opaque_callback_data": 7}, 131009, 1010),
        ("text", {"body": "x"}, {"context": {}}, 131008, 1010),
        ("image", {"caption": "x"}, {}, 131009, 1009),
        ("image", {"id": "1", "caption": "x" * 1025}, {}, 100, 1009),
        ("image", {"link": "ftp://x"}, {}, 131009, 1009),
        ("image", {"id": "1", "provider": {"name": "x"}}, {}, 100, None),
        ("image", {"id": "1", "link": None}, {}, 131009, 1009),
        ("image", {"link": "https://a.example/a b"}, {}, 131009, 1009),
        ("location", {"latitude": 1, "longitude": 2}, {}, None, 1008),
        ("location", {"latitude": 91, "longitude": 2, "name": "x", "address": "y"}, {}, 131009, 1009),
        ("reaction", {"emoji": "x"}, {}, 131008, 1009),
        ("contacts", [{"name": {"formatted_name": "Ada"}}], {}, 131009, 1009),
        ("contacts", [{"name": {"formatted_name": "A", "first_name": "A"}}] * 6, {}, 131009, None),
        ("contacts", [FAX], {}, 131009, 1009),
        ("template", TEMPLATE, {}, None, None),
        ("template", {"name": "a"}, {}, 131008, 1008),
        ("template", {"name": "a", "language": {"code": "en"}}, {}, None, 1008),
        ("template", {"name": "Big", "language": TEMPLATE["language"]}, {}, 131009, 1009),
        ("template", {**TEMPLATE, "components": [ODD_PARAMETER]}, {}, 132012, 2012),
        ("template", {**TEMPLATE, "components": [LONG_HEADER]}, {}, 132005, 2004),
        ("template", {**TEMPLATE, "components": TWO_BODIES}, {}, 131009, 1009),
        ("template", {**TEMPLATE, "components": [TWO_BODIES_ON_A_CARD]}, {}, 131009, 1009),
        ("template", {**TEMPLATE, "components": MIXED}, {}, 132012, 1010),
        ("template", {**TEMPLATE, "components": [HEADER_OF_A_PROVIDER]}, {}, 100, None),
        ("template", {**TEMPLATE, "components": [CARD_OF_A_PROVIDER]}, {}, 100, 1009),
        ("template", {**TEMPLATE, "components": [NO_END]}, {}, 131008, 1008),
        ("interactive", URL_BUTTON, {}, None, 1009),
        ("interactive", {**URL_BUTTON, "header": IMAGE_OF_A_PROVIDER}, {}, 100, 1009),
        ("interactive", {**URL_BUTTON, "footer": None}, {}, 131009, 1009),
        ("interactive", PADDED_ID, {}, 131009, 1009),
        ("interactive", CALL, {}, None, 1009),
        ("interactive", {**CALL, "footer": {"text": "f"}}, {}, 100, 1010),
        ("interactive", {"type": "order_status", "action": {"name": "review_order"}}, {}, 131008, 1008),
        ("interactive", NO_SECTION, {}, 131009, 2015),
        ("interactive", LONG_BODY, {}, 100, 1009),
        ("interactive", {"type": "button", "body": {"text": "b"}, "action": {"buttons": []}}, {}, 131009, 1009),
    ],
)  # fmt: skip
def test_wrong_bodies_have_the_right_code(
    kind: str, content: object, more: dict[str, object], cloud: int | None, v1: int | None
) -> None:
    """Missing, wrong, unsupported and too long are told apart, with the codes of each shape."""
    assert _problem("cloud", kind, content, **more) == cloud
    assert _problem("v1", kind, content, **more) == v1


def test_strictness_can_be_taken_off() -> None:
    """Without it only what the simulator needs of a body is asked for."""
    raw = b'{"messaging_product":"whatsapp","to":"1","type":"text","text":{"body":"x","colour":1}}'
    assert read_message("cloud", raw).problem is not None
    assert read_message("cloud", raw, strict=False).problem is None


@pytest.mark.parametrize(("given", "code"), [({}, None), ({"type": "text"}, None), ({"type": None}, 1009)])
def test_v1_needs_no_type(given: dict[str, object], code: int | None) -> None:
    """On v1 a body without a type is a text; one with a type that is no word is refused."""
    message = read_message("v1", orjson.dumps({"to": TO, "text": {"body": "x"}, **given}))
    assert (message.problem or (None,))[0] == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"status": "read", "message_id": "wamid.1"}, None),
        ({"status": "read", "message_id": "wamid.1", "typing_indicator": {"type": "text"}}, None),
        ({"status": "read"}, 131008),
        ({"status": "unread", "message_id": "wamid.1"}, 131009),
        ({"status": "read", "message_id": "wamid.1", "typing_indicator": {"type": "song"}}, 131009),
        ({"status": "read", "message_id": "wamid.1", "to": "1"}, 100),
    ],
)
def test_mark_read_is_no_message(body: dict[str, object], code: int | None) -> None:
    """A body that marks a message as read is known as such and judged by its own rules."""
    message = read_message("cloud", orjson.dumps({"messaging_product": "whatsapp", **body}))
    assert message.type == READ
    assert (message.problem or (None,))[0] == code


def test_the_judge_shares_no_rule_with_the_pipeline() -> None:
    """The simulator imports neither the pipeline's bodies and codes nor its limiter: it could not judge them."""
    room = Path(strict.__file__).parent
    found = [
        module
        for path in room.glob("*.py")
        for module, _ in imports_of(path)
        if module.startswith(("pipeline.whatsapp", "pipeline.throttle"))
    ]
    assert found == []
