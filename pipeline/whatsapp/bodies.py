"""May this body go to the API at all? Checked at the gate, before a message costs a token of the rate limit.

A message is the canonical body of a request record: the Cloud shape of its type, without what the sender fills in.
Pure; runs on the gate's event loop, once per request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from pipeline.whatsapp.body_parts import CaptionedMedia, Document, Location, Media
from pipeline.whatsapp.interactive_body import Interactive, interactive_problems
from pipeline.whatsapp.plain_body import Contacts, Context, Hsm, Reaction, Text
from pipeline.whatsapp.profiles import PROFILES
from pipeline.whatsapp.template_body import Template, template_problems

PROBLEMS_MAX: Final = 10
PROBLEM_CHARS_MAX: Final = 300
CLOUD_CONTACTS_MAX: Final = 5  # Meta, OpenAPI v23; v1 states no maximum

_SHAPES: Mapping[str, TypeAdapter[Any]] = MappingProxyType(
    {
        "text": TypeAdapter(Text),
        "image": TypeAdapter(CaptionedMedia),
        "audio": TypeAdapter(Media),
        "video": TypeAdapter(CaptionedMedia),
        "document": TypeAdapter(Document),
        "sticker": TypeAdapter(Media),
        "location": TypeAdapter(Location),
        "contacts": TypeAdapter(Contacts),
        "template": TypeAdapter(Template),
        "interactive": TypeAdapter(Interactive),
        "reaction": TypeAdapter(Reaction),
        "hsm": TypeAdapter(Hsm),
    }
)
_CONTEXT: Final = TypeAdapter(Context)

TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cloud": tuple(kind for kind in _SHAPES if kind != "hsm"),
        "360dialog": tuple(kind for kind in _SHAPES if kind != "hsm"),
        "v1": tuple(kind for kind in _SHAPES if kind != "reaction"),
    }
)
"""Message types of each profile. v1's reference lists no reactions; `hsm` is v1's older template."""

_FILLED_IN: Final = frozenset({"messaging_product", "recipient_type", "to", "recipient", "biz_opaque_callback_data"})


def check_message(message: Mapping[str, Any], profile: str) -> list[str]:
    """What the API of a profile would refuse in a message.

    Args:
        message: As in the request record; any JSON object.
        profile: Name of a profile.

    Returns:
        Problems as `path: reason`, at most `PROBLEMS_MAX`; empty if the message is good. Values of the message are
        not repeated in them, but for the tags that choose a kind.

    Raises:
        ValueError: no such profile.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; one of {', '.join(PROFILES)}")
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in TYPES[profile]:
        return [f"type: {profile} has the types {', '.join(TYPES[profile])}"]
    if kind not in message:
        return [f"{kind}: is missing; a message of type {kind} carries its content there"]
    problems = [*_other_fields(message, kind, profile), *_shape_problems(_SHAPES[kind], message[kind], kind)]
    if not problems:
        problems.extend(_rules(message, kind, profile))
    return [_printable(problem) for problem in problems[:PROBLEMS_MAX]]


def check_recipient(to: str, profile: str) -> list[str]:
    """What a profile has against a recipient, as `path: reason`: user ids are the Cloud API's (2026), v1 has numbers.

    Args:
        to: Digits, or a business-scoped user id (`US.…`).
        profile: Name of a profile.
    """
    return ["to: v1 has no user ids; use the phone number"] if profile == "v1" and not to.isdigit() else []


def _other_fields(message: Mapping[str, Any], kind: str, profile: str) -> Iterator[str]:
    for name in message:
        if name in ("type", kind):
            continue
        if name in _FILLED_IN:
            yield f"{name}: is filled in by the sender; leave it out"
        elif name == "context" and profile != "v1":
            yield from _shape_problems(_CONTEXT, message[name], "context")
        elif name == "preview_url" and profile == "v1" and kind == "text":
            if not isinstance(message[name], bool):
                yield "preview_url: must be true or false"
        else:
            yield f"{_name(name)}: {profile} has no such field in a message of type {kind}"


def _rules(message: Mapping[str, Any], kind: str, profile: str) -> Iterator[str]:
    """What the shape alone does not show; the shape is right by now."""
    content = message[kind]
    is_v1 = profile == "v1"
    if kind == "template":
        yield from template_problems(content, is_v1=is_v1)
    elif kind == "interactive":
        yield from interactive_problems(content, is_v1=is_v1)
    elif kind == "location" and is_v1:
        yield from (f"location.{name}: v1 needs it" for name in ("name", "address") if not content.get(name))
    elif kind == "contacts" and not is_v1 and len(content) > CLOUD_CONTACTS_MAX:
        yield f"contacts: at most {CLOUD_CONTACTS_MAX}, found {len(content)}"
    elif "provider" in content and not is_v1:
        yield f"{kind}.provider: {profile} has no media providers"


def _shape_problems(shape: TypeAdapter[Any], content: Any, root: str) -> Iterator[str]:
    try:
        shape.validate_python(content)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        for error in errors[:PROBLEMS_MAX]:
            yield f"{_path(content, root, error['loc'], error['type'])}: {error['msg'].removeprefix('Value error, ')}"


def _path(content: Any, root: str, loc: tuple[int | str, ...], kind: str) -> str:
    """Where an error is, in the terms of the message: pydantic's location without the tags that chose a kind.

    A tag repeats the value of `type` or `sub_type` of the object it stands for, which may also be the name of one of
    its fields: it is a tag if there is no such field, or if the step after it is a field of the same object.
    """
    path, here, is_fresh = root, content, True
    for number, step in enumerate(loc):
        if isinstance(step, int):
            path += f"[{step}]"
            here = here[step] if isinstance(here, list) and step < len(here) else None
            is_fresh = True
        elif isinstance(here, dict):
            after = loc[number + 1] if number + 1 < len(loc) else None
            if is_fresh and step in (here.get("type"), here.get("sub_type")):
                is_tag = after in here if step in here else after is not None or kind != "missing"
                is_fresh = is_tag and step not in here
                if is_tag:
                    continue
            path += f".{_name(step)}"
            here, is_fresh = here.get(step), True
    return path


def _name(name: Any) -> str:
    return str(name)[:64] if name else repr(name)


def _printable(problem: str) -> str:
    """One line that can be written as UTF-8: names of fields come from outside."""
    line = " ".join(problem.split())
    return line.encode("utf-8", "replace").decode("utf-8")[:PROBLEM_CHARS_MAX]
