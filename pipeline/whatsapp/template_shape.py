"""Which parameters a template takes, read once from its components, and whether a message gives just these. Pure.

Components as the API lists them (Meta, template components: `HEADER`, `BODY`, `BUTTONS`, `CAROUSEL`,
`LIMITED_TIME_OFFER`, in capitals), messages as the gate has checked them (`template_body.py`). Kinds that nobody knows
yet are not judged: the API does. A mismatch would be refused with 132000, 132012 or 131008 (Meta, error codes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

VARIABLE: Final = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,64})\s*\}\}", re.ASCII)
COMPONENTS_MAX: Final = 64
CARDS_MAX: Final = 10  # Meta, media card carousel templates
BUTTONS_MAX: Final = 10  # Meta, template components
_MEDIA: Final = frozenset({"image", "video", "document", "location", "product"})
# What a button is filled in by; a quick reply, a flow and a catalog do without (Meta, template components).
_OPTIONAL: Final = {"QUICK_REPLY": "quick_reply", "FLOW": "flow", "CATALOG": "catalog"}
_NEEDED: Final = {"COPY_CODE": "copy_code", "MPM": "mpm", "OTP": "url"}
_FILLS_NOTHING: Final = frozenset({"PHONE_NUMBER", "VOICE_CALL"})


@dataclass(frozen=True, slots=True)
class Button:
    """What one button takes.

    Attributes:
        sub_type: Of the component that fills it in; empty: none may.
        is_needed: Whether a message must fill it in.
    """

    sub_type: str
    is_needed: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """Parameters of a template, or of one card of its carousel.

    Attributes:
        header: `text`, or the kind of media that a message must give; None: the header takes nothing.
        header_names: Variables of a text header.
        body: Variables of the body: positions as digits, or names.
        is_named: Whether parameters go by name.
        buttons: By index as messages write it; a button of a kind that is not known here is left out.
        button_count: How many there are; above that index there is nothing to fill in.
        cards: Shapes of a carousel's cards.
        has_offer: Whether the end of an offer must be given.
    """

    header: str | None
    header_names: frozenset[str]
    body: frozenset[str]
    is_named: bool
    buttons: Mapping[str, Button]
    button_count: int
    cards: tuple[Shape, ...] = ()
    has_offer: bool = False


def shape_of(components: Sequence[Mapping[str, Any]], parameter_format: str | None = None) -> Shape:
    """Read what a template takes.

    Args:
        components: As the API lists them; any JSON is safe.
        parameter_format: `NAMED` or `POSITIONAL`; None: as its variables are written.
    """
    header: str | None = None
    header_names: frozenset[str] = frozenset()
    body: frozenset[str] = frozenset()
    buttons: dict[str, Button] = {}
    button_count, has_offer = 0, False
    cards: tuple[Shape, ...] = ()
    for component in components[:COMPONENTS_MAX]:
        kind = str(component.get("type")).upper()
        if kind == "HEADER":
            header, header_names = _header(component)
        elif kind == "BODY":
            body = variables_of(component.get("text"))
        elif kind == "BUTTONS":
            rows = _objects(component.get("buttons"), BUTTONS_MAX)
            buttons, button_count = _buttons(rows), len(rows)
        elif kind == "CAROUSEL":
            rows = _objects(component.get("cards"), CARDS_MAX)
            cards = tuple(shape_of(_objects(card.get("components"), COMPONENTS_MAX), parameter_format) for card in rows)
        elif kind == "LIMITED_TIME_OFFER":
            offer = component.get("limited_time_offer")
            has_offer = isinstance(offer, Mapping) and offer.get("has_expiration") is True
    if parameter_format is not None:
        is_named = parameter_format.upper() == "NAMED"
    else:
        is_named = any(not name.isdigit() for name in body | header_names)
    return Shape(header, header_names, body, is_named, buttons, button_count, cards, has_offer)


def variables_of(text: Any) -> frozenset[str]:
    """Names or positions of the variables in a text of a template."""
    return frozenset(VARIABLE.findall(text)) if isinstance(text, str) else frozenset()


def misfits(shape: Shape, components: Sequence[Mapping[str, Any]]) -> list[str]:
    """What does not fit between a template and the components of a message, as `where: what`; empty: it fits.

    Args:
        components: `template.components` of a message that has passed `check_message`.
    """
    return list(_misfits(shape, components, "components"))


def _misfits(shape: Shape, components: Sequence[Mapping[str, Any]], where: str) -> Iterator[str]:
    given: dict[str, Mapping[str, Any]] = {}
    filled: dict[str, Mapping[str, Any]] = {}
    for component in components:
        if component["type"] == "button":
            filled[str(component["index"])] = component
        else:
            given[component["type"]] = component
    yield from _body_misfits(shape, given.get("body"), f"{where}.body")
    yield from _header_misfits(shape, given.get("header"), f"{where}.header")
    yield from _button_misfits(shape, filled, f"{where}.button")
    if shape.has_offer and "limited_time_offer" not in given:
        yield f"{where}.limited_time_offer: the template needs the end of its offer, none given"
    carousel = given.get("carousel")
    cards = carousel["cards"] if carousel is not None else ()
    if len(cards) != len(shape.cards):
        yield f"{where}.carousel: the template has {len(shape.cards)} cards, {len(cards)} given"
        return
    for card in cards:
        index = card["card_index"]
        if index < len(shape.cards):
            yield from _misfits(shape.cards[index], card["components"], f"{where}.carousel.cards[{index}]")
        else:
            yield f"{where}.carousel: the template has no card {index}"


def _body_misfits(shape: Shape, body: Mapping[str, Any] | None, where: str) -> Iterator[str]:
    parameters = body.get("parameters", ()) if body is not None else ()
    yield from _text_misfits(shape.body, parameters, where, is_named=shape.is_named)


def _header_misfits(shape: Shape, header: Mapping[str, Any] | None, where: str) -> Iterator[str]:
    parameters = header.get("parameters", ()) if header is not None else ()
    kinds = [value["type"] for value in parameters]
    if shape.header in _MEDIA:
        if kinds != [shape.header]:
            yield f"{where}: the template needs one {shape.header}, given: {', '.join(kinds) or 'nothing'}"
    elif shape.header == "text":
        media = [kind for kind in kinds if kind in _MEDIA]
        if media:
            yield f"{where}: the template has a text header, given: {', '.join(media)}"
        else:
            yield from _text_misfits(shape.header_names, parameters, where, is_named=shape.is_named)
    elif shape.header is None and kinds:
        yield f"{where}: the template's header takes nothing, given: {', '.join(kinds)}"


def _text_misfits(
    wanted: frozenset[str], parameters: Sequence[Mapping[str, Any]], where: str, *, is_named: bool
) -> Iterator[str]:
    if len(parameters) != len(wanted):
        yield f"{where}: the template takes {len(wanted)} parameters, {len(parameters)} given"
        return
    names = [value.get("parameter_name") for value in parameters]
    if not is_named:
        if any(name is not None for name in names):
            yield f"{where}: the template's parameters go by position; leave parameter_name out"
        return
    if any(name is None for name in names):
        yield f"{where}: the template's parameters go by name; give each a parameter_name: {', '.join(sorted(wanted))}"
    elif set(names) != wanted:
        yield f"{where}: the template's parameters are {', '.join(sorted(wanted))}"


def _button_misfits(shape: Shape, filled: Mapping[str, Mapping[str, Any]], where: str) -> Iterator[str]:
    for index, button in shape.buttons.items():
        component = filled.get(index)
        if component is None:
            if button.is_needed:
                yield f"{where}[{index}]: the template needs a parameter of sub_type {button.sub_type}, none given"
        elif not button.sub_type:
            yield f"{where}[{index}]: this button of the template takes no parameter"
        elif component["sub_type"].lower() != button.sub_type:
            yield f"{where}[{index}]: this button is filled in by sub_type {button.sub_type}"
    for index in filled:
        if int(index) >= shape.button_count:
            yield f"{where}[{index}]: the template has {shape.button_count} buttons"


def _header(component: Mapping[str, Any]) -> tuple[str | None, frozenset[str]]:
    kind = str(component.get("format", "TEXT")).lower()
    if kind == "text":
        names = variables_of(component.get("text"))
        return ("text" if names else None), names
    return kind, frozenset()


def _buttons(rows: Sequence[Mapping[str, Any]]) -> dict[str, Button]:
    found: dict[str, Button] = {}
    for index, row in enumerate(rows):
        kind = str(row.get("type")).upper()
        if kind == "URL":
            has_variable = bool(variables_of(row.get("url")))
            found[str(index)] = Button("url" if has_variable else "", has_variable)
        elif kind in _OPTIONAL:
            found[str(index)] = Button(_OPTIONAL[kind], is_needed=False)
        elif kind in _NEEDED:
            found[str(index)] = Button(_NEEDED[kind], is_needed=True)
        elif kind in _FILLS_NOTHING:
            found[str(index)] = Button("", is_needed=False)
    return found


def _objects(value: Any, most: int) -> list[Mapping[str, Any]]:
    rows = value[:most] if isinstance(value, list) else []
    return [row for row in rows if isinstance(row, Mapping)]
