"""Would the real API take this body? If not, with which code it says so. Pure; on the path of every message.

The judgement of form alone: what is registered, uploaded or stopped is judged by the referee. Codes:
whatsapp-api.md §1.4 (v1), §2.5 (cloud).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from pipeline.simulator import shapes
from pipeline.simulator.shapes_interactive import INTERACTIVE
from pipeline.simulator.shapes_interactive import V1_TYPES as V1_INTERACTIVE
from pipeline.simulator.shapes_template import PARAMETERS_MAX, V1_BUTTONS, V1_COMPONENTS, Template

CALLBACK_CHARS_MAX = 512
TEXT_CHARS_MAX = 4096
_PLAIN_TEMPLATE = frozenset({"name", "language", "components"})
_PLAIN_LANGUAGE = frozenset({"policy", "code"})
_TEMPLATE = re.compile(r"[a-z0-9_]{1,512}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})?")
MEDIA_TYPES = frozenset({"image", "audio", "video", "document", "sticker"})
Refusal = tuple[int, str]


class _Codes(NamedTuple):
    missing: int
    wrong: int
    unsupported: int
    too_long: int
    recipient_type: int
    parameter: int
    parameter_too_long: int


_CLOUD = _Codes(131008, 131009, 100, 100, 131009, 132012, 132005)
_V1 = _Codes(1008, 1009, 1010, 1009, 1002, 2012, 2004)
_V1_TEXT_TOO_LONG = 1001
# v1 has codes of its own for the counts of a list (whatsapp-api.md §1.4).
_V1_COUNTS = {"sections": 2015, "rows": 2016, "product_items": 2023}

_COMMON: dict[str, TypeAdapter[Any]] = {
    "image": TypeAdapter(shapes.Captioned),
    "audio": TypeAdapter(shapes.Media),
    "video": TypeAdapter(shapes.Captioned),
    "document": TypeAdapter(shapes.Document),
    "sticker": TypeAdapter(shapes.Media),
    "interactive": INTERACTIVE,
    "template": TypeAdapter(Template),
}
_CLOUD_SHAPES: dict[str, TypeAdapter[Any]] = _COMMON | {
    "text": TypeAdapter(shapes.Text),
    "location": TypeAdapter(shapes.Location),
    "contacts": TypeAdapter(shapes.Contacts),
    "reaction": TypeAdapter(shapes.Reaction),
}
_V1_SHAPES: dict[str, TypeAdapter[Any]] = _COMMON | {
    "text": TypeAdapter(shapes.V1Text),
    "location": TypeAdapter(shapes.V1Location),
    "contacts": TypeAdapter(shapes.V1Contacts),
    "hsm": TypeAdapter(shapes.Hsm),
}
_CONTEXT: TypeAdapter[Any] = TypeAdapter(shapes.Context)
_CLOUD_FIELDS = frozenset(
    {"messaging_product", "recipient_type", "to", "recipient", "type", "context", "biz_opaque_callback_data"}
    # Account model of v26, and Direct Send (whatsapp-api.md §2.1, §2.11).
    | {"messaging_account_id", "category", "ttl_seconds"}
)
_V1_FIELDS = frozenset({"recipient_type", "to", "type"})
_MARKETING_FIELDS = frozenset({"product_policy", "message_activity_sharing"})
_CLOUD_ALLOWED = {kind: _CLOUD_FIELDS | {kind} for kind in _CLOUD_SHAPES}
_V1_ALLOWED = {kind: _V1_FIELDS | {kind} | ({"preview_url"} if kind == "text" else set()) for kind in _V1_SHAPES}


def refusal(
    given: dict[str, Any], kind: str, *, is_v1: bool, is_marketing: bool = False, is_plain: bool = False
) -> Refusal | None:
    """What is wrong with a body whose type is known and whose content is there.

    Args:
        given: The body, as JSON.
        kind: Its message type, one that the profile has.
        is_v1: Whose rules hold.
        is_marketing: Whether it came to `marketing_messages`, which takes two fields more.
        is_plain: Whether `plain_text` found nothing wrong with its content.

    Returns:
        Code and sentence; None = nothing is wrong.
    """
    codes = _V1 if is_v1 else _CLOUD
    envelope = _envelope(given, kind, codes, is_v1=is_v1, is_marketing=is_marketing)
    if envelope is not None or is_plain:
        return envelope
    return _content(given[kind], kind, codes, is_v1=is_v1) or next(_rules(given[kind], kind, codes, is_v1=is_v1), None)


def media_ids(content: Any, kind: str) -> Iterator[str]:
    """Every id of an uploaded medium that a content of the right form uses."""
    return (medium["id"] for medium in _media(content, kind) if medium.get("id"))


def _media(content: Any, kind: str) -> Iterator[dict[str, Any]]:
    """Every media object of a content of the right form."""
    if kind in MEDIA_TYPES:
        yield content
    elif kind == "interactive":
        yield from _medium_of(content.get("header", {}))
    elif kind == "template":
        for components in _beside(content):
            for component in components:
                for parameter in component.get("parameters", ()):
                    yield from _medium_of(parameter)


def _medium_of(holder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if holder.get("type") in MEDIA_TYPES:
        yield holder[holder["type"]]


def _beside(template: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The components of a template, and those of each card."""
    components = template.get("components", [])
    yield components
    for component in components:
        for card in component.get("cards", ()):
            yield card["components"]


def _envelope(given: dict[str, Any], kind: str, codes: _Codes, *, is_v1: bool, is_marketing: bool) -> Refusal | None:
    allowed = (_V1_ALLOWED if is_v1 else _CLOUD_ALLOWED)[kind]
    unknown = () if given.keys() <= allowed else given.keys() - allowed
    for name in sorted(unknown):
        if not (is_marketing and name in _MARKETING_FIELDS):
            return codes.unsupported, f"the parameter {name[:64]} is not supported here"
    recipient_type = given.get("recipient_type", "individual")
    if recipient_type != "individual" and (is_v1 or recipient_type != "group"):
        return codes.recipient_type, "the parameter recipient_type is not valid"
    if is_v1:
        if not isinstance(given.get("preview_url", False), bool):
            return codes.wrong, "the parameter preview_url is not valid"
        return None
    callback = given.get("biz_opaque_callback_data", "")
    if not isinstance(callback, str):
        return codes.wrong, "the parameter biz_opaque_callback_data is not valid"
    if len(callback) > CALLBACK_CHARS_MAX:
        return codes.too_long, f"the parameter biz_opaque_callback_data is above {CALLBACK_CHARS_MAX} characters"
    if "context" in given:
        return _refused_by(_CONTEXT, given["context"], "context", codes, is_v1=False)
    return None


def plain_text(content: Any, kind: str, *, is_v1: bool) -> str | None:
    """The first text of a content that is one of the two plain ones that almost every message has; None = it is not.

    Only a short cut past the models: it saves most of the time that a message takes here, and the simulator serves
    benchmarks, too.
    """
    if kind == "text":
        body = content.get("body")
        is_plain = len(content) == 1 and type(body) is str and 0 < len(body) <= TEXT_CHARS_MAX
        return body if is_plain else None
    if kind != "template" or not content.keys() <= _PLAIN_TEMPLATE:
        return None
    language, components = content.get("language"), content.get("components")
    if type(language) is not dict or type(components) is not list or len(components) != 1:
        return None
    policy, code = language.get("policy"), language.get("code")
    if not language.keys() <= _PLAIN_LANGUAGE or (policy != "deterministic" and (is_v1 or "policy" in language)):
        return None
    if type(code) is not str or not _LANGUAGE.fullmatch(code) or not _TEMPLATE.fullmatch(content["name"]):
        return None
    return _plain_component(components[0])


def _plain_component(component: Any) -> str | None:
    if type(component) is not dict or len(component) != 2 or component.get("type") != "body":
        return None
    parameters = component.get("parameters")
    if type(parameters) is not list or not 0 < len(parameters) <= PARAMETERS_MAX:
        return None
    for part in parameters:
        if type(part) is not dict or len(part) != 2 or part.get("type") != "text":
            return None
        text = part.get("text")
        if type(text) is not str or not 0 < len(text) <= TEXT_CHARS_MAX:
            return None
    first: str = parameters[0]["text"]
    return first


def _content(content: Any, kind: str, codes: _Codes, *, is_v1: bool) -> Refusal | None:
    return _refused_by((_V1_SHAPES if is_v1 else _CLOUD_SHAPES)[kind], content, kind, codes, is_v1=is_v1)


def _refused_by(shape: TypeAdapter[Any], content: Any, root: str, codes: _Codes, *, is_v1: bool) -> Refusal | None:
    try:
        shape.validate_python(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    else:
        return None
    path = [str(part) for part in (root, *found["loc"])]
    where = ".".join(path)[:160]
    match found["type"]:
        case "missing" | "string_too_short":
            return codes.missing, f"the parameter {where} is required"
        case "extra_forbidden":
            return codes.unsupported, f"the parameter {where} is not supported"
        case "string_too_long":
            if root == "template" and "parameters" in path:
                return codes.parameter_too_long, f"the parameter {where} is too long"
            is_text = is_v1 and path == ["text", "body"]
            return _V1_TEXT_TOO_LONG if is_text else codes.too_long, f"the parameter {where} is too long"
        case "too_long" | "too_short" if is_v1 and path[-1] in _V1_COUNTS:
            return _V1_COUNTS[path[-1]], f"the number of {where} is not valid"
        case "union_tag_invalid" | "literal_error" if root == "template" and "parameters" in path:
            return codes.parameter, f"the parameter {where} has a format that does not fit there"
    return codes.wrong, f"the parameter {where} is not valid"


def _rules(content: Any, kind: str, codes: _Codes, *, is_v1: bool) -> Iterator[Refusal]:
    """What the form alone does not show."""
    if kind == "template":
        yield from _template_rules(content, codes, is_v1=is_v1)
    elif kind == "interactive" and is_v1 and content["type"] not in V1_INTERACTIVE:
        yield codes.wrong, "the parameter interactive.type is not valid"
    if not is_v1 and any("provider" in medium for medium in _media(content, kind)):
        yield codes.unsupported, f"the parameter provider of a medium in {kind} is not supported"


def _template_rules(content: dict[str, Any], codes: _Codes, *, is_v1: bool) -> Iterator[Refusal]:
    named: set[bool] = set()
    if is_v1 and "policy" not in content["language"]:
        yield codes.missing, "the parameter template.language.policy is required"
    for components in _beside(content):
        seen: set[tuple[str, str]] = set()
        for component in components:
            kind = component["type"]
            key = (kind, str(component.get("index", "")))
            if key in seen:
                yield codes.wrong, f"the component {' '.join(key).strip()} stands twice"
            seen.add(key)
            if is_v1:
                yield from _v1_component(component, codes)
            if kind in ("header", "body"):
                texts = (part for part in component.get("parameters", ()) if part["type"] == "text")
                named |= {"parameter_name" in part for part in texts}
    if len(named) > 1:
        yield codes.parameter, "parameters are either all named or all positional"


def _v1_component(component: dict[str, Any], codes: _Codes) -> Iterator[Refusal]:
    if component["type"] not in V1_COMPONENTS or component.get("sub_type", "url") not in V1_BUTTONS:
        yield codes.wrong, "the parameter template.components is not valid"
    for parameter in component.get("parameters", ()):
        if "parameter_name" in parameter:
            yield codes.unsupported, "the parameter parameter_name is not required"
        if parameter["type"] in ("location", "product"):
            yield codes.parameter, "the parameter has a format that does not fit there"
